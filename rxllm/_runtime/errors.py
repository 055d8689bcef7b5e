"""Reports exceptions that must not end a shared thread."""

from __future__ import annotations

import contextlib
import sys
import threading


def report_exception() -> None:
    """Pass the current exception to `threading.excepthook`. Raises nothing, even if the hook does."""
    with contextlib.suppress(BaseException):
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
