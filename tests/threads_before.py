"""The names of the threads that ran before the current test: a slow machine may still end those of an earlier one."""

from __future__ import annotations

import threading

names: set[str] = set()


def note() -> None:
    """Note the threads that run now; names of worker threads are never used twice."""
    names.clear()
    names.update(thread.name for thread in threading.enumerate())
