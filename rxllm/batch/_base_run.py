"""What all runs of a batch share: the thread, the checkpoint, and how rows are emitted."""

from __future__ import annotations

import atexit
import contextvars
import itertools
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Self, TypeAlias

import msgspec
from reactivex import abc

from ..errors import OutputParsingError
from ..operators.json.typed import Target
from ._early_stop import EarlyStop
from ._jobs import Columns, InvalidJob, Job
from ._source import JobSource
from .checkpoint import Checkpoint, Retry, Settled
from .progress import BatchProgress, ProgressCounter
from .rows import AnswerRow, FailureRow, Row, failure_of, row_to_json

BatchEvent: TypeAlias = Row | BatchProgress

STOP_SECONDS = 5.0
"""Seconds that a run takes at most to store what is ready after it was disposed."""


class Plan(msgspec.Struct, frozen=True):
    """What a run does."""

    items: Callable[[], Iterable[object]]
    total: int | None
    columns: Columns
    fingerprint: bytes
    response_type: type[object] | None
    checkpoint: Path
    about: dict[str, object]
    retry: Retry
    backlog: int
    progress_every: float
    start_timeout: float
    sync: float
    silent_after: float = 60.0
    """A worker that sends nothing for this many seconds is taken for dead; a live one sends once a second."""
    stop_after: int = 20
    """The run ends if its first rows, this many, all fail with the same error; 0 turns that off."""


class BaseRun(abc.DisposableBase):
    """A subscription to a batch. All state belongs to the run's thread; `dispose` is thread-safe."""

    def __init__(self, plan: Plan, observer: abc.ObserverBase[BatchEvent]) -> None:
        self._plan = plan
        self._observer = observer
        self._stopped = threading.Event()
        self._early_stop = EarlyStop(plan.stop_after)
        self._target = None if plan.response_type is None else Target(plan.response_type)
        self._counter = ProgressCounter(plan.total, time.monotonic())
        self._source: JobSource | None = None
        self._reported_at = time.monotonic()
        self._name = f"rxllm-batch-{next(_run_numbers)}"

    def start(self) -> Self:
        """Start the thread of the run."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=self._name, daemon=True)
        self._thread.start()
        return self

    def dispose(self) -> None:
        """Close all connections to the vendor and emit nothing more. May be called again."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._interrupt()
            if self._source is not None:
                self._source.stop()

    @abstractmethod
    def _interrupt(self) -> None:
        """Close all connections to the vendor. Thread-safe."""

    @abstractmethod
    def _work(self, file: Checkpoint) -> None:
        """Do everything, until each prompt has its row or `_stopped` is set."""

    @abstractmethod
    def _end(self, file: Checkpoint) -> None:
        """Store what is ready; called last, in any case."""

    @abstractmethod
    def _progress(self, now: float) -> BatchProgress:
        """Return the progress."""

    def _run(self) -> None:
        """Open the checkpoint, do the work and end the stream. Runs on the thread of the run."""
        atexit.register(self._exit)  # runs before Ray's own handler, which was registered earlier
        try:
            with closing(Checkpoint(self._plan.checkpoint, self._plan.about, sync=self._plan.sync)) as file:
                try:
                    self._work(file)
                finally:
                    self._end(file)
        except SubscriberRaised as raised:
            error = raised.error
            threading.excepthook(
                threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
            )
        except Exception as error:
            if not self._stopped.is_set():
                self._observer.on_error(error)
        else:
            if not self._stopped.is_set():
                self._observer.on_completed()
        finally:
            atexit.unregister(self._exit)

    def _exit(self) -> None:
        """Store what is ready before the interpreter exits, and stop using Ray before it is gone."""
        self.dispose()
        self._thread.join(2 * STOP_SECONDS)

    def _checked(self, row: Row, has_own_format: bool) -> Row:
        """Return the row, or a failure if its value does not fit the type that you gave."""
        target = self._target
        if target is None or not isinstance(row, AnswerRow) or has_own_format:
            return row
        try:
            target.whole(row.value)
        except ValueError as error:
            message = f"the answer's JSON does not fit the type that you gave: {error}"
            wrong = OutputParsingError(message, text=row.text, partial=row.response)
            return failure_of(wrong, row.key, row.columns, row.tries)
        return row

    def _report_if_due(self) -> None:
        if time.monotonic() - self._reported_at >= self._plan.progress_every:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        self._emit(self._progress(self._reported_at))

    def _emit(self, event: BatchEvent) -> None:
        """Emit `event`; raise `SubscriberRaised` for what the subscriber raises, which ends the run."""
        if self._stopped.is_set():
            return
        try:
            self._observer.on_next(event)
        except Exception as error:
            self._stopped.set()
            raise SubscriberRaised(error) from error


class SubscriberRaised(Exception):
    """Carries the subscriber's own exception out of the run."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def settled_row(job: Job | InvalidJob, row: Row) -> Settled:
    transient = isinstance(row, FailureRow) and row.transient
    return Settled(row.key, job.position, job.digest, isinstance(row, FailureRow), transient, row_to_json(row))


_run_numbers = itertools.count(1)
