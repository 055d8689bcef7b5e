"""Decides when requests may start, so that a thousand starting at once do not delay the streams that are running.

Starting a request takes about a millisecond of CPU; then it waits for the network. At most `_MAX_STARTING` requests
are in that phase. While a socket of a crowd is readable no request starts: each start would cost every reader one
switch of the interpreter lock per read.

A request that stays in the phase for too long is assumed to be blocked and no longer counts, and one that waits for
too long is started, so that nothing can keep others from starting.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .deadlines import Watch, Watchdog, watchdog
from .platform import after_fork
from .thread_cache import Task, workers

_MAX_STARTING = 2
_MAX_DELAY = 0.02
"""Seconds without a start after which the next request starts in any case."""


class _Waiting(NamedTuple):
    request: object
    name: str
    task: Task
    on_failure: Callable[[Exception], None]


class Admission:
    """Starts requests in their order, a few at a time, while nothing is more urgent. Thread-safe.

    Args:
        is_busy: Returns True while no request should start.
        run: Runs a task on a thread with a name; must not block. Called by the threads that submit, admit or release.
        dog: The watchdog that limits the waiting.
    """

    def __init__(
        self, is_busy: Callable[[], bool], run: Callable[[str, Task], None] = workers.run, dog: Watchdog = watchdog
    ) -> None:
        self._is_busy = is_busy
        self._run = run
        self._dog = dog
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may subscribe
        self._starting: set[object] = set()
        self._waiting: deque[_Waiting] = deque()
        self._watch: Watch | None = None

    @property
    def waiting(self) -> int:
        """The number of requests that wait to start."""
        return len(self._waiting)

    def submit(self, request: object, name: str, task: Task, on_failure: Callable[[Exception], None]) -> None:
        """Start a request as soon as there is room.

        Args:
            request: Identifies it.
            name: The name of its thread.
            task: Makes the request.
            on_failure: Called instead, with the exception, if there is no thread for the task.
        """
        with self._lock:
            self._waiting.append(_Waiting(request, name, task, on_failure))
        self.admit()

    def release(self, request: object) -> None:
        """End the starting phase of `request`; does nothing if it is not in that phase."""
        with self._lock:
            if request not in self._starting:
                return
            self._starting.discard(request)
        self.admit()

    def next_task(self, request: object) -> Task | None:
        """End the starting phase of `request`, as `release`; return a task that the calling thread must run, or None.

        A thread that has started one request starts the next one: a switch of threads costs as much as half a start.
        """
        with self._lock:
            self._starting.discard(request)
            return self._next().task if self._waiting and self._has_room() else None

    def admit(self, *, overdue: bool = False) -> None:
        """Start as many requests as there is room for, and at least one if they are `overdue`.

        To be called when `is_busy` may have become False.
        """
        while self._waiting:
            with self._lock:
                if not self._waiting or not (overdue or self._has_room() or not self._limit_waiting()):
                    return
                waiting = self._next()
            overdue = False
            try:
                self._run(waiting.name, waiting.task)
            except Exception as error:
                with self._lock:
                    self._starting.discard(waiting.request)
                waiting.on_failure(error)

    def _has_room(self) -> bool:
        return len(self._starting) < _MAX_STARTING and not self._is_busy()

    def _next(self) -> _Waiting:
        """Move the next request into the starting phase. The caller must hold the lock."""
        waiting = self._waiting.popleft()
        self._starting.add(waiting.request)
        if self._watch is not None:
            self._watch.at = time.monotonic() + _MAX_DELAY
        return waiting

    def _limit_waiting(self) -> bool:
        """Make sure that the waiting ends; return False if nothing can. The caller must hold the lock."""
        if self._watch is None:
            watch = Watch(time.monotonic() + _MAX_DELAY, _MAX_DELAY, self._expired)
            try:
                self._dog.add(watch)
            except Exception:  # no thread can be started: nothing would limit the waiting, so nothing waits
                self._starting.clear()
                return False
            self._watch = watch
        return True

    def _expired(self) -> None:
        """Start the next request. On the watchdog's thread: none has started for a while."""
        with self._lock:
            self._watch = None
            self._starting.clear()
        self.admit(overdue=True)
