"""What a worker does while the vendor fails: wait out an outage with single probes, and retry single failures."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable

import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx_ops

from .._core.attempts import Attempt, OnFailure, stream_attempts
from .._transport.rate_limit_headers import MAX_RETRY_AFTER
from ..errors import LLMError
from ..events import TokenEvent
from ..operators.resilience.circuit_breaker import CircuitBreaker, CircuitState
from ..operators.resilience.fallback import backoff, error_class

log = logging.getLogger("rxllm")

MIN_FAILURES = 5
"""Fewer transient failures in a row are never an outage."""
_PROBE_SECONDS = 5.0
"""Seconds between two probes."""


class Outages:
    """A circuit breaker that opens when nearly everything fails; never if `timeout` is 0 seconds. For all streams."""

    def __init__(self, max_concurrent: int, timeout: float, scheduler: abc.SchedulerBase | None = None) -> None:
        threshold = max(MIN_FAILURES, max_concurrent) if timeout > 0 else sys.maxsize
        self.timeout = timeout
        self.is_open = False
        """Whether an outage lasts."""
        self.breaker = CircuitBreaker(threshold, 1, _PROBE_SECONDS, scheduler=scheduler)
        self.breaker.state.subscribe(self._on_state)

    def _on_state(self, state: CircuitState) -> None:
        was_open, self.is_open = self.is_open, state != "closed"
        if self.is_open and not was_open:
            log.warning("nearly all requests fail; the run waits and probes")
        elif was_open and not self.is_open:
            log.warning("the vendor answers again; the run continues")


def with_retries(
    attempt: Observable[TokenEvent],
    outages: Outages,
    max_retries: int,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Observable[TokenEvent]:
    """Retry `attempt` after transient errors, and through outages.

    At most `max_retries` retries count. Attempts during outages do not count, until the timeout of `outages`, nor do
    those after a delay that the server asked for (Retry-After), until these delays add up to an hour.
    """
    delay_of = backoff(0.5, MAX_RETRY_AFTER, jitter)

    def start() -> tuple[Attempt, OnFailure]:
        """Return the first attempt, and the function that decides what follows a failure."""
        retries = 0
        asked_seconds = outage_seconds = 0.0
        failure: Exception | None = None
        """The last error that is not the breaker's own."""

        def hide(error: Exception, _: object) -> Observable[TokenEvent]:
            """Hide an error that is not transient from the breaker: the vendor has answered."""
            nonlocal failure
            failure = error
            return reactivex.throw(error) if _is_transient(error) else reactivex.empty()

        def reveal(_: abc.SchedulerBase) -> Observable[TokenEvent]:
            if failure is None or _is_transient(failure):
                return reactivex.empty()
            return reactivex.throw(failure)

        guarded = outages.breaker(attempt.pipe(rx_ops.catch(hide)))
        guarded = guarded.pipe(rx_ops.concat(reactivex.defer(reveal)))

        def decide(error: Exception, _: bool) -> Attempt | Exception:
            """Return the next attempt, or the error if none is left."""
            nonlocal retries, asked_seconds, outage_seconds
            if not _is_transient(error):
                return error
            if outages.is_open and outage_seconds < outages.timeout:
                outage_seconds += _PROBE_SECONDS
                return Attempt(guarded, _PROBE_SECONDS)
            if error is not failure:
                return failure or error  # refused by the breaker: the outage lasts too long
            asked = (error.retry_after if isinstance(error, LLMError) else None) or 0.0
            asked_seconds += asked
            if not asked or asked_seconds > MAX_RETRY_AFTER:
                retries += 1
            delay = delay_of(error, retries - 1) if retries <= max_retries else None
            return error if delay is None else Attempt(guarded, delay)

        return Attempt(guarded), decide

    return stream_attempts(start, None)


def _is_transient(error: Exception) -> bool:
    return error_class(error) == "retry"
