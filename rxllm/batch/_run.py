"""A run with workers: a thread that gives jobs to workers, stores their rows, and then emits them.

All state belongs to that thread; `dispose` only closes connections. A row is on disk before it is emitted, and is
emitted before its worker is given more: a slow subscriber or disk slows the requests, and nothing accumulates.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence

from reactivex import abc

from ..errors import LLMError
from ._base_run import STOP_SECONDS, BaseRun, BatchEvent, Plan
from ._job_queue import JobQueue
from ._jobs import Job
from ._source import JobSource
from ._worker import EncodedRow
from ._worker_pool import Outcome, WorkerPool
from .errors import WorkerLostError
from .progress import BatchProgress
from .rows import AnswerRow, Settled, row_from_json

log = logging.getLogger("rxllm")

_TICK_SECONDS = 1.0
_RESIZE_SECONDS = 5.0
_FAILED_STARTS = 3
"""Failed starts in a row that end a run which has no worker."""
_LONGEST_START_DELAY = 60.0
_SILENT_SECONDS = 60.0
"""A worker that sends nothing for this many seconds is taken for dead; a live one sends once a second."""
_NO_WORKER = -1


class Run(BaseRun):
    """A run whose workers make a request for each prompt."""

    def __init__(self, plan: Plan, pool: WorkerPool, observer: abc.ObserverBase[BatchEvent]) -> None:
        super().__init__(plan, observer)
        self._pool = pool
        concurrent = plan.settings.max_concurrent
        self._backlog = concurrent + max(2, concurrent // 2)
        self._queue = JobQueue(self._backlog)
        self._first: Job | None = None
        """The first job that needs a worker, until it is given to one."""
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._starting: dict[int, float] = {}
        """Workers that are not ready yet, and since when."""
        self._busy: dict[int, float] = {}
        """Workers with an exchange under way, and since when."""
        self._idle: set[int] = set()
        """Workers that are ready and have nothing to do."""
        self._start_at = self._look_at = time.monotonic()
        """When missing workers are started next: not at once after a loss, the cluster itself may be shutting down."""

    def _interrupt(self) -> None:
        self._pool.stop()
        self._pool.mailbox.put(None)

    def _work(self) -> None:
        """Read the prompts, start the workers, and process their outcomes until each prompt has its row."""
        source = self._read_prompts(self._backlog, lambda: self._pool.mailbox.put(None))
        self._report()
        while self._first is None and not source.is_exhausted and not self._stopped.is_set():
            self._first = self._next_job(_TICK_SECONDS)
            self._report_if_due()
        if self._first is not None:  # no worker is started before there is work
            self._pool.open()
            while not self._stopped.is_set() and not self._is_complete(source):
                if time.monotonic() >= self._look_at and self._pool.mailbox.empty():
                    self._check_workers()
                outcome = self._pool.next(_TICK_SECONDS)
                if outcome is not None:
                    self._handle(*outcome)
                self._report_if_due()
        self._store(self._early_stop.release())
        self._report()

    def _is_complete(self, source: JobSource) -> bool:
        """Give idle workers the prompts that wait; return whether every prompt has its row."""
        for worker in tuple(self._idle):
            self._give(worker)
        return source.is_exhausted and self._first is None and not self._busy and self._queue.is_empty

    def _next_job(self, timeout: float = 0.0) -> Job | None:
        """Return the next prompt that needs an answer; None if none is read within `timeout` seconds."""
        first, self._first = self._first, None
        if first is not None or self._source is None:
            return first
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
        elif self._starting.pop(worker, None) is not None:
            self._failed_starts = 0
            self._give(worker)
        elif self._busy.pop(worker, None) is not None:
            self._settle(self._decoded(worker, outcome))
            for row in outcome:
                if row.fatal is not None:
                    raise row.fatal
            self._give(worker)

    def _decoded(self, worker: int, rows: Sequence[EncodedRow]) -> list[Settled]:
        """Return the rows of a worker, checked; without those whose error ends the run."""
        settled: list[Settled] = []
        for encoded in rows:
            job = self._queue.settle(worker, encoded.key)
            if encoded.fatal is None:  # else the next run asks it again
                row = self._checked(row_from_json(encoded.row), "response_format" in job.options)
                settled.append(Settled(job.position, job.digest, row))
        return settled

    def _give(self, worker: int) -> None:
        """Send further jobs to a worker, which returns rows that are ready; it is idle if it has no job at all."""
        jobs = self._queue.give(worker, self._next_job)
        if self._queue.in_hand_of(worker):
            self._idle.discard(worker)
            self._busy[worker] = time.monotonic()
            self._pool.exchange(worker, jobs)
        else:
            self._idle.add(worker)

    def _lose(self, worker: int, reason: str) -> None:
        """Give the prompts of a lost worker to others; it is replaced after a delay."""
        delay = _TICK_SECONDS
        if self._starting.pop(worker, None) is not None:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS and not (self._starting or self._idle or self._busy):
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
        self._start_at = time.monotonic() + delay

    def _check_workers(self) -> None:
        """End silent workers, and start as many as the pool has room for; machines may have joined."""
        now = time.monotonic()
        self._look_at = now + _TICK_SECONDS
        if now >= self._start_at:
            self._start_at = now + _RESIZE_SECONDS
            for _ in range(self._pool.size() - len(self._starting) - len(self._busy) - len(self._idle)):
                worker = next(self._numbers)
                self._starting[worker] = now
                self._pool.start_worker(worker)
        for worker, since in list(self._busy.items()):
            if now - since > _SILENT_SECONDS:
                self._pool.end_worker(worker)
                self._lose(worker, f"silent for {_SILENT_SECONDS:.0f} seconds")
        waited = now - min(self._starting.values(), default=now)
        if not self._idle and not self._busy and waited > self._settings.start_timeout:
            raise WorkerLostError(f"no worker started within {waited:.0f} seconds: does the cluster have room for one?")

    def _progress(self, now: float) -> BatchProgress:
        return self._counter.progress(now, self._queue.running, len(self._idle) + len(self._busy))

    def _end(self) -> None:
        """Close all connections, store what is ready, end the workers."""
        try:
            self._pool.stop()
            until = time.monotonic() + STOP_SECONDS
            while self._busy and (left := until - time.monotonic()) > 0:
                worker, outcome = self._pool.next(left) or (_NO_WORKER, ())
                if self._busy.pop(worker, None) is not None and not isinstance(outcome, Exception):
                    rows = self._decoded(worker, outcome)
                    self._file.write([settled for settled in rows if isinstance(settled.row, AnswerRow)])
        except LLMError as error:  # such as a full disk, which ended the run
            log.warning("some rows are lost; the next run asks them again: %s", error)
        finally:
            self._pool.close()
