"""Reads the prompts on a thread of its own, so that a slow source never delays rows that are ready."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ._jobs import Job
from .rows import Settled


class JobSource:
    """Jobs that are read ahead, at most `ahead` of them.

    `take` and `wait` are for the run's thread; `stop` is thread-safe. `on_ready` is called on the reading thread when
    there is something again after `take` returned None.
    """

    def __init__(self, jobs: Iterable[Job | Settled], ahead: int, on_ready: Callable[[], None]) -> None:
        self._jobs = jobs
        self._ahead = ahead
        self._on_ready = on_ready
        self._ready: deque[Job | Settled] = deque()
        self._changed = threading.Condition()
        """Guards the fields below and `_ready`."""
        self._ended = False
        self._error: Exception | None = None
        self._stopped = False
        self._is_awaited = False

    def start(self, name: str) -> None:
        """Start to read, on a thread with this name."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._read,), name=name, daemon=True).start()

    @property
    def is_exhausted(self) -> bool:
        """Whether everything has been taken."""
        with self._changed:
            return self._ended and not self._ready and self._error is None

    def take(self) -> Job | Settled | None:
        """Return the next job; None if none is ready. Raises what reading the prompts raised, after the jobs."""
        with self._changed:
            if self._ready:
                job = self._ready.popleft()
                if len(self._ready) == self._ahead // 2:
                    self._changed.notify_all()
                return job
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            self._is_awaited = not self._ended
            return None

    def wait(self, timeout: float) -> None:
        """Block until something is ready, all has been read, or `timeout` seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended or self._stopped, timeout)

    def stop(self) -> None:
        """Stop reading."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _read(self) -> None:
        """Read jobs ahead until the backlog is full, or the source ends or fails. Runs on the source's thread."""
        jobs = iter(self._jobs)
        try:
            for job in jobs:
                with self._changed:
                    self._changed.wait_for(self._has_room)
                    if self._stopped:
                        break
                    self._ready.append(job)
                    self._changed.notify_all()
                self._wake_run()
        except Exception as error:
            self._error = error
        finally:
            _close(jobs)
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            self._wake_run()

    def _has_room(self) -> bool:
        return len(self._ready) < self._ahead or self._stopped

    def _wake_run(self) -> None:
        with self._changed:
            is_awaited, self._is_awaited = self._is_awaited, False
        if is_awaited:
            self._on_ready()


def _close(jobs: Iterator[object]) -> None:
    close = getattr(jobs, "close", None)
    if close is not None:
        close()
