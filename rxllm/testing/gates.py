"""Holding an answer back until a test lets it go on: no test needs to sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Gate:
    """Each piece of a reply waits here until the test releases it.

    The head of the answer and the events before the first piece do not wait, nor do those after
    the last. One gate may hold many replies: each release lets one piece of one of them through.

    >>> gate = Gate()
    >>> gate.release(2)   # the next two pieces may go
    >>> gate.open()       # and now all of them
    """

    def __init__(self, permits: int = 0) -> None:
        self._permits: float = permits
        self._waiting = 0
        self._changed = threading.Condition()

    def release(self, count: int = 1) -> None:
        """Let `count` more pieces through."""
        with self._changed:
            self._permits += count
            self._changed.notify_all()

    def open(self) -> None:
        """Let everything through from now on."""
        with self._changed:
            self._permits = float("inf")
            self._changed.notify_all()

    def wait_until_reached(self, timeout: float = 10.0) -> None:
        """Return once a piece waits here; raises `TimeoutError` after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting > 0 and self._permits <= 0, timeout):
                raise TimeoutError(f"no piece has come to the gate within {timeout} s")

    def pass_one(self, over: Callable[[], bool]) -> bool:
        """Wait for a permit and take it; False where `over()` came first (say so by `wake`)."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._permits > 0 or over())
            finally:
                self._waiting -= 1
            if over():
                return False
            self._permits -= 1
            return True

    def wake(self) -> None:
        """Make those who wait look at their `over()` again."""
        with self._changed:
            self._changed.notify_all()
