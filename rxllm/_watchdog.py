"""One thread that watches the time limits of all streams.

A stream moves its own `Watch.at` forward with a plain assignment: no lock, timer or wake-up per
token. The thread looks when the earliest known limit comes, and looks again later if it has moved.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

_LONGEST_WAIT = 3600.0


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

    def stop(self) -> None:
        """Watch no more, and let go of whoever was watched."""
        self.done = True
        self.expire = _nothing


def _nothing() -> None:
    pass


class _Watchdog:
    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        self._running = False

    def add(self, watch: Watch) -> None:
        """Watch until `watch.stop()`, or until it expires; to be called again where `pause` was not kept."""
        with self._condition:
            first = self._heap[0][0] if self._heap else math.inf
            at = self._next_look(watch, time.monotonic())
            heapq.heappush(self._heap, (at, next(self._numbers), watch))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="rxllm-watchdog", daemon=True).start()
            elif at < first:
                self._condition.notify()

    def _run(self) -> None:
        while True:
            expired = self._wait()
            if expired is None:
                return
            expire = expired.expire
            expired.stop()
            expire()

    def _wait(self) -> Watch | None:
        """The next watch to expire; None, and the thread ends, when nothing is left to watch."""
        with self._condition:
            while self._heap:
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


watchdog = _Watchdog()
