"""One run: a thread that deals out jobs, settles rows on disk, and only then tells of them.

All state belongs to that thread. `dispose` reaches over it only to close connections, at once;
what workers have ready is settled even then. A row is on disk before it is emitted, and is
emitted before its worker is given more: a slow subscriber or disk slows the asking, and nothing piles up.
"""

from __future__ import annotations

import atexit
import contextvars
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
from reactivex import abc

from ..errors import ConfigurationError, LLMError, OutputParsingError
from ..operators.json.typed import Target
from ._job_queue import JobQueue
from ._jobs import Columns, InvalidJob, Job, jobs_of
from ._worker import EncodedRow
from ._worker_pool import Outcome, RowsReceived, WorkerFailed, WorkerLost, WorkerPool, WorkerReady
from .checkpoint import Checkpoint, Retry, Settled
from .errors import WorkerLostError
from .progress import BatchProgress, Tally
from .rows import AnswerRow, FailureRow, Row, failure_of, row_from_json, row_to_json, usage_of

log = logging.getLogger("rxllm")

BatchEvent: TypeAlias = Row | BatchProgress

_TICK_SECONDS = 1.0
_FAREWELL_SECONDS = 5.0
_FAILED_STARTS = 3
"""Workers in a row that end before they were ready: then no other is expected to be."""


class Plan(msgspec.Struct, frozen=True):
    """What a run is to do."""

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
    """Seconds; a worker gives a sign of life each second, and is taken for dead after so many without."""


