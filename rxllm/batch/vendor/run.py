"""A run that submits prompts to a vendor's batch API, polls the jobs, and stores their results."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec
from reactivex import abc

from ..._json import decode, is_object
from ..._protocol import Frame, Wire
from ...errors import (
    ConfigurationError,
    LLMError,
    NotFoundError,
    ProviderStreamError,
    RateLimitError,
)
from ...events import Response, StreamEnd
from ...model import StreamingModel
from .._early_stop import EarlyStop
from .._jobs import Job
from .._run import BaseRun, BatchEvent, Plan
from .._worker import answer_row
from ..model_spec import ModelSpec, wants_json
from ..progress import BatchProgress
from ..rows import Settled, failure_of, row_to_json
from . import connected
from .api import NotedJob, VendorApi, VendorJob, wire_request
from .pending import PendingJobs, PendingPrompt

T = TypeVar("T")

log = logging.getLogger("rxllm")

_GRACE_POLLS = 12
"""A job that was noted and is not found after this many polls was not created."""
_NOT_YET_SECONDS = 300.0
"""For this long a new job may be unknown to the vendor."""
_ROWS_PER_COMMIT = 500
"""Of the results of a job: they are in memory together."""
_GROWTH, _MOST_GROWTH = 1.5, 10
"""How the seconds between two polls grow, and to how many times `poll_seconds`."""


class VendorRun(BaseRun):
    """A run over a vendor's batch API. Disposing ends only the run: the jobs continue, for the next run."""

    _model: StreamingModel
    _wire: Wire
    _api: VendorApi
    _pending: PendingJobs

    def __init__(self, plan: Plan, spec: ModelSpec, observer: abc.ObserverBase[BatchEvent]) -> None:
        super().__init__(plan, observer)
        self._spec = spec
        self._open: list[NotedJob] = []
        self._is_first_result = True

    def _interrupt(self) -> None:
        """Do nothing: calls are short, and the thread checks `_stopped`."""

    def _progress(self, now: float) -> BatchProgress:
        return self._counter.progress(now, self._pending.count(), len(self._open))

    def _work(self) -> None:
        """Submit all prompts, then poll the jobs until each has its row."""
        self._pending = PendingJobs(self._file)
        with connected(self._spec) as (self._model, self._wire, self._api):
            self._open = self._pending.jobs()
            self._report()
            self._submit_all()
            self._store(self._early_stop.release())
            self._poll_all()
            self._report()

    def _submit_all(self) -> None:
        """Submit all prompts that have no row and are in no job, in jobs within the vendor's limits."""
        most = min(self._api.max_prompts, self._settings.batch_size or self._api.max_prompts)
        for group in _grouped(self._entries(), most, self._api.max_bytes):
            entries = [entry for _, entry in group]
            prepared = None
            while prepared is None and not self._stopped.is_set():
                prepared = self._try(partial(self._api.upload, entries))
                if prepared is None:
                    self._pause(self._settings.poll_seconds)
            if prepared is None or self._stopped.is_set():
                return
            noted = self._pending.note(secrets.token_hex(12), prepared, [prompt for prompt, _ in group])
            self._open.append(noted)
            self._create(noted)
            self._report()

    def _entries(self) -> Iterator[tuple[PendingPrompt, bytes]]:
        """Yield the prompts that have no row yet and are in no job, each with its entry in the next job.

        The custom id of a prompt is that of no other run, as the vendor may still have jobs of those.
        """
        run_id = secrets.token_hex(12)
        source = self._read_prompts(256)
        while not self._stopped.is_set() and not source.is_exhausted:
            self._report_if_due()
            found = source.take(1.0)
            if found is None:
                continue
            submitted_by = self._pending.submitted_by(found.key, found.digest)
            job = self._unanswered(found, is_in_hand=submitted_by == "this run")
            if job is None or submitted_by is not None:
                continue
            self._store(self._early_stop.release())  # this prompt can be asked: the first ones do not all fail alike
            try:
                yield self._entry(job, f"{run_id}-{job.position}")
            except ConfigurationError as error:
                self._settle([job.failed(error)])

    def _entry(self, job: Job, custom_id: str) -> tuple[PendingPrompt, bytes]:
        """Return a prompt and its entry; raise if the vendor does not support an option, or such a size."""
        _, request = wire_request(self._model, job.prompt, job.options)
        body = decode(request.body)
        assert is_object(body)
        entry = self._api.entry(custom_id, {name: body[name] for name in body.keys() - {"stream", "stream_options"}})
        most = self._api.max_bytes
        if len(entry) > most:
            raise ConfigurationError(f"the prompt takes {len(entry):,} bytes, a batch of this vendor at most {most:,}")
        is_json, has_own_format = wants_json(self._spec, job.options), "response_format" in job.options
        prompt = PendingPrompt(custom_id, job.key, job.position, job.digest, job.columns, is_json, has_own_format)
        return prompt, entry

    def _create(self, noted: NotedJob) -> None:
        """Create a noted job. After an error that leaves open whether it exists, `_find` looks for it."""
        noted.sought = None  # if it must be looked for, the time of grace begins anew
        try:
            self._pending.created(noted, self._api.create(noted.prepared, noted.token))
        except LLMError as error:
            if _is_refusal(error):
                self._pending.forget(noted.token)
                raise
            if isinstance(error, RateLimitError):
                noted.sought = 0.0  # certainly not created: no time of grace
            log.warning("a batch could not be created, or the answer was lost: %s", error)

    def _find(self, noted: NotedJob) -> None:
        """Look for a job that may exist; create it again once it is certain that it does not."""
        noted.sought = time.time() if noted.sought is None else noted.sought
        known = {each.job for each in self._open if each.job is not None}

        job = self._try(
            lambda: self._api.find(noted, known, lambda name: self._pending.prompt(noted.token, name) is not None)
        )
        if job:
            self._pending.created(noted, job)
        elif job is not None and time.time() - noted.sought >= self._settings.poll_seconds * _GRACE_POLLS:
            self._create(noted)

    def _poll_all(self) -> None:
        """Poll the open jobs, at growing intervals, until all have ended."""
        interval = self._settings.poll_seconds
        while self._open and not self._stopped.is_set():
            for noted in list(self._open):
                if self._stopped.is_set():
                    return
                if noted.job is None:
                    self._find(noted)
                elif self._poll(noted, noted.job):
                    self._open.remove(noted)
                    interval = self._settings.poll_seconds
            if self._open:
                self._pause(interval)
                interval = min(interval * _GROWTH, self._settings.poll_seconds * _MOST_GROWTH)

    def _poll(self, noted: NotedJob, job: str) -> bool:
        """Poll a job once; return whether it needs no further polls."""
        found = self._try(partial(self._look, noted, job))
        if found is None:
            return False
        if found.status == "ended":
            return self._take_results(noted, found)
        if found.status == "refused":
            self._pending.forget(noted.token)
            raise ConfigurationError(f"the vendor refused a batch: {found.reason}")
        if found.status == "full":  # the account's queue is full: the same batch again, later
            log.warning("the vendor's queue is full, a batch is submitted again: %s", found.reason)
            self._pending.created(noted, None)
            self._pause(self._settings.poll_seconds)
            self._create(noted)
        return False

    def _look(self, noted: NotedJob, job: str) -> VendorJob:
        """Return a job as it is now; raise `ConfigurationError` if the vendor does not know it."""
        try:
            return self._api.look(job)
        except NotFoundError as error:
            if time.time() - noted.noted <= _NOT_YET_SECONDS:
                raise
            message = (
                f"the vendor does not know the batch {job}: is this the key of the project that created it? If "
                f"it was deleted, cancel_vendor_batches() forgets it, and its prompts are submitted again: {error}"
            )
            raise ConfigurationError(message) from error

    def _take_results(self, noted: NotedJob, found: VendorJob) -> bool:
        """Store the rows of an ended job; return False if not all results could be read.

        Prompts without a result fail; then the job is forgotten.
        """
        results = self._api.results(found.document)
        while (some := self._try(lambda: list(islice(results, _ROWS_PER_COMMIT)))) and not self._stopped.is_set():
            firsts = dict(reversed(some))  # of a result that is there twice, the first
            ordered = reversed(firsts.items())
            prompts = [(self._pending.prompt(noted.token, custom_id), outcome) for custom_id, outcome in ordered]
            self._settle_results(noted, [self._settled(prompt, outcome) for prompt, outcome in prompts if prompt])
        if some is None or self._stopped.is_set():
            return False
        lost = ProviderStreamError("the batch ended without a result for this prompt", transient=True)
        while missing := self._pending.prompts_of(noted.token, _ROWS_PER_COMMIT):
            self._settle_results(noted, [self._settled(prompt, lost) for prompt in missing])
        self._pending.forget(noted.token)
        return True

    def _settle_results(self, noted: NotedJob, rows: list[Settled]) -> None:
        """Store and emit rows. If the first ones all failed alike, store none, forget the job and raise their error."""
        if self._is_first_result and rows:
            try:
                EarlyStop(self._settings.stop_after_equal_failures).pass_on(rows)
            except LLMError:
                self._pending.forget(noted.token)
                raise
            self._is_first_result = False
        self._pending.settle(noted.token, rows)
        self._emit_rows(rows)
        self._report_if_due()

    def _settled(self, prompt: PendingPrompt, outcome: Sequence[Frame] | LLMError) -> Settled:
        """Return the row of a prompt; an answer that cannot be stored, or is not of the type, is a failure."""
        try:
            if isinstance(outcome, LLMError):
                raise outcome
            row = answer_row(prompt.key, _response_of(self._wire, outcome), prompt.wants_json, prompt.columns)
            row_to_json(row)  # raises if it cannot be stored
        except Exception as error:
            row = msgspec.structs.replace(failure_of(error, prompt.key, prompt.columns, 1), partial=None)
        return Settled(prompt.position, prompt.digest, self._checked(row, prompt.has_own_format))

    def _try(self, call: Callable[[], T]) -> T | None:
        """Return what a free call returns; None after an error that may pass. Raises if the vendor refuses it."""
        try:
            return call()
        except LLMError as error:
            if _is_refusal(error):
                raise
            log.warning("a call of the batch API failed and is repeated: %s", error)
            return None

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped.wait(min(left, 1.0)):
            self._report_if_due()


def _grouped(
    entries: Iterable[tuple[PendingPrompt, bytes]], most: int, max_bytes: int
) -> Iterator[list[tuple[PendingPrompt, bytes]]]:
    """Yield the entries in groups of at most `most`, which have at most `max_bytes` together, line ends included."""
    group: list[tuple[PendingPrompt, bytes]] = []
    size = 0
    for prompt, entry in entries:
        if group and (len(group) == most or size + len(entry) + 1 > max_bytes):
            yield group
            group, size = [], 0
        group.append((prompt, entry))
        size += len(entry) + 1
    if group:
        yield group


def _is_refusal(error: LLMError) -> bool:
    """Return whether the vendor refused a call permanently, so that it had no effect."""
    status = error.status_code or 0
    return isinstance(error, ConfigurationError) or (400 <= status < 500 and status not in (404, 408, 409, 429))


def _response_of(wire: Wire, frames: Sequence[Frame]) -> Response:
    """Return the answer in the frames of a result; raises the error that a stream with them would end with."""
    decoder = wire.decoder()
    events = [event for frame in frames for event in decoder.feed(frame)]
    events += [] if decoder.finished else decoder.close()
    end = events[-1]
    assert isinstance(end, StreamEnd)
    return end.response
