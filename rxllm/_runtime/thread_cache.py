"""Daemon threads that wait a moment for their next task, which often follows at once.

Starting a thread costs more than a fifth of a whole request; waking one that waits costs a tenth of that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from .platform import after_fork

Task: TypeAlias = Callable[[], object]

_IDLE_SECONDS = 0.2
"""How long an idle thread waits for its next task before it ends."""

_IDLE_NAME = "rxllm-idle"


class Workers:
    """Threads for tasks that block: as many as there are tasks at a time. Tasks must raise nothing. Thread-safe.

    A task may return another task, which the same thread runs after it.
    """

    def __init__(self) -> None:
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may subscribe
        self._idle: list[_Worker] = []

    def run(self, name: str, task: Task) -> None:
        """Run `task` on a thread named `name`; returns at once.

        Raises:
            RuntimeError: The thread could not be started; the task does not run.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            _Worker(self, name, task).start()
        else:
            worker.give(name, task)

    def wait_for_task(self, worker: _Worker) -> None:
        """Block the calling idle worker for up to 0.2 s until it is given a task."""
        with self._lock:
            self._idle.append(worker)
        if worker.wait(_IDLE_SECONDS):
            return
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return
        worker.wait(None)  # a task was given at the last moment


class _Worker(threading.Thread):
    """One thread, and its task."""

    def __init__(self, workers: Workers, name: str, task: Task) -> None:
        super().__init__(name=name, daemon=True)
        self._workers = workers
        self._task: Task | None = task
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, name: str, task: Task) -> None:
        self.name, self._task = name, task
        self._given.release()

    def wait(self, seconds: float | None) -> bool:
        return self._given.acquire(timeout=-1 if seconds is None else seconds)

    def run(self) -> None:
        """Run tasks until none comes for a while. A task may return what to run after it."""
        while self._task is not None:
            task, self._task = self._task, None
            next_task: object = task
            del task  # a thread keeps nothing alive after its task
            while callable(next_task):
                next_task = next_task()
            del next_task
            self.name = _IDLE_NAME
            self._workers.wait_for_task(self)


workers = Workers()
