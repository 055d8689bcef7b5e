"""Hold an answer back until a test releases it, so that no test needs to sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Gate:
    """Holds each piece of a reply back until the test releases it. Thread-safe.

    HTTP headers and the events before the first piece and after the last do not wait. Several
    replies may share one gate: each permit lets one piece of one of them through.

    Args:
        permits: how many pieces may pass at once.

    Example:
        >>> gate = Gate()
        >>> gate.release(2)   # the next two pieces may go
        >>> gate.open()       # and now all of them
    """

    def __init__(self, permits: int = 0) -> None:
        self._permits: float = permits
        self._waiting = 0
        self._changed = threading.Condition()

    def release(self, count: int = 1) -> None:
        """Allow more pieces through.

        Args:
            count: how many, default 1.
        """
        with self._changed:
            self._permits += count
            self._changed.notify_all()

    def open(self) -> None:
        """Allow all pieces through from now on."""
        with self._changed:
            self._permits = float("inf")
            self._changed.notify_all()

    def wait_until_reached(self, timeout: float = 10.0) -> None:
        """Block until a piece waits at the gate.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: no piece has come within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting > 0 and self._permits <= 0, timeout):
                raise TimeoutError(f"no piece reached the gate within {timeout} s")

    def pass_one(self, ended: Callable[[], bool]) -> bool:
        """Block until there is a permit and take it.

        Args:
            ended: returns whether to stop waiting; call `wake` when it becomes True.

        Returns:
            False if `ended` returned True before there was a permit.
        """
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._permits > 0 or ended())
            finally:
                self._waiting -= 1
            if ended():
                return False
            self._permits -= 1
            return True

    def wake(self) -> None:
        """Make all waiting threads check their `ended` again."""
        with self._changed:
            self._changed.notify_all()
