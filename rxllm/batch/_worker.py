"""What a worker does, in whatever process it is: it asks the prompts it is given, and hands over the rows.

It takes jobs and gives rows in one call, `exchange`; between two calls it goes on by itself with
what it has. Nothing is pushed: a driver that does not call leaves it with a full hand and nothing
to do, so the driver sets the pace.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import msgspec
import reactivex
from reactivex import Observable, Subject
from reactivex import operators as rx_ops

from .._transport.rate_limit_headers import MAX_RETRY_AFTER
from ..errors import APIStatusError, AuthenticationError, ConfigurationError, LLMError, RateLimitError
from ..events import StreamEnd, TokenEvent
from ..model import StreamingModel
from ..operators.json.structured import parse
from ..operators.prompts import PromptAnswer, PromptFailure, map_prompts
from ..operators.resilience.fallback import retry_transient
from ..operators.resilience.limits import RateLimit
from ._jobs import Job
from ._leased_limit import LeasedLimit
from .model_spec import ModelFactory, ModelSpec
from .rows import AnswerRow, FailureRow, Key, failure_of, row_to_json

POLL_SECONDS = 1.0
"""`exchange` returns after so long, rows or no rows: a sign of life."""
_LINGER = 0.05
"""Seconds that the first row waits for others to travel with."""


class EncodedRow(msgspec.Struct, frozen=True):
    """A row on its way to the driver: `row` is its JSON, to be stored as it is.

    `hopeless` is an error that every other prompt would meet too: there is no row then.
    """

    key: Key
    failed: bool
    transient: bool
    row: bytes
    hopeless: LLMError | None = None


class Settings(msgspec.Struct, frozen=True):
    """What a worker needs to know."""

    model: ModelSpec | ModelFactory
    max_concurrent: int
    max_retries: int
    expected_tokens: int | None = None


class Worker:
    """Asks `max_concurrent` prompts at a time. One `exchange` at a time; `stop` at any time, from any thread."""

    def __init__(self, settings: Settings, limit: RateLimit | None = None) -> None:
        self._settings = settings
        self._limit = limit or RateLimit()
        self._model: StreamingModel | None = None
        self._jobs: Subject[_Asked] = Subject()
        self._changed = threading.Condition()
        self._rows: deque[EncodedRow] = deque()
        self._running = 0
        self._stopped = False
        pool = map_prompts(self._ask, max_concurrent=settings.max_concurrent, max_waiting=None, ordered=False)
        self._subscription = self._jobs.pipe(pool).subscribe(self._settle)

    def prepare(self) -> LLMError | None:
        """Make the model; the error where there is none to be made."""
        try:
            self._model = self._settings.model()
        except LLMError as error:
            return error
        except Exception as error:  # a factory of the user's: its exceptions may not travel
            return ConfigurationError(f"the model could not be made: {type(error).__name__}: {error}")
        return None

    def exchange(self, jobs: Sequence[Job]) -> list[EncodedRow]:
        """Take `jobs`; the rows that are ready, after a moment's wait for some."""
        with self._changed:
            self._running += len(jobs)
        for job in jobs:
            self._jobs.on_next(_Asked(job))
        enough = max(1, self._settings.max_concurrent // 2)
        with self._changed:
            self._changed.wait_for(lambda: self._rows or not self._running or self._stopped, POLL_SECONDS)
            self._changed.wait_for(lambda: len(self._rows) >= enough or not self._running or self._stopped, _LINGER)
            rows = list(self._rows)
            self._rows.clear()
        return rows

    def stop(self) -> None:
        """End all requests: their connections close now. What is ready can still be fetched."""
        self._subscription.dispose()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if isinstance(self._limit, LeasedLimit):
            self._limit.close()
        if self._model is not None:
            self._model.close()

    def _ask(self, asked: _Asked) -> Observable[TokenEvent]:
        options = asked.job.options
        retries = options.get("max_retries", self._settings.max_retries)
        # What has been seen of an answer is not shown to anybody before its end, so a try may fail at any place.
        return reactivex.defer(lambda _: self._try(asked)).pipe(
            self._limit, rx_ops.filter(_is_end), retry_transient(retries, max_delay=MAX_RETRY_AFTER)
        )

    def _try(self, asked: _Asked) -> Observable[TokenEvent]:
        model = self._model
        if model is None:
            raise ConfigurationError("a worker is asked to prepare before it is given jobs")
        asked.tries += 1
        options = asked.job.options.copy()
        if isinstance(self._settings.model, ModelSpec):
            options["max_retries"] = 0
        return model.stream(asked.job.prompt, **options)

    def _settle(self, result: PromptAnswer[_Asked, None] | PromptFailure[_Asked]) -> None:
        try:
            row = self._row(result)
        except Exception as error:  # of a user's type, say; whatever it is, the prompt gets its row
            row = failure_of(error, result.prompt.job.key, result.prompt.job.columns, result.prompt.tries)
        failed = isinstance(row, FailureRow)
        transient = isinstance(row, FailureRow) and row.transient
        hopeless = _hopeless(result.error) if isinstance(result, PromptFailure) else None
        reply = EncodedRow(row.key, failed, transient, row_to_json(row), hopeless)
        with self._changed:
            self._running -= 1
            self._rows.append(reply)
            self._changed.notify_all()

    def _row(self, result: PromptAnswer[_Asked, None] | PromptFailure[_Asked]) -> AnswerRow | FailureRow:
        job, tries = result.prompt.job, result.prompt.tries
        if isinstance(result, PromptFailure):
            return failure_of(result.error, job.key, job.columns, tries)
        try:
            value = self._value(job, result.response.text)
        except LLMError as error:
            error.partial = result.response
            return failure_of(error, job.key, job.columns, tries)
        return AnswerRow(job.key, result.response, value, job.columns, tries)

    def _value(self, job: Job, text: str) -> object:
        """The JSON in the answer, where some was asked for; raises `OutputParsingError` where there is none."""
        model = self._settings.model
        own = model.options.get("response_format") if isinstance(model, ModelSpec) else None
        wanted = job.options.get("response_format", own)
        return None if wanted is None else reactivex.just(text).pipe(parse()).run()


class _Asked:
    """A job, and how often it was tried."""

    __slots__ = ("job", "tries")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tries = 0


def _hopeless(error: Exception) -> LLMError | None:
    """The error, if it is the key's or the lease's: what becomes of one prompt then becomes of all."""
    match error:
        case AuthenticationError() | RateLimitError(transient=False) | APIStatusError(status_code=402):
            return error
        case _:
            return None


def _is_end(event: TokenEvent) -> bool:
    return type(event) is StreamEnd
