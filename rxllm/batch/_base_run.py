"""What all runs of a batch share: the thread, the checkpoint, and how rows are emitted."""

from __future__ import annotations

import atexit
import contextvars
import itertools
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from reactivex import abc

from .._runtime.errors import report_exception
from ..errors import ConfigurationError, OutputParsingError
from ..operators.json.typed import Target
from ._early_stop import EarlyStop
from ._jobs import Columns, Job, jobs_of
from ._source import JobSource
from .checkpoint import Checkpoint, Retry
from .progress import BatchProgress, ProgressCounter
from .rows import AnswerRow, FailureRow, Row, Settled, failure_of, usage_of

BatchEvent: TypeAlias = Row | BatchProgress

STOP_SECONDS = 5.0
"""Seconds that a run takes at most to store what is ready after it was disposed."""


Mode: TypeAlias = Literal["stream", "vendor_batch"]
"""How prompts are sent: each in its own request, or through the vendor's batch API."""
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""0 or more, and not infinite."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a run that are plain values, with the defaults of `RunOptions`."""

    mode: Mode = "stream"
    max_concurrent: Annotated[int, msgspec.Meta(ge=1)] = 16
    workers: Annotated[int, msgspec.Meta(ge=1)] | None = None
    retry_failures: Retry = "none"
    max_retries: Count | None = None
    outage_timeout: Number = 600.0
    stop_after_equal_failures: Count = 20
    total: Count | None = None
    job: str = ""
    version: str = ""
    progress_every: Number = 1.0
    show_progress: bool = False
    sync: Number = 1.0
    start_timeout: Number = 600.0
    worker_options: Mapping[str, object] | None = None
    poll_seconds: Number = 10.0
    batch_size: Count | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a run does."""

    items: Callable[[], Iterable[object]]
    settings: RunSettings
    columns: Columns
    fingerprint: bytes
    response_type: type[object] | None
    checkpoint: Path


class BaseRun(abc.DisposableBase):
    """A subscription to a batch. All state belongs to the run's thread; `dispose` is thread-safe."""

    _file: Checkpoint
    """Open while the run works."""

    def __init__(self, plan: Plan, observer: abc.ObserverBase[BatchEvent]) -> None:
        self._plan = plan
        self._settings = plan.settings
        self._observer = observer
        self._stopped = threading.Event()
        self._early_stop = EarlyStop(plan.settings.stop_after_equal_failures)
        self._target = None if plan.response_type is None else Target(plan.response_type)
        self._counter = ProgressCounter(plan.settings.total, time.monotonic())
        self._source: JobSource | None = None
        self._reported_at = time.monotonic()
        self._name = f"rxllm-batch-{next(_run_numbers)}"
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=self._name, daemon=True)

    def start(self) -> abc.DisposableBase:
        """Start the thread of the run."""
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
    def _work(self) -> None:
        """Do everything, until each prompt has its row or `_stopped` is set. `_file` is the open checkpoint."""

    def _end(self) -> None:
        """Store what is ready; called last, in any case."""

    @abstractmethod
    def _progress(self, now: float) -> BatchProgress:
        """Return the progress."""

    def _run(self) -> None:
        """Open the checkpoint, do the work and end the stream. Runs on the thread of the run."""
        atexit.register(self._exit)  # runs before Ray's own handler, which was registered earlier
        about: dict[str, object] = {"job": self._settings.job, "key": self._plan.columns.key}
        try:
            with closing(Checkpoint(self._plan.checkpoint, about, sync=self._settings.sync)) as self._file:
                try:
                    self._work()
                finally:
                    if self._source is not None:
                        self._source.stop()
                    self._end()
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

    def _read_prompts(self, ahead: int, on_ready: Callable[[], None] = lambda: None) -> JobSource:
        """Start to read the prompts on a thread, `ahead` of them at most; see `JobSource`."""
        jobs = jobs_of(self._plan.items(), self._plan.columns, self._plan.fingerprint)
        self._source = JobSource(jobs, ahead, f"{self._name}-source", on_ready)
        return self._source

    def _unanswered(self, found: Job | Settled, is_in_hand: bool) -> Job | None:
        """Return the job if it has no row yet; store the row of a prompt that cannot be asked.

        `is_in_hand` is whether this run asks a prompt with the same key now: then one of the two is wrong.
        """
        standing = self._file.standing(found.key, found.digest, self._settings.retry_failures)
        if standing == "twice" or is_in_hand:
            raise ConfigurationError(f"two prompts have the key {found.key!r}; the second is number {found.position}")
        if standing == "settled":
            self._counter.skipped += 1
        elif isinstance(found, Job):
            return found
        else:
            self._settle([found])
        return None

    def _settle(self, rows: list[Settled]) -> None:
        """Store and emit rows, except the first failures of the run, which may end it."""
        self._store(self._early_stop.pass_on(rows))

    def _store(self, rows: list[Settled]) -> None:
        """Write the rows to disk, then emit them."""
        if rows:
            self._file.write(rows)
        self._emit_rows(rows)

    def _emit_rows(self, rows: list[Settled]) -> None:
        """Emit rows that are on disk, and count them for the progress."""
        for settled in rows:
            self._counter.count(isinstance(settled.row, FailureRow), usage_of(settled.row))
            self._emit(settled.row)

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
        if time.monotonic() - self._reported_at >= self._settings.progress_every:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        self._emit(self._progress(self._reported_at))

    def _emit(self, event: BatchEvent) -> None:
        """Emit `event`. What the subscriber raises goes to `threading.excepthook` and ends the run."""
        if self._stopped.is_set():
            return
        try:
            self._observer.on_next(event)
        except Exception:
            report_exception()
            self.dispose()


_run_numbers = itertools.count(1)
