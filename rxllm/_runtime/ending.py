"""Whether the interpreter is ending.

From then on no thread can be started, in Python 3.12.0 to 3.12.2 even while other threads still run. That is no error
to report. Source: https://github.com/python/cpython/issues/113964
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_ending = threading.Event()


def is_ending() -> bool:
    """Return whether the main thread has ended and the interpreter shuts down."""
    return _ending.is_set()


_register: Callable[[Callable[[], None]], None] | None = getattr(threading, "_register_atexit", None)
if _register is not None:  # private, but older than Python 3.11; concurrent.futures uses it too
    _register(_ending.set)
