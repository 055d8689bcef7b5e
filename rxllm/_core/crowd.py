"""Which thread reads which stream: its own, or, if there are many streams, the reactor's."""

from __future__ import annotations

import atexit
import time
from typing import Protocol

from .._runtime.admission import Admission
from .._runtime.platform import after_fork
from .._runtime.reactor import Reactor

CROWD = 32
"""The number of streams that have a thread each. If there are more, the reactor reads all of them.

Measured: up to 16 streams, threads are prompter for the same CPU; from 32 on, the reactor costs two thirds or less.
"""

_EXIT_SECONDS = 1.0


class Stream(Protocol):
    """What is done with all streams that run."""

    def dispose(self) -> None:
        """Close its connection."""

    def leave(self) -> None:
        """Read and deliver nothing more, and leave the connection open: takes no lock."""


def _is_busy() -> bool:
    return reactor.is_busy


admission = Admission(_is_busy)
reactor = Reactor(admission.admit)
live: set[Stream] = set()
"""The streams that have begun and not ended."""


def _leave_streams() -> None:
    """Stop all streams in a forked process without closing them: they are its parent's."""
    for stream in live:
        stream.leave()
    live.clear()


after_fork(_leave_streams)


def is_crowded() -> bool:
    """Return whether the reactor should read: so many streams run, or wait to start."""
    return len(live) + admission.waiting > CROWD


@atexit.register
def abort_live_streams() -> None:
    """Close what is open when the interpreter ends, and give the workers a moment to clean up."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for subscription in list(live):
        subscription.dispose()
    while live and time.monotonic() < deadline:
        time.sleep(0.005)
