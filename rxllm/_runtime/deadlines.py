"""One thread that watches the time limits of all streams.

A stream moves its own limit with plain assignments: no lock, timer or wake-up per token. The thread checks when the
earliest known limit passes, and waits again if it has moved. It ends soon after the last stream has ended.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from .errors import report_exception
from .platform import after_fork

_MAX_WAIT = 0.5
"""Seconds between checks. Limits further away, and limits that are removed, need not wake the thread.

The thread ends if there is nothing to watch at a check.
"""
_LATE_SECONDS = 1.0
"""A check this late means that the whole process stood still (SIGSTOP, debugger). Streams first read what has come."""


class Watch:
    """One time limit: `expire` is called once, on the watching thread, when `at` has passed.

    `at` is a time of `time.monotonic` in seconds; infinity means no limit. Setting it to an earlier time needs no
    call if that is at least `notice` seconds from now.
    """

    __slots__ = ("at", "expire", "notice")

    def __init__(self, at: float, notice: float, expire: Callable[[], None]) -> None:
        self.at = at
        self.notice = notice
        self.expire = expire

    def due(self) -> float:
        """Return when the limit passes; called by the watching thread."""
        return self.at


class Watchdog:
    """The thread, and the limits that it watches. Thread-safe."""

    def __init__(self) -> None:
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may subscribe
        self._condition = threading.Condition(self._lock)
        self._watched: set[Watch] = set()
        self._running = False
        self._next_check = math.inf

    def add(self, watch: Watch) -> None:
        """Start watching. Call it again after setting `at` to less than `notice` seconds from now.

        Raises:
            RuntimeError: The thread could not be started; nothing is watched.
        """
        with self._lock:
            self._watched.add(watch)
            if not self._running:
                self._running = True
                thread = threading.Thread(target=self._run, name="rxllm-watchdog", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    self._running = thread.is_alive()  # an interrupt may leave start() although the thread runs
                    self._watched.discard(watch)
                    raise
            elif watch.due() < self._next_check or time.monotonic() + watch.notice < self._next_check:
                self._condition.notify()

    def stop(self, watch: Watch) -> None:
        """Stop watching, and drop the reference to `expire`. Harmless when repeated."""
        watch.expire = _nothing
        with self._lock:
            self._watched.discard(watch)

    def _run(self) -> None:
        """Call what has expired, one after the other. Runs on the timer thread."""
        try:
            while expired := self._wait():
                for watch in expired:
                    if watch.due() > time.monotonic():  # it has moved while others were called
                        continue
                    expire = watch.expire
                    self.stop(watch)
                    try:
                        expire()
                    except BaseException:
                        report_exception()
        except BaseException:
            with self._lock:
                self._running = False
            raise

    def _wait(self) -> list[Watch]:
        """Return the watches that expire next, together; none, and the thread ends, when there is nothing to watch."""
        with self._lock:
            is_idle = is_late = False
            while self._watched or not is_idle:
                is_idle = not self._watched
                now = time.monotonic()
                check = now + _MAX_WAIT
                expired: list[Watch] = []
                for watch in tuple(self._watched):  # a finalizer may stop one meanwhile, on this thread
                    due = watch.due()
                    if due <= now:
                        expired.append(watch)
                    check = min(check, due, now + watch.notice)
                if expired:
                    if not is_late:
                        return expired
                    check = now + _MAX_WAIT
                self._next_check = check
                self._condition.wait(check - now)
                is_late = not is_late and time.monotonic() > check + _LATE_SECONDS
            self._running = False
            return []


def _nothing() -> None:
    pass


watchdog = Watchdog()
