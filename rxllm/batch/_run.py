"""A run of a batch: a thread that gives jobs to workers, stores their rows, and then emits them.

All state belongs to that thread; `dispose` only closes connections. A row is on disk before it is emitted, and is
emitted before its worker is given more: a slow subscriber or disk slows the requests, and nothing accumulates.
"""

from __future__ import annotations

import atexit
import contextvars
import itertools
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from reactivex import abc

from .._runtime.errors import report_exception
from ..errors import ConfigurationError, LLMError, OutputParsingError
from ..operators.json.typed import Target
from ._early_stop import EarlyStop
from ._job_queue import JobQueue
from ._jobs import Columns, Job, JobSource, jobs_of
from ._worker_pool import Outcome, WorkerPool
from .checkpoint import Checkpoint, Retry
from .errors import WorkerLostError
from .progress import BatchProgress, ProgressCounter
from .rows import AnswerRow, FailureRow, Row, Settled, failure_of, usage_of

log = logging.getLogger("rxllm")

BatchEvent: TypeAlias = Row | BatchProgress

STOP_SECONDS = 5.0
"""Seconds that a run takes at most to store what is ready after it was disposed."""
_TICK_SECONDS = 1.0
"""How often a run looks after its workers; also how long it waits before it replaces a lost one."""
_LATE_SECONDS = 10.0
"""A check that comes so late says nothing about the workers: this process was stopped, or its subscriber was slow."""
_RESIZE_SECONDS = 5.0
"""How often a run looks whether machines have joined, so that there is room for more workers."""
_FAILED_STARTS = 3
"""Failed starts in a row that end a run which has no worker."""
_LONGEST_START_DELAY = 60.0
"""Seconds; the delay doubles with each failed start."""
_SILENT_SECONDS = 60.0
"""A worker that sends nothing for this many seconds is taken for dead; a live one sends once a second."""

Mode: TypeAlias = Literal["stream", "vendor_batch"]
"""How prompts are sent: each in its own request, or through the vendor's batch API."""
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""0 or more, and not infinite."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


_run_numbers = itertools.count(1)


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
    version: str = ""
    progress_every: Number = 1.0
    show_progress: bool = False
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
        """The thread that reads the prompts."""
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
        try:
            with closing(Checkpoint(self._plan.checkpoint, {"key": self._plan.columns.key})) as self._file:
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
        """Return the row, or a failure if its value does not fit the type that you gave.

        A prompt whose own options have a `response_format` is not asked for that type.
        """
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