class Run(abc.DisposableBase):
    """A subscription to a batch."""

    def __init__(self, plan: Plan, pool: WorkerPool, observer: abc.ObserverBase[BatchEvent]) -> None:
        self._plan = plan
        self._pool = pool
        self._observer = observer
        self._stopped = threading.Event()
        self._queue = JobQueue(plan.backlog)
        self._target = None if plan.response_type is None else Target(plan.response_type)
        self._tally = Tally(plan.total, time.monotonic())
        self._jobs: Iterator[Job | InvalidJob] = iter(())
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._starting: dict[int, float] = {}
        """Workers that are not ready yet, and since when."""
        self._asked: dict[int, float] = {}
        """Workers that owe an answer, and since when."""
        self._idle: set[int] = set()
        """Workers that are ready and owe none."""
        self._places: deque[float] = deque()
        """When the places of workers that are gone are to be filled: not at once, for then Ray itself may be going."""
        self._looked_at = self._told_at = time.monotonic()

    def start(self) -> Run:
        """Begin, on a thread of its own."""
        context = contextvars.copy_context()
        name = f"rxllm-batch-{next(_run_numbers)}"
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)
        self._thread.start()
        return self

    def dispose(self) -> None:
        """Close all connections to the vendor, tell nothing more. From any thread, any number of times."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._pool.stop()
            self._pool.wake()

    def _run(self) -> None:
        atexit.register(self._leave)  # comes before Ray's own, which was registered before
        try:
            with closing(Checkpoint(self._plan.checkpoint, self._plan.about, sync=self._plan.sync)) as file:
                try:
                    self._work(file)
                finally:
                    self._end(file)
        except SubscriberRaised as raised:
            error = raised.error  # the subscriber's own: it is not ours to handle
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
            atexit.unregister(self._leave)

    def _leave(self) -> None:
        """The interpreter exits: settle what is ready, and stop using Ray before it is gone."""
        self.dispose()
        self._thread.join(2 * _FAREWELL_SECONDS)

    def _work(self, file: Checkpoint) -> None:
        plan = self._plan
        self._jobs = jobs_of(plan.items(), plan.columns, plan.fingerprint)
        self._tell()
        first = self._fresh(file)
        if first is not None:  # machines are for those who have work for them
            self._jobs = itertools.chain((first,), self._jobs)
            for _ in range(self._pool.open()):
                self._start_worker()
            while not self._stopped.is_set() and not self._is_over(file):
                came = self._pool.next(_TICK_SECONDS)
                if came is not None:
                    self._take(file, *came)
                if time.monotonic() - self._looked_at >= _TICK_SECONDS:
                    self._look_around(file)
                if time.monotonic() - self._told_at >= plan.progress_every:
                    self._tell()
        self._tell()

    def _is_over(self, file: Checkpoint) -> bool:
        """Whether every prompt has its row; idle workers are given what a dead one may have left."""
        for worker in tuple(self._idle):
            self._give(file, worker)
        return not self._asked and self._queue.is_empty and bool(self._idle)

    def _fresh(self, file: Checkpoint) -> Job | None:
        """The next prompt that has no row."""
        for job in self._jobs:
            if self._stopped.is_set():
                return None
            standing = file.standing(job.key, job.digest, self._plan.retry)
            if standing == "twice" or self._queue.holds(job.key):
                raise ConfigurationError(f"two prompts have the key {job.key!r}; the second is number {job.position}")
            if standing == "settled":
                self._tally.skipped += 1
            elif isinstance(job, Job):
                return job
            else:
                self._settle(file, [(_settled(job, job.row), job.row)])
        return None

    def _take(self, file: Checkpoint, worker: int, outcome: Outcome) -> None:
        match outcome:
            case WorkerReady(error=None) if self._starting.pop(worker, None) is not None:
                self._failed_starts = 0
                self._give(file, worker)
            case RowsReceived(rows) if self._asked.pop(worker, None) is not None:
                self._settle(file, self._rows(worker, rows))
                for reply in rows:
                    if reply.hopeless is not None:
                        raise reply.hopeless
                self._give(file, worker)
            case WorkerLost(reason):
                self._lose(file, worker, reason)
            case WorkerReady(error=LLMError() as error) | WorkerFailed(error):
                raise error
            case _:
                pass  # of a worker that was given up

    def _rows(self, worker: int, rows: Sequence[EncodedRow]) -> Iterator[tuple[Settled, Row]]:
        for reply in rows:
            job = self._queue.settle(worker, reply.key)
            if reply.hopeless is not None:
                continue  # it is to be asked when there is hope again
            row = row_from_json(reply.row)
            checked = self._checked(row, job)
            if checked is not row:
                yield _settled(job, checked), checked
            else:
                yield Settled(reply.key, job.position, job.digest, reply.failed, reply.transient, reply.row), row

    def _checked(self, row: Row, job: Job) -> Row:
        """The row; where it holds a value that is not of the type that was asked for, a failure."""
        target = self._target
        if target is None or not isinstance(row, AnswerRow) or "response_format" in job.options:
            return row
        try:
            target.whole(row.value)
        except ValueError as error:
            said = f"the answer's JSON is not of the type it should be: {error}"
            wrong = OutputParsingError(said, text=row.text, partial=row.response)
            return failure_of(wrong, row.key, row.columns, row.tries)
        return row

    def _settle(self, file: Checkpoint, rows: Iterable[tuple[Settled, Row]]) -> None:
        """On disk first, then to the subscriber."""
        settled = list(rows)
        if settled:
            file.write(row for row, _ in settled)
        for _, row in settled:
            self._tally.count(isinstance(row, FailureRow), usage_of(row))
            self._emit(row)

    def _give(self, file: Checkpoint, worker: int) -> None:
        jobs = self._queue.give(worker, partial(self._fresh, file))
        if jobs or self._queue.in_hand_of(worker):
            self._idle.discard(worker)
            self._asked[worker] = time.monotonic()
            self._pool.exchange(worker, jobs)
        else:
            self._idle.add(worker)

    def _start_worker(self) -> None:
        worker = next(self._numbers)
        self._starting[worker] = time.monotonic()
        self._pool.start_worker(worker)

    def _lose(self, file: Checkpoint, worker: int, reason: str) -> None:
        """A worker is gone: its prompts are given out again, and another takes its place."""
        if self._starting.pop(worker, None) is not None:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                raise WorkerLostError(f"{_FAILED_STARTS} workers in a row did not come to work: {reason}")
        elif self._asked.pop(worker, None) is not None:
            log.warning("a worker is lost, its prompts are given to others: %s", reason)
            self._tally.lost_workers += 1
            error = WorkerLostError(f"each worker that asked this prompt was lost; the last one: {reason}")
            failures = [(job, failure_of(error, job.key, job.columns, 0)) for job in self._queue.lose(worker)]
            self._settle(file, [(_settled(job, row), row) for job, row in failures])
        else:
            return
        self._places.append(time.monotonic() + _TICK_SECONDS)

    def _look_around(self, file: Checkpoint) -> None:
        """Who shows no sign of life? What is in the mailbox by now is one, however long it has been there."""
        now = self._looked_at = time.monotonic()
        for _ in range(len(self._asked) + len(self._starting)):
            came = self._pool.next(0.0)
            if came is None:
                break
            self._take(file, *came)
        while self._places and self._places[0] <= now:
            self._places.popleft()
            self._start_worker()
        silent_after = self._plan.silent_after
        for worker in [worker for worker, since in self._asked.items() if now - since > silent_after]:
            self._pool.end_worker(worker)
            self._lose(file, worker, f"no sign of life for {silent_after:.0f} seconds")
        waited = now - min(self._starting.values(), default=now)
        if not self._idle and not self._asked and waited > self._plan.start_timeout:
            raise WorkerLostError(
                f"no worker came to work within {waited:.0f} seconds: is there room for one in the cluster?"
            )

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        workers = len(self._idle) + len(self._asked)
        self._emit(self._tally.progress(self._told_at, self._queue.running, workers))

    def _emit(self, event: BatchEvent) -> None:
        if self._stopped.is_set():
            return
        try:
            self._observer.on_next(event)
        except Exception as error:
            self._stopped.set()
            raise SubscriberRaised(error) from error

    def _end(self, file: Checkpoint) -> None:
        """Close all connections, settle what is ready, end the workers."""
        try:
            self._pool.stop()
            until = time.monotonic() + _FAREWELL_SECONDS
            while self._asked and (left := until - time.monotonic()) > 0:
                came = self._pool.next(left)
                if came is None:
                    continue
                worker, outcome = came
                if self._asked.pop(worker, None) is not None and isinstance(outcome, RowsReceived):
                    file.write(settled for settled, _ in self._rows(worker, outcome.rows))
        except ConfigurationError as error:  # the disk is full, say, which ended the run
            log.warning("some rows are lost, and will be asked again: %s", error)
        finally:
            self._pool.close()


class SubscriberRaised(Exception):
    """The subscriber's own exception, on its way out."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _settled(job: Job | InvalidJob, row: Row) -> Settled:
    transient = isinstance(row, FailureRow) and row.transient
    return Settled(row.key, job.position, job.digest, isinstance(row, FailureRow), transient, row_to_json(row))


_run_numbers = itertools.count(1)
