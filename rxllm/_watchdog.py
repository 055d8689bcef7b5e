"""One thread that watches the time limits of all streams.

A stream moves its own `Watch.at` forward with a plain assignment: no lock, timer or wake-up per
token. The thread looks when the earliest known limit comes, and looks again later if it has moved.
It ends soon after the last stream has.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

_LONGEST_WAIT = 3600.0
_LINGER = 0.5
"""Seconds the thread waits for the next stream before it ends: streams often follow one another."""


class Watch:
    """One time limit: `expire` is called, once, on the watching thread when `at` has passed.

    `at` is in seconds of `time.monotonic`, infinity while there is no limit. It may be set to an
    earlier time without telling anybody, if that is at least `pause` seconds from the moment.
    """

    def __init__(self, at: float, pause: float, expire: Callable[[], None]) -> None:
        self.at = at
        self.pause = pause
        self.expire = expire
        self.done = False


class Watchdog:
    """The thread and what it watches."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Watch]] = []
        self._watched: set[Watch] = set()
        self._numbers = itertools.count()
        self._running = False

    def add(self, watch: Watch) -> None:
        """Watch until `stop`, or until it expires; to be called again where `pause` was not kept."""
        with self._condition:
            first = self._heap[0][0] if self._heap else math.inf
            at = self._next_look(watch, time.monotonic())
            heapq.heappush(self._heap, (at, next(self._numbers), watch))
            self._watched.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="rxllm-watchdog", daemon=True).start()
            elif at < first:
                self._condition.notify()

    def stop(self, watch: Watch) -> None:
        """Watch no more, and let go of whoever was watched. Harmless when repeated."""
        watch.done = True
        watch.expire = _nothing
        with self._condition:
            self._watched.discard(watch)
            if not self._watched and self._heap:
                self._heap.clear()
                self._condition.notify()

    def _run(self) -> None:
        while (expired := self._wait()) is not None:
            expire = expired.expire
            self.stop(expired)
            expire()

    def _wait(self) -> Watch | None:
        """The next watch to expire; None when there is nothing left to watch, and the thread ends."""
        with self._condition:
            while self._heap or self._condition.wait_for(lambda: self._heap, _LINGER):
                at, _, watch = self._heap[0]
                now = time.monotonic()
                if not watch.done and at > now:
                    self._condition.wait(at - now)
                    continue
                heapq.heappop(self._heap)
                if watch.done:
                    continue
                if watch.at <= now:
                    return watch
                heapq.heappush(self._heap, (self._next_look(watch, now), next(self._numbers), watch))
            self._running = False
            return None

    @staticmethod
    def _next_look(watch: Watch, now: float) -> float:
        return min(watch.at, now + watch.pause, now + _LONGEST_WAIT)


def _nothing() -> None:
    pass


watchdog = Watchdog()
