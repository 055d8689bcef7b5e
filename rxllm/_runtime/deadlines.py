"""One thread that watches the time limits of all streams.

A stream moves its own `Watch.at` with a plain assignment: no lock, timer or wake-up per token. The
thread looks when the earliest known limit comes, and looks again later if it has moved. It ends
soon after the last stream has.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from .fork import after_fork

_LONGEST_WAIT = 0.5
"""Seconds: a thread that looks now and then need not be woken for limits further away, nor for those taken back.

It ends if there is nothing to watch when it looks.
"""


class Watch:
    """One time limit: `expire` is called, once, on the watching thread when `at` has passed.

    `at` is in seconds of `time.monotonic`, infinity while there is no limit. It may be set to an
    earlier time without telling anybody, if that is at least `pause` seconds from the moment.
    """

    def __init__(self, at: float, pause: float, expire: Callable[[], None]) -> None:
        self.at = at
        self.pause = pause
        self.expire = expire


class Watchdog:
    """The thread and what it watches."""

    def __init__(self) -> None:
        self._forget()
        after_fork(self._forget)

    def _forget(self) -> None:
        """Begin with nothing."""
        self._condition = threading.Condition()
        self._watched: set[Watch] = set()
        self._running = False
        self._next_look = math.inf

    def add(self, watch: Watch) -> None:
        """Watch until `stop`, or until it expires; to be called again where `pause` was not kept."""
        with self._condition:
            self._watched.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="rxllm-watchdog", daemon=True).start()
            elif watch.at < self._next_look or time.monotonic() + watch.pause < self._next_look:
                self._condition.notify()

    def stop(self, watch: Watch) -> None:
        """Watch no more, and let go of whoever was watched. Harmless when repeated."""
        watch.expire = _nothing
        with self._condition:
            self._watched.discard(watch)

    def _run(self) -> None:
        while (expired := self._wait()) is not None:
            expire = expired.expire
            self.stop(expired)
            expire()

    def _wait(self) -> Watch | None:
        """The next watch to expire; None when there is nothing left to watch, and the thread ends."""
        with self._condition:
            idle = False
            while self._watched or not idle:
                idle = not self._watched
                now = time.monotonic()
                look = now + _LONGEST_WAIT
                for watch in self._watched:
                    if watch.at <= now:
                        return watch
                    look = min(look, watch.at, now + watch.pause)
                self._next_look = look
                self._condition.wait(look - now)
            self._running = False
            return None


def _nothing() -> None:
    pass


watchdog = Watchdog()
