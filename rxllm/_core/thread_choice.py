"""Which thread reads which stream: its own, or, if there are many streams, the reactor's."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .._runtime.admission import Admission
from .._runtime.platform import after_fork
from .._runtime.reactor import Reactor

CROWD = 32
"""The number of streams that have a thread each. If there are more, the reactor reads all of them.

Measured side by side at 50 tokens/s, on two cores that other programs kept busy: the reactor takes 0.7 of the threads'
CPU for 16 and 32 streams, 0.6 for 64, 0.4 to 0.5 for 128 and 256; for 8 streams both take the same. Threads are
prompter there once all have begun (p99 of 128 streams: 7 ms, the reactor 63 ms), because a busy system runs first what
mostly sleeps; on quiet cores 1,000 streams on the reactor have a p99 of 7 ms.
"""

_EXIT_SECONDS = 1.0


class Stream(Protocol):
    """What is done with all streams that run."""

    def dispose(self) -> None:
        """Close its connection."""

    def leave(self) -> None:
        """Read and deliver nothing more, and leave the connection open: takes no lock."""


admission = Admission(lambda: reactor.is_busy)
reactor: Reactor = Reactor(admission.admit)
live: set[Stream] = set()
"""The streams that have begun and not ended."""


def _leave_streams() -> None:
    """Stop all streams in a forked process without closing them: they are its parent's."""
    for stream in tuple(live):
        stream.leave()
    live.clear()


after_fork(_leave_streams)


def is_crowded() -> bool:
    """Return whether the reactor should read: so many streams run, or wait to start."""
    return len(live) + admission.waiting > CROWD


interpreter_ends = threading.Event()
"""Set when the main thread has ended and the interpreter shuts down. No thread can be started then, in Python 3.12.0
to 3.12.2 even while others still run (https://github.com/python/cpython/issues/113964): not an error to report."""
_register_atexit: Callable[[Callable[[], None]], None] | None = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:  # private, but older than Python 3.11; concurrent.futures uses it too
    _register_atexit(interpreter_ends.set)


@atexit.register
def abort_live_streams() -> None:
    """Close what is open when the interpreter ends, and give the workers a moment to clean up."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for subscription in list(live):
        subscription.dispose()
    while live and time.monotonic() < deadline:
        time.sleep(0.005)
