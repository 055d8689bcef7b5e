"""Reads the prompts on a thread of its own, so that a slow source never delays rows that are ready."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing, suppress

from ._jobs import Job
from .rows import Settled, as_exception


class JobSource:
    """Jobs that a thread reads ahead, at most `ahead` of them.

    `take` is for the run's thread; `stop` is thread-safe. `on_ready` is called on the reading thread when there is
    something again after `take` returned None.
    """

    def __init__(self, jobs: Generator[Job | Settled], ahead: int, name: str, on_ready: Callable[[], None]) -> None:
        self.is_exhausted = False
        """Whether `take` has found that nothing more comes."""
        self._jobs = jobs
        self._on_ready = on_ready
        self._queue: queue.Queue[Job | Settled | Exception | None] = queue.Queue(ahead)
        self._is_awaited = False
        self._stopped = False
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._read,), name=name, daemon=True).start()

    def take(self, timeout: float = 0.0) -> Job | Settled | None:
        """Return the next job; None if none is ready within `timeout` seconds.

        Raises what reading the prompts raised, after the jobs.
        """
        if self.is_exhausted:
            return None
        self._is_awaited = True  # before the look, so that what comes after it is announced
        try:
            found = self._queue.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        self._is_awaited = False
        if isinstance(found, Exception):
            raise found
        self.is_exhausted = found is None
        return found

    def stop(self) -> None:
        """Stop reading."""
        self._stopped = True
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()  # the thread may be waiting for room

    def _read(self) -> None:
        """Read until the end of the jobs, or until `stop`. Runs on the source's thread."""
        end: Exception | None = None
        try:
            with closing(self._jobs):
                for job in self._jobs:
                    self._put(job)
                    if self._stopped:
                        return
        except BaseException as error:  # of the user's iterable
            end = as_exception(error)
        self._put(end)

    def _put(self, item: Job | Settled | Exception | None) -> None:
        self._queue.put(item)
        if self._is_awaited:
            self._on_ready()
