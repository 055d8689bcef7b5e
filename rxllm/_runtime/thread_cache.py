"""Daemon threads that wait a moment for their next task, which often follows at once.

Starting a thread costs more than a fifth of a whole request; waking one that waits costs a tenth of that.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

from .platform import after_fork

Task: TypeAlias = Callable[[], object]

_IDLE_SECONDS = 0.2
"""How long an idle thread waits for its next task before it ends."""


class Workers:
    """Threads for tasks that block: as many as there are tasks at a time. Tasks must raise nothing. Thread-safe.

    A task may return another task, which the same thread runs after it.
    """

    __slots__ = ("_idle", "_lock")  # one object serves the whole process: a test can only patch the class

    def __init__(self) -> None:
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may subscribe
        self._idle: list[SimpleQueue[tuple[str, Task]]] = []
        """Each idle thread takes its next task from a queue of its own."""

    def run(self, name: str, task: Task) -> None:
        """Run `task` on a thread named `name`; returns at once.

        Raises:
            RuntimeError: The thread could not be started; the task does not run.
        """
        with self._lock:
            tasks = self._idle.pop() if self._idle else None
        if tasks is not None:
            tasks.put((name, task))
            return
        tasks = SimpleQueue[tuple[str, Task]]()
        tasks.put((name, task))
        threading.Thread(target=self._work, args=(tasks,), name=name, daemon=True).start()

    def _work(self, tasks: SimpleQueue[tuple[str, Task]]) -> None:
        """Run tasks until none comes for a while. A task may return what to run after it."""
        while (given := self._next(tasks)) is not None:
            threading.current_thread().name = given[0]
            task: object = given[1]
            del given  # a thread keeps nothing alive after its task
            while callable(task):
                task = task()
            del task
            threading.current_thread().name = "rxllm-idle"
            with self._lock:
                self._idle.append(tasks)

    def _next(self, tasks: SimpleQueue[tuple[str, Task]]) -> tuple[str, Task] | None:
        """Wait for up to 0.2 s for a task; return None if there is none, and the thread is no longer idle but ends."""
        try:
            return tasks.get(timeout=_IDLE_SECONDS)
        except Empty:
            with self._lock:
                if tasks in self._idle:
                    self._idle.remove(tasks)
                    return None
            return tasks.get()  # a task was given at the last moment


workers = Workers()


def dispose_on_worker(dispose: Task) -> None:
    """Call `dispose` on a worker; for a finalizer, which the garbage collector may run inside a lock of the stream."""
    if sys.is_finalizing():  # then no thread runs, and atexit has closed everything
        return
    try:
        workers.run("rxllm-dispose", dispose)
    except RuntimeError:  # there is no thread
        dispose()