class Run(BaseRun):
    """A run whose workers make a request for each prompt."""

    def __init__(self, plan: Plan, pool: WorkerPool, observer: abc.ObserverBase[BatchEvent]) -> None:
        super().__init__(plan, observer)
        self._pool = pool
        concurrent = plan.settings.max_concurrent
        self._backlog = concurrent + max(2, concurrent // 2)
        self._queue = JobQueue(self._backlog)
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._starting: dict[int, float] = {}
        """Workers that are not ready yet, and since when."""
        self._busy: dict[int, float] = {}
        """Workers with an exchange under way, and since when."""
        self._next_check = self._next_start = time.monotonic()
        """When workers are checked and missing ones started; later after a loss: the cluster may be shutting down."""

    def _interrupt(self) -> None:
        self._pool.stop()
        self._pool.mailbox.put(None)

    def _work(self) -> None:
        """Read the prompts, start the workers, and process their outcomes until each prompt has its row."""
        source = self._read_prompts(self._backlog, lambda: self._pool.mailbox.put(None))
        self._report()
        while self._queue.is_empty and not source.is_exhausted and not self._stopped.is_set():
            first = self._next_job(_TICK_SECONDS)
            if first is not None:
                self._queue.add(first)
            self._report_if_due()
        if not self._queue.is_empty:  # no worker is started before there is work
            self._pool.open()
            while not self._stopped.is_set() and not self._is_complete(source):
                if time.monotonic() >= self._next_check and self._pool.mailbox.empty():
                    self._check_workers()
                outcome = self._pool.next(_TICK_SECONDS)
                if outcome is not None:
                    self._handle(*outcome)
                self._report_if_due()
        self._store(self._early_stop.release())
        self._report()

    def _is_complete(self, source: JobSource) -> bool:
        """Give idle workers the prompts that wait; return whether every prompt has its row."""
        for worker in self._queue.idle:
            self._give(worker)
        return source.is_exhausted and self._queue.is_empty

    def _next_job(self, timeout: float = 0.0) -> Job | None:
        """Return the next prompt that needs an answer; None if none is read within `timeout` seconds."""
        assert self._source is not None
        while not self._stopped.is_set() and (found := self._source.take(timeout)) is not None:
            job = self._unanswered(found, is_in_hand=self._queue.holds(found.key))
            if job is not None:
                return job
        return None

    def _handle(self, worker: int, outcome: Outcome) -> None:
        """Process what a worker returned. Rows of workers taken for dead are ignored."""
        if isinstance(outcome, WorkerLostError):
            self._lose(worker, str(outcome))
        elif isinstance(outcome, Exception):
            raise outcome
        elif self._starting.pop(worker, None) is not None:  # the first outcome says that the worker is ready
            self._failed_starts = 0
            self._give(worker)
        elif self._busy.pop(worker, None) is not None:
            self._settle(self._settled(worker, outcome))
            self._give(worker)

    def _settled(self, worker: int, rows: Sequence[Row]) -> list[Settled]:
        """Return the rows of a worker, checked."""
        jobs = [self._queue.settle(worker, row.key) for row in rows]
        return [
            Settled(job.position, job.digest, self._checked(row, "response_format" in job.options))
            for job, row in zip(jobs, rows, strict=True)
        ]

    def _give(self, worker: int) -> None:
        """Send further jobs to a worker, which returns rows that are ready; it is idle if it has no job at all."""
        jobs = self._queue.give(worker, self._next_job)
        if worker not in self._queue.idle:
            self._pool.exchange(worker, jobs)
            self._busy[worker] = time.monotonic()  # not before: nothing comes of an exchange that did not begin

    def _lose(self, worker: int, reason: str) -> None:
        """Give the prompts of a lost worker to others; it is replaced after a delay."""
        delay = _TICK_SECONDS
        if self._starting.pop(worker, None) is not None:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS and not (self._starting or self._queue.workers):
                raise WorkerLostError(f"{self._failed_starts} workers in a row did not start: {reason}")
            log.warning("a worker did not start: %s", reason)
            delay = min(2.0 ** (self._failed_starts - 1), _LONGEST_START_DELAY)
        elif self._busy.pop(worker, None) is not None:
            log.warning("a worker is lost, its prompts are given to others: %s", reason)
            self._counter.lost_workers += 1
            error = WorkerLostError(f"every worker that ran this prompt was lost; the last one: {reason}")
            self._settle([job.failed(error) for job in self._queue.lose(worker)])
        else:
            return
        self._next_start = time.monotonic() + delay

    def _check_workers(self) -> None:
        """End silent workers, and start as many as the pool has room for; machines may have joined."""
        now = time.monotonic()
        if now - self._next_check > _LATE_SECONDS:  # nor could this process have received anything meanwhile
            self._busy = dict.fromkeys(self._busy, now)
        self._next_check = now + _TICK_SECONDS
        if now >= self._next_start:
            self._next_start = now + _RESIZE_SECONDS
            for _ in range(self._pool.size() - len(self._starting) - self._queue.workers):
                worker = next(self._numbers)
                self._starting[worker] = now
                self._pool.start_worker(worker)
        for worker, since in list(self._busy.items()):
            if now - since > _SILENT_SECONDS:
                self._pool.end_worker(worker)
                self._lose(worker, f"silent for {_SILENT_SECONDS:.0f} seconds")
        waited = now - min(self._starting.values(), default=now)
        if not self._queue.workers and waited > self._settings.start_timeout:
            raise WorkerLostError(f"no worker started within {waited:.0f} seconds: does the cluster have room for one?")

    def _progress(self, now: float) -> BatchProgress:
        return self._counter.progress(now, self._queue.running, self._queue.workers)

    def _end(self) -> None:
        """Close all connections, store what is ready, end the workers."""
        try:
            self._pool.stop()
            until = time.monotonic() + STOP_SECONDS
            while self._busy and (left := until - time.monotonic()) > 0:
                arrived = self._pool.next(left)
                if arrived is None or self._busy.pop(arrived[0], None) is None:
                    continue
                worker, outcome = arrived
                if not isinstance(outcome, Exception):
                    self._file.write([row for row in self._settled(worker, outcome) if isinstance(row.row, AnswerRow)])
        except LLMError as error:  # such as a full disk, which ended the run
            log.warning("some rows are lost; the next run asks them again: %s", error)
        finally:
            self._pool.close()
