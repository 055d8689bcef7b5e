"""Sends prompts to a model, in any process, and returns the rows.

`exchange` takes jobs and returns the rows that are ready; between two calls the requests continue. The worker sends
nothing by itself: if the driver does not call, the worker keeps its rows and starts nothing new. So the driver sets
the pace.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import msgspec
import reactivex
from reactivex import Observable, Subject
from reactivex import operators as rx_ops

from .._core.error_format import as_exception
from ..errors import APIStatusError, AuthenticationError, ConfigurationError, LLMError, RateLimitError
from ..events import Response, StreamEnd, TokenEvent
from ..model import StreamingModel
from ..operators.json.structured import parse
from ..operators.prompts import PromptAnswer, PromptFailure, map_prompts
from ..operators.resilience.limits import RateLimit
from ._jobs import Job
from ._outage import Outages, with_retries
from .model_spec import ModelFactory, ModelSpec, wants_json
from .rows import AnswerRow, Key, Row, failure_of, row_to_json
from .shared_limits import LeasedLimit

POLL_SECONDS = 1.0
"""`exchange` returns after at most this time, with or without rows: it shows that the worker is alive."""
_COLLECT_SECONDS = 0.05
"""How long the first row waits for others to be returned with it."""


class Settings(msgspec.Struct, frozen=True):
    """How a worker asks."""

    model: ModelSpec | ModelFactory
    max_concurrent: int
    max_retries: int | None = None
    """Retries of a request; None: those of the `ModelSpec`, or 2."""
    outage_timeout: float = 600.0
    """Seconds that requests wait, at most, while nearly all of them fail transiently."""


class Worker:
    """Asks `max_concurrent` prompts at a time. Call `exchange` from one thread at a time; `stop` is thread-safe."""

    def __init__(self, settings: Settings, limit: RateLimit | None = None) -> None:
        self._settings = settings
        model, retries = settings.model, settings.max_retries
        default = model.max_retries if isinstance(model, ModelSpec) else 2
        self._max_retries = default if retries is None else retries
        self._limit = limit or RateLimit()
        self._outages = Outages(settings.max_concurrent, settings.outage_timeout)
        self._model: StreamingModel | None = None
        self._jobs: Subject[_JobState] = Subject()
        self._changed = threading.Condition()
        self._rows: list[Row] = []
        self._running = 0
        self._fatal: Exception | None = None
        """An error that every other prompt would meet too."""
        self._stopped = False
        pool = map_prompts(self._ask, max_concurrent=settings.max_concurrent, max_waiting=None, ordered=False)
        self._subscription = self._jobs.pipe(pool).subscribe(self._settle)

    def exchange(self, jobs: Sequence[Job]) -> list[Row]:
        """Start `jobs`; return the rows that are ready. Blocks for at most `POLL_SECONDS` while there are none.

        The first call creates the model. Raises an `LLMError` that all prompts would meet: no model, a refused key, no
        credit.
        """
        if self._model is None:
            self._model = _model_of(self._settings.model)
        with self._changed:
            if self._fatal is not None:
                raise self._fatal
            self._running += len(jobs)
        for job in jobs:
            self._jobs.on_next(_JobState(job))
        enough = max(1, self._settings.max_concurrent // 2)
        with self._changed:
            self._changed.wait_for(partial(self._has, 1), POLL_SECONDS)
            self._changed.wait_for(partial(self._has, enough), _COLLECT_SECONDS)
            rows, self._rows = self._rows, []
        return rows

    def _has(self, count: int) -> bool:
        """Return whether that many rows are ready, or there is nothing to wait for. Must hold the lock."""
        return len(self._rows) >= count or not self._running or self._stopped or self._fatal is not None

    def stop(self) -> None:
        """Close the connections of all requests now. Rows that are ready can still be fetched."""
        self._subscription.dispose()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if isinstance(self._limit, LeasedLimit):
            self._limit.close()
        if self._model is not None:
            self._model.close()

    def _ask(self, state: _JobState) -> Observable[TokenEvent]:
        retries = state.job.options.get("max_retries", self._max_retries)
        # No subscriber has seen a part of the answer before its end, so an attempt that fails midway is retried too.
        attempt = reactivex.defer(lambda _: self._attempt(state)).pipe(self._limit, rx_ops.filter(_is_end))
        return with_retries(attempt, self._outages, retries)

    def _attempt(self, state: _JobState) -> Observable[TokenEvent]:
        """Return the stream of one attempt at a job."""
        assert self._model is not None
        state.tries += 1
        options = state.job.options.copy()
        if isinstance(self._settings.model, ModelSpec):
            options["max_retries"] = 0  # `_ask` retries
        return self._model.stream(state.job.prompt, **options)

    def _settle(self, result: PromptAnswer[_JobState, None] | PromptFailure[_JobState]) -> None:
        """Add the row of an answer or a failure to the rows to return."""
        job, tries = result.prompt.job, result.prompt.tries
        try:
            if isinstance(result, PromptFailure):
                row: Row = failure_of(result.error, job.key, job.columns, tries)
            else:
                self._outages.answered()
                is_json = wants_json(self._settings.model, job.options)
                row = answer_row(job.key, result.response, is_json, job.columns, tries)
            row_to_json(row)  # raises if it cannot be stored
        except BaseException as error:  # of a user's type, or text that is not Unicode: the prompt gets its row
            failure = failure_of(as_exception(error), job.key, job.columns, tries)
            row = msgspec.structs.replace(failure, partial=None)
        with self._changed:
            self._running -= 1
            if isinstance(result, PromptFailure) and _is_fatal(result.error):
                self._fatal = result.error  # the prompt has no row: the next run asks it again
            else:
                self._rows.append(row)
            self._changed.notify_all()


def answer_row(key: Key, response: Response, is_json: bool, columns: dict[str, object], tries: int = 1) -> Row:
    """Return the row of an answer; a failure if it should be JSON and is not."""
    value = None
    if is_json:
        try:
            value = reactivex.just(response.text).pipe(parse()).run()
        except LLMError as error:
            error.partial = response
            return failure_of(error, key, columns, tries)
    return AnswerRow(key, response, value, columns, tries)


def _model_of(factory: ModelSpec | ModelFactory) -> StreamingModel:
    """Create the model; the errors of a function of the user's become `ConfigurationError`."""
    try:
        return factory()
    except LLMError:
        raise
    except BaseException as error:  # its class may not be importable in another process
        cause = as_exception(error)
        raise ConfigurationError(f"the model could not be made: {type(cause).__name__}: {cause}") from None


class _JobState(msgspec.Struct, eq=False):
    """A job, and how many requests were made for it."""

    job: Job
    tries: int = 0


def _is_fatal(error: Exception) -> bool:
    """Return whether `error` concerns the key or the credit, so that every other prompt would fail the same way."""
    match error:
        case AuthenticationError() | RateLimitError(transient=False) | APIStatusError(status_code=402):
            return True
        case _:
            return False


def _is_end(event: TokenEvent) -> bool:
    return type(event) is StreamEnd
