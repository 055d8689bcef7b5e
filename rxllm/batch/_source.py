"""Reads the prompts on a thread of its own, so that a slow source never delays rows that are ready."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator
from contextlib import closing

from reactivex import Observable, abc
from reactivex.disposable import BooleanDisposable

from ..sinks._handoff import Handoff, Nothing
from ._jobs import Job
from .rows import Settled, as_exception


class JobSource:
    """Jobs that are read ahead, at most `ahead` of them.

    `take` and `wait` are for the run's thread; `stop` is thread-safe. `on_ready` is called on the reading thread when
    there is something again after `take` returned None.
    """

    def __init__(self, jobs: Generator[Job | Settled], ahead: int, on_ready: Callable[[], None]) -> None:
        self._jobs = jobs
        self._on_ready = on_ready
        self._ready = threading.Event()
        self._handoff: Handoff[Job | Settled] = Handoff(ahead, self._wake)
        self.is_exhausted = False
        """Whether `take` has found that nothing more comes."""

    def start(self, name: str) -> None:
        """Start to read, on a thread with this name."""

        def subscribe(
            observer: abc.ObserverBase[Job | Settled], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            """Read until the end of the jobs, or until the subscription is disposed."""
            stopped = BooleanDisposable()
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(self._read, observer, stopped), name=name, daemon=True).start()
            return stopped

        self._handoff.start(Observable(subscribe))

    def take(self) -> Job | Settled | None:
        """Return the next job; None if none is ready. Raises what reading the prompts raised, after the jobs."""
        while (job := self._handoff.take()) is Nothing.YET:
            self._ready.clear()
            if self._handoff.sleep():
                return None
        if job is Nothing.MORE:
            self.is_exhausted = True
            return None
        return job

    def wait(self, timeout: float) -> None:
        """Block, after `take` returned None, until it would not, or until `timeout` seconds have passed."""
        self._ready.wait(timeout)

    def stop(self) -> None:
        """Stop reading."""
        self._handoff.close()

    def _read(self, observer: abc.ObserverBase[Job | Settled], stopped: BooleanDisposable) -> None:
        """Pass the jobs on; the observer blocks while enough are ready. Runs on the source's thread."""
        try:
            with closing(self._jobs):
                for job in self._jobs:
                    observer.on_next(job)
                    if stopped.is_disposed:
                        break
        except BaseException as error:  # of the user's iterable
            observer.on_error(as_exception(error))
        else:
            observer.on_completed()

    def _wake(self) -> bool:
        self._ready.set()
        self._on_ready()
        return True
