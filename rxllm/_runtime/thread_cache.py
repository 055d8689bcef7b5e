"""Daemon threads that stay for a moment after their task, as the next one often follows at once.

Starting a thread costs more than a fifth of a whole request; waking one that waits, a tenth of that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .fork import after_fork

_LINGER = 0.2
"""Seconds an idle thread waits for its next task before it ends."""

_IDLE_NAME = "rxllm-idle"


class Workers:
    """Threads for tasks that block: as many as there are tasks at once. Tasks raise nothing."""

    def __init__(self) -> None:
        self._forget()
        after_fork(self._forget)

    def _forget(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def run(self, name: str, task: Callable[[], None]) -> None:
        """Run `task` on a thread that bears `name` meanwhile; returns at once."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            _Worker(self, name, task).start()
        else:
            worker.give(name, task)

    def rest(self, worker: _Worker) -> None:
        """Called by a worker without a task: wait for one, for a moment."""
        with self._lock:
            self._idle.append(worker)
        if worker.wait(_LINGER):
            return
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return
        worker.wait(None)  # one came at the last moment


class _Worker(threading.Thread):
    """One thread, and the task it has."""

    def __init__(self, workers: Workers, name: str, task: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._workers = workers
        self._task: Callable[[], None] | None = task
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, name: str, task: Callable[[], None]) -> None:
        self.name, self._task = name, task
        self._given.release()

    def wait(self, seconds: float | None) -> bool:
        return self._given.acquire(timeout=-1 if seconds is None else seconds)

    def run(self) -> None:
        while self._task is not None:
            task, self._task = self._task, None
            task()
            del task  # an idle thread holds on to nothing
            self.name = _IDLE_NAME
            self._workers.rest(self)


workers = Workers()
