"""A run that submits prompts to a vendor's batch API, polls the jobs, and stores their results."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TypeVar

import msgspec
import reactivex
from reactivex import abc

from ..._protocol import Decoder
from ...errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    LLMError,
    NotFoundError,
    PermissionDeniedError,
    ProviderStreamError,
    RateLimitError,
    StreamInterruptedError,
)
from ...events import Response, StreamEnd
from ...model import StreamingModel
from ...operators.json.structured import parse
from .._base_run import BaseRun, BatchEvent, Plan, settled_row
from .._early_stop import EarlyStop, SettledRow
from .._jobs import InvalidJob, Job, jobs_of
from .._source import JobSource
from ..checkpoint import Checkpoint, Settled
from ..model_spec import ModelSpec
from ..progress import BatchProgress
from ..rows import AnswerRow, FailureRow, Row, failure_of, row_to_json, usage_of
from .api import VendorApi, VendorResult, wire_request
from .cancel import api_for
from .pending import NotedJob, PendingJobs, PendingPrompt

T = TypeVar("T")

log = logging.getLogger("rxllm")

_GRACE_POLLS = 12
"""A job that was noted and is not found after this many polls was not created."""
_NOT_YET_SECONDS = 300.0
"""For this long a new job may be unknown to the vendor."""
_ROWS_PER_COMMIT = 500
_FINAL = (AuthenticationError, PermissionDeniedError, ConfigurationError)


class VendorOptions(msgspec.Struct, frozen=True):
    """How jobs are made; seconds, and numbers of prompts."""

    poll_seconds: float = 10.0
    batch_size: int | None = None
    deadline: float = 26 * 3600.0


class VendorRun(BaseRun):
    """A run over a vendor's batch API. Disposing ends only the run: the jobs continue, for the next run."""

    def __init__(
        self, plan: Plan, spec: ModelSpec, options: VendorOptions, observer: abc.ObserverBase[BatchEvent]
    ) -> None:
        super().__init__(plan, observer)
        self._spec = spec
        self._options = options
        self._open: list[NotedJob] = []
        self._waiting = 0
        """Prompts that the vendor has."""
        self._is_first_result = True
        self._looked_since: dict[str, float] = {}
        """Since when jobs that may not exist are looked for, by token; in seconds since the epoch."""

    def _interrupt(self) -> None:
        """Do nothing: calls are short, and the thread checks `_stopped`."""

    def _progress(self, now: float) -> BatchProgress:
        return self._counter.progress(now, self._waiting, len(self._open))

    def _end(self, file: Checkpoint) -> None:
        if self._source is not None:
            self._source.stop()

    def _work(self, file: Checkpoint) -> None:
        """Submit all prompts, then poll the jobs until each has its row."""
        pending = PendingJobs(file)
        self._model = self._spec()
        _, request = wire_request(self._model, "?", {})
        api = api_for(self._spec)(request)
        try:
            self._open = pending.jobs()
            self._waiting = pending.count()
            self._report()
            self._submit_all(api, file, pending)
            self._poll_all(api, file, pending)
            self._store(file, self._early_stop.flush())
            self._report()
        finally:
            api.close()
            self._model.close()

    def _submit_all(self, api: VendorApi, file: Checkpoint, pending: PendingJobs) -> None:
        """Submit all prompts that have no row and are in no job."""
        plan = self._plan
        jobs = jobs_of(plan.items(), plan.columns, plan.fingerprint)
        self._source = JobSource(jobs, 256, _nothing)
        self._source.start(f"{self._name}-source")
        size = min(api.max_prompts, self._options.batch_size or api.max_prompts)
        fresh = self._fresh(file, pending, self._source)
        held: list[Job] = []
        """A job that found no room in the last batch."""
        while not self._stopped.is_set():
            token = secrets.token_hex(12)
            prompts: list[PendingPrompt] = []
            entries: list[bytes] = []
            total = 0
            for job in chain(held, fresh):
                held = []
                made = self._entry(api, file, job, f"{token}-{len(prompts)}")
                if made is None:
                    continue
                total += len(made[1]) + 1
                if total > api.max_bytes and prompts:
                    held = [job]
                    break
                prompts.append(made[0])
                entries.append(made[1])
                if len(prompts) >= size:
                    break
            if not prompts:
                return
            if not self._stopped.is_set():
                prepared = self._repeat_until_done(partial(api.upload, entries))
                noted = pending.note(token, prepared, prompts)
                self._open.append(noted)
                self._waiting += len(prompts)
                self._create(api, pending, noted)
                self._report()

    def _fresh(self, file: Checkpoint, pending: PendingJobs, source: JobSource) -> Iterator[Job]:
        """Yield the jobs that have no row yet and that no open batch contains."""
        while not self._stopped.is_set():
            job = source.take()
            if job is None:
                if source.is_exhausted:
                    return
                source.wait(1.0)
                self._report_if_due()
                continue
            standing, held = file.standing(job.key, job.digest, self._plan.retry), pending.holds(job.key, job.digest)
            if standing == "twice" or held == "now":
                raise ConfigurationError(f"two prompts have the key {job.key!r}; the second is number {job.position}")
            if standing == "settled":
                self._counter.skipped += 1
            elif isinstance(job, InvalidJob):
                self._store(file, self._early_stop.pass_on([(settled_row(job, job.row), job.row)]))
            elif held is None:
                self._store(file, self._early_stop.release())
                yield job

    def _entry(self, api: VendorApi, file: Checkpoint, job: Job, custom_id: str) -> tuple[PendingPrompt, bytes] | None:
        """Return a prompt and its entry; store a failure if the vendor does not support an option, or such a size."""
        try:
            _, request = wire_request(self._model, job.prompt, job.options)
            entry = api.entry(custom_id, request)
            if len(entry) > api.max_bytes:
                raise ConfigurationError(
                    f"the prompt takes {len(entry):,} bytes, a batch of this vendor at most {api.max_bytes:,}"
                )
        except ConfigurationError as error:
            row = failure_of(error, job.key, job.columns, 0)
            self._store(file, self._early_stop.pass_on([(settled_row(job, row), row)]))
            return None
        own = self._spec.options.get("response_format")
        wants_json = job.options.get("response_format", own) is not None
        return PendingPrompt(custom_id, job.key, job.position, job.digest, job.columns, wants_json), entry

    def _create(self, api: VendorApi, pending: PendingJobs, noted: NotedJob) -> None:
        """Create a noted job. After an error that leaves open whether it exists, `_find` looks for it."""
        while not self._stopped.is_set():
            try:
                self._has_id(pending, noted, api.create(noted.prepared, noted.token))
            except RateLimitError as error:
                log.warning("the vendor takes no further batch yet: %s", error)
                self._pause(error.retry_after or self._options.poll_seconds)
                continue
            except LLMError as error:
                if _is_refusal(error):
                    pending.forget(noted.token)
                    raise
                log.warning("a batch could not be created, or the answer was lost: %s", error)
            return

    def _find(self, api: VendorApi, pending: PendingJobs, noted: NotedJob) -> None:
        """Look for a job that may exist; create it again once it is certain that it does not."""
        first = self._looked_since.setdefault(noted.token, time.time())
        known = {each.job for each in self._open if each.job is not None}
        found = self._repeat_until_done(partial(api.find, noted.token, noted.count, noted.noted, known))
        if found is None and time.time() - first >= self._options.poll_seconds * _GRACE_POLLS:
            del self._looked_since[noted.token]
            self._create(api, pending, noted)
        elif found is not None and found != "maybe":
            self._has_id(pending, noted, found)

    def _has_id(self, pending: PendingJobs, noted: NotedJob, job: str) -> None:
        pending.created(noted.token, job)
        self._open = [
            msgspec.structs.replace(each, job=job) if each.token == noted.token else each for each in self._open
        ]

    def _poll_all(self, api: VendorApi, file: Checkpoint, pending: PendingJobs) -> None:
        """Poll the open jobs, at growing intervals, until all have ended."""
        interval = self._options.poll_seconds
        cancelled: set[str] = set()
        while self._open and not self._stopped.is_set():
            for noted in list(self._open):
                if self._stopped.is_set():
                    break
                if noted.job is None:
                    self._find(api, pending, noted)
                elif self._poll(api, file, pending, noted):
                    self._open.remove(noted)
                    interval = self._options.poll_seconds
                elif time.time() - noted.noted > self._options.deadline and noted.token not in cancelled:
                    cancelled.add(noted.token)
                    log.warning("a batch has not ended in time and is cancelled: %s", noted.job)
                    with contextlib.suppress(APIStatusError, APIConnectionError):
                        api.cancel(noted.job)
            if self._open:
                self._pause(interval)
                interval = min(interval * 1.5, self._options.poll_seconds * 10)

    def _poll(self, api: VendorApi, file: Checkpoint, pending: PendingJobs, noted: NotedJob) -> bool:
        """Poll a job once; return whether it needs no further polls."""
        assert noted.job is not None
        try:
            job = api.look(noted.job)
            if job.status == "ended":
                self._take_results(file, pending, noted, api.results(job))
                return True
        except NotFoundError as error:
            if time.time() - noted.noted <= _NOT_YET_SECONDS:
                return False
            message = (
                f"the vendor does not know the batch {noted.job}: is this the key of the project that created it? If "
                f"it was deleted, cancel_vendor_batches() forgets it, and its prompts are submitted again: {error}"
            )
            raise ConfigurationError(message) from error
        except _FINAL:
            raise
        except (APIConnectionError, APIStatusError) as error:
            log.warning("a batch could not be polled and is polled again: %s", error)
            return False
        if job.status == "full":  # the account's queue is full: the same batch again, later
            log.warning("the vendor's queue is full, a batch is submitted again: %s", job.reason)
            pending.created(noted.token, None)
            self._pause(self._options.poll_seconds)
            self._create(api, pending, noted)
        elif job.status == "refused":
            pending.forget(noted.token)
            raise ConfigurationError(f"the vendor refused a batch: {job.reason}")
        return False

    def _take_results(
        self, file: Checkpoint, pending: PendingJobs, noted: NotedJob, results: Iterator[VendorResult]
    ) -> None:
        """Store the rows of an ended batch; prompts without a result fail, then the batch is forgotten."""
        rows: list[tuple[str, SettledRow]] = []
        try:
            for result in results:
                prompt = pending.prompt(result.custom_id)
                if prompt is not None:
                    rows.append((prompt.custom_id, _settled(prompt, self._row(prompt, result))))
                if len(rows) >= _ROWS_PER_COMMIT:
                    self._settle_results(pending, rows)
                    rows = []
                if self._stopped.is_set():
                    return
            self._settle_results(pending, rows)
            while missing := pending.prompts_of(noted.token, _ROWS_PER_COMMIT):
                error = ProviderStreamError("the batch ended without a result for this prompt", transient=True)
                lost = [
                    (each.custom_id, _settled(each, failure_of(error, each.key, each.columns, 1))) for each in missing
                ]
                self._settle_results(pending, lost)
        except _Stop as stop:
            pending.forget(noted.token)
            raise stop.error from None
        pending.forget(noted.token)

    def _settle_results(self, pending: PendingJobs, rows: list[tuple[str, SettledRow]]) -> None:
        """Write rows to disk, then emit them. Raises `_Stop` if the first results all failed alike: none is stored."""
        if self._is_first_result and rows:
            try:
                EarlyStop(self._plan.stop_after).pass_on([row for _, row in rows])
            except LLMError as error:
                raise _Stop(error) from error
            self._is_first_result = False
        pending.settle((custom_id, settled) for custom_id, (settled, _) in rows)
        self._waiting -= len(rows)
        self._tell([row for _, row in rows])
        self._report_if_due()

    def _row(self, prompt: PendingPrompt, result: VendorResult) -> Row:
        """Return the row of a prompt; an answer that cannot be stored, or is not of the type, is a failure."""
        try:
            if result.error is not None:
                raise result.error
            response = _response_of(self._model, result)
            value = reactivex.just(response.text).pipe(parse()).run() if prompt.wants_json else None
            row: Row = AnswerRow(prompt.key, response, value, prompt.columns)
            row_to_json(row)  # raises if it cannot be stored
        except Exception as error:
            row = msgspec.structs.replace(failure_of(error, prompt.key, prompt.columns, 1), partial=None)
        return self._checked(row, False)

    def _store(self, file: Checkpoint, rows: list[SettledRow]) -> None:
        if rows:
            file.write(settled for settled, _ in rows)
        self._tell(rows)

    def _tell(self, rows: list[SettledRow]) -> None:
        for _, row in rows:
            self._counter.count(isinstance(row, FailureRow), usage_of(row))
            self._emit(row)

    def _repeat_until_done(self, call: Callable[[], T]) -> T:
        """Repeat a free call until it succeeds or the vendor refuses it permanently."""
        interval = self._options.poll_seconds
        while not self._stopped.is_set():
            try:
                return call()
            except LLMError as error:
                if _is_refusal(error):
                    raise
                log.warning("a call of the batch API failed and is repeated: %s", error)
            self._pause(interval)
            interval = min(interval * 1.5, self._options.poll_seconds * 10)
        raise StreamInterruptedError("the run was disposed")

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped.wait(min(left, 1.0)):
            self._report_if_due()


def _is_refusal(error: LLMError) -> bool:
    """Return whether the vendor refused a call permanently, so that it had no effect."""
    status = error.status_code or 0
    return isinstance(error, ConfigurationError) or (400 <= status < 500 and status not in (404, 408, 409, 429))


def _settled(prompt: PendingPrompt, row: Row) -> SettledRow:
    is_failure = isinstance(row, FailureRow)
    transient = isinstance(row, FailureRow) and row.transient
    return Settled(prompt.key, prompt.position, prompt.digest, is_failure, transient, row_to_json(row)), row


def _response_of(model: StreamingModel, result: VendorResult) -> Response:
    """Return the answer in a result; raises the error that a stream with these frames would end with."""
    wire, _ = wire_request(model, "?", {})
    decoder: Decoder = wire.decoder()
    events = [event for frame in result.frames for event in decoder.feed(frame)]
    events += [] if decoder.finished else decoder.close()
    end = events[-1]
    assert isinstance(end, StreamEnd)
    return end.response


def _nothing() -> None:
    """Do nothing: the run checks for new prompts by itself."""


class _Stop(Exception):
    """Carries the error that ends the run past the handlers of passing errors."""

    def __init__(self, error: LLMError) -> None:
        super().__init__()
        self.error = error
