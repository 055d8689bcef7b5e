"""A run that submits prompts to a vendor's batch API, polls the jobs, and stores their results."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from typing import TypeVar

import msgspec
import reactivex
from reactivex import abc

from ..._protocol import Decoder, WireRequest
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
from .._base_run import BaseRun, BatchEvent, Plan
from .._early_stop import EarlyStop
from .._jobs import Job
from .._source import JobSource
from ..model_spec import ModelSpec
from ..progress import BatchProgress
from ..rows import AnswerRow, Row, Settled, failure_of, row_to_json
from .api import VendorApi, VendorResult, wire_request
from .cancel import api_for as api_for
from .pending import NotedJob, PendingJobs, PendingPrompt

T = TypeVar("T")

log = logging.getLogger("rxllm")

_GRACE_POLLS = 12
"""A job that was noted and is not found after this many polls was not created."""
_NOT_YET_SECONDS = 300.0
"""For this long a new job may be unknown to the vendor."""
_ROWS_PER_COMMIT = 500
_FINAL = (AuthenticationError, PermissionDeniedError, ConfigurationError)


class VendorRun(BaseRun):
    """A run over a vendor's batch API. Disposing ends only the run: the jobs continue, for the next run."""

    _api: VendorApi
    _model: StreamingModel
    _pending: PendingJobs

    def __init__(
        self,
        plan: Plan,
        spec: ModelSpec,
        connect: Callable[[WireRequest], VendorApi],
        observer: abc.ObserverBase[BatchEvent],
    ) -> None:
        super().__init__(plan, observer)
        self._spec = spec
        self._connect = connect
        self._open: list[NotedJob] = []
        self._waiting = 0
        """Prompts that the vendor has."""
        self._is_first_result = True

    def _interrupt(self) -> None:
        """Do nothing: calls are short, and the thread checks `_stopped`."""

    def _progress(self, now: float) -> BatchProgress:
        return self._counter.progress(now, self._waiting, len(self._open))

    def _work(self) -> None:
        """Submit all prompts, then poll the jobs until each has its row."""
        self._pending = PendingJobs(self._file)
        with closing(self._spec()) as self._model:
            _, request = wire_request(self._model, "?", {})
            with closing(self._connect(request)) as self._api:
                self._open = self._pending.jobs()
                self._waiting = self._pending.count()
                self._report()
                self._submit_all()
                self._poll_all()
                self._store(self._early_stop.flush())
                self._report()

    def _submit_all(self) -> None:
        """Submit all prompts that have no row and are in no job."""
        api = self._api
        size = min(api.max_prompts, self._settings.batch_size or api.max_prompts)
        fresh = self._fresh(self._read_prompts(256))
        held: list[Job] = []
        """A job that found no room in the last batch."""
        while not self._stopped.is_set():
            token = secrets.token_hex(12)
            prompts: list[PendingPrompt] = []
            entries: list[bytes] = []
            total = 0
            for job in chain(held, fresh):
                held = []
                made = self._entry(job, f"{token}-{len(prompts)}")
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
                noted = self._pending.note(token, prepared, prompts)
                self._open.append(noted)
                self._waiting += len(prompts)
                self._create(noted)
                self._report()

    def _fresh(self, source: JobSource) -> Iterator[Job]:
        """Yield the jobs that have no row yet and that no open batch contains."""
        while not self._stopped.is_set():
            found = source.take()
            if found is None:
                if source.is_exhausted:
                    return
                source.wait(1.0)
                self._report_if_due()
                continue
            held = self._pending.holds(found.key, found.digest)
            job = self._unanswered(found, is_in_hand=held == "now")
            if job is not None and held is None:
                self._store(self._early_stop.release())
                yield job

    def _entry(self, job: Job, custom_id: str) -> tuple[PendingPrompt, bytes] | None:
        """Return a prompt and its entry; store a failure if the vendor does not support an option, or such a size."""
        try:
            _, request = wire_request(self._model, job.prompt, job.options)
            entry, most = self._api.entry(custom_id, request), self._api.max_bytes
            if len(entry) > most:
                raise ConfigurationError(
                    f"the prompt takes {len(entry):,} bytes, a batch of this vendor at most {most:,}"
                )
        except ConfigurationError as error:
            self._settle([Settled(job.position, job.digest, failure_of(error, job.key, job.columns, 0))])
            return None
        own = self._spec.options.get("response_format")
        wants_json = job.options.get("response_format", own) is not None
        return PendingPrompt(custom_id, job.key, job.position, job.digest, job.columns, wants_json), entry

    def _create(self, noted: NotedJob) -> None:
        """Create a noted job. After an error that leaves open whether it exists, `_find` looks for it."""
        while not self._stopped.is_set():
            try:
                self._pending.created(noted, self._api.create(noted.prepared, noted.token))
            except RateLimitError as error:
                log.warning("the vendor takes no further batch yet: %s", error)
                self._pause(error.retry_after or self._settings.poll_seconds)
                continue
            except LLMError as error:
                if _is_refusal(error):
                    self._pending.forget(noted.token)
                    raise
                log.warning("a batch could not be created, or the answer was lost: %s", error)
            return

    def _find(self, noted: NotedJob) -> None:
        """Look for a job that may exist; create it again once it is certain that it does not."""
        noted.sought = noted.sought or time.time()
        known = {each.job for each in self._open if each.job is not None}
        found = self._repeat_until_done(partial(self._api.find, noted.token, noted.count, noted.noted, known))
        if found is None and time.time() - noted.sought >= self._settings.poll_seconds * _GRACE_POLLS:
            noted.sought = None
            self._create(noted)
        elif found is not None and found != "maybe":
            self._pending.created(noted, found)

    def _poll_all(self) -> None:
        """Poll the open jobs, at growing intervals, until all have ended."""
        interval = self._settings.poll_seconds
        while self._open and not self._stopped.is_set():
            for noted in list(self._open):
                if self._stopped.is_set():
                    break
                job = noted.job
                if job is None:
                    self._find(noted)
                elif self._poll(noted, job):
                    self._open.remove(noted)
                    interval = self._settings.poll_seconds
                elif time.time() - noted.noted > self._settings.deadline and not noted.is_cancelled:
                    noted.is_cancelled = True
                    log.warning("a batch has not ended in time and is cancelled: %s", job)
                    with suppress(APIStatusError, APIConnectionError):
                        self._api.cancel(job)
            if self._open:
                self._pause(interval)
                interval = min(interval * 1.5, self._settings.poll_seconds * 10)

    def _poll(self, noted: NotedJob, job: str) -> bool:
        """Poll a job once; return whether it needs no further polls."""
        try:
            found = self._api.look(job)
            if found.status == "ended":
                self._take_results(noted, self._api.results(found))
                return True
        except NotFoundError as error:
            if time.time() - noted.noted <= _NOT_YET_SECONDS:
                return False
            message = (
                f"the vendor does not know the batch {job}: is this the key of the project that created it? If "
                f"it was deleted, cancel_vendor_batches() forgets it, and its prompts are submitted again: {error}"
            )
            raise ConfigurationError(message) from error
        except _FINAL:
            raise
        except (APIConnectionError, APIStatusError) as error:
            log.warning("a batch could not be polled and is polled again: %s", error)
            return False
        if found.status == "full":  # the account's queue is full: the same batch again, later
            log.warning("the vendor's queue is full, a batch is submitted again: %s", found.reason)
            self._pending.created(noted, None)
            self._pause(self._settings.poll_seconds)
            self._create(noted)
        elif found.status == "refused":
            self._pending.forget(noted.token)
            raise ConfigurationError(f"the vendor refused a batch: {found.reason}")
        return False

    def _take_results(self, noted: NotedJob, results: Iterator[VendorResult]) -> None:
        """Store the rows of an ended batch; prompts without a result fail, then the batch is forgotten."""
        rows: list[tuple[str, Settled]] = []
        try:
            for result in results:
                prompt = self._pending.prompt(result.custom_id)
                if prompt is not None:
                    rows.append(self._row(prompt, result))
                if len(rows) >= _ROWS_PER_COMMIT:
                    self._settle_results(rows)
                    rows = []
                if self._stopped.is_set():
                    return
            self._settle_results(rows)
            while missing := self._pending.prompts_of(noted.token, _ROWS_PER_COMMIT):
                self._settle_results([self._row(prompt, VendorResult(prompt.custom_id)) for prompt in missing])
        except _Stop as stop:
            self._pending.forget(noted.token)
            raise stop.error from None
        self._pending.forget(noted.token)

    def _settle_results(self, rows: list[tuple[str, Settled]]) -> None:
        """Write rows to disk, then emit them. Raises `_Stop` if the first results all failed alike: none is stored."""
        if self._is_first_result and rows:
            try:
                EarlyStop(self._settings.stop_after_equal_failures).pass_on([settled for _, settled in rows])
            except LLMError as error:
                raise _Stop(error) from error
            self._is_first_result = False
        self._pending.settle(rows)
        self._waiting -= len(rows)
        self._emit_rows(settled for _, settled in rows)
        self._report_if_due()

    def _row(self, prompt: PendingPrompt, result: VendorResult) -> tuple[str, Settled]:
        """Return the row of a prompt, with its id in the job.

        An answer that cannot be stored, or is not of the type, is a failure.
        """
        try:
            if result.error is not None:
                raise result.error
            response = _response_of(self._model, result)
            value = reactivex.just(response.text).pipe(parse()).run() if prompt.wants_json else None
            row: Row = AnswerRow(prompt.key, response, value, prompt.columns)
            row_to_json(row)  # raises if it cannot be stored
        except Exception as error:
            row = msgspec.structs.replace(failure_of(error, prompt.key, prompt.columns, 1), partial=None)
        return prompt.custom_id, Settled(prompt.position, prompt.digest, self._checked(row, False))

    def _repeat_until_done(self, call: Callable[[], T]) -> T:
        """Repeat a free call until it succeeds or the vendor refuses it permanently."""
        interval = self._settings.poll_seconds
        while not self._stopped.is_set():
            try:
                return call()
            except LLMError as error:
                if _is_refusal(error):
                    raise
                log.warning("a call of the batch API failed and is repeated: %s", error)
            self._pause(interval)
            interval = min(interval * 1.5, self._settings.poll_seconds * 10)
        raise StreamInterruptedError("the run was disposed")

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped.wait(min(left, 1.0)):
            self._report_if_due()


def _is_refusal(error: LLMError) -> bool:
    """Return whether the vendor refused a call permanently, so that it had no effect."""
    status = error.status_code or 0
    return isinstance(error, ConfigurationError) or (400 <= status < 500 and status not in (404, 408, 409, 429))


def _response_of(model: StreamingModel, result: VendorResult) -> Response:
    """Return the answer in a result; raises the error that a stream with these frames would end with."""
    if not result.frames:
        raise ProviderStreamError("the batch ended without a result for this prompt", transient=True)
    wire, _ = wire_request(model, "?", {})
    decoder: Decoder = wire.decoder()
    events = [event for frame in result.frames for event in decoder.feed(frame)]
    events += [] if decoder.finished else decoder.close()
    end = events[-1]
    assert isinstance(end, StreamEnd)
    return end.response


class _Stop(Exception):
    """Carries the error that ends the run past the handlers of passing errors."""

    def __init__(self, error: LLMError) -> None:
        super().__init__()
        self.error = error
