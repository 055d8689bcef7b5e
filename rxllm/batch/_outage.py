"""What a worker does while the vendor fails: wait out an outage with single probes, and retry single failures."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex import operators as rx_ops

from .._core.attempts import Attempt, OnFailure, stream_attempts
from .._transport.rate_limit_headers import MAX_RETRY_AFTER
from ..errors import LLMError
from ..events import TokenEvent
from ..operators.resilience.circuit_breaker import CircuitBreaker
from ..operators.resilience.fallback import backoff, error_class

log = logging.getLogger("rxllm")

MIN_FAILURES = 5
"""Fewer transient failures in a row are never an outage."""
_PROBE_SECONDS = 5.0
"""Seconds between two probes."""


def outage_breaker(max_concurrent: int, timeout: float, scheduler: abc.SchedulerBase | None = None) -> CircuitBreaker:
    """Return the circuit breaker that opens when nearly everything fails transiently; never if `timeout` is 0."""
    threshold = max(MIN_FAILURES, max_concurrent) if timeout > 0 else sys.maxsize
    breaker = CircuitBreaker(threshold, 1, _PROBE_SECONDS, counts=_is_transient, scheduler=scheduler)
    is_outage = breaker.state.pipe(rx_ops.map(lambda state: state != "closed"))
    is_outage.pipe(rx_ops.distinct_until_changed(), rx_ops.skip(1)).subscribe(_log_outage)
    return breaker


def with_retries(
    attempt: Observable[TokenEvent],
    breaker: CircuitBreaker,
    max_retries: int,
    outage_timeout: float,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Observable[TokenEvent]:
    """Retry `attempt` after transient errors, and through outages.

    At most `max_retries` retries count. Attempts during the first `outage_timeout` seconds of outages do not count, nor
    do those after a delay that the server asked for (Retry-After), until these delays add up to an hour.
    """
    delay_of = backoff(0.5, MAX_RETRY_AFTER, jitter)

    def start() -> tuple[Attempt, OnFailure]:
        """Return the first attempt, and the function that decides what follows a failure."""
        retries = 0
        asked_seconds = outage_seconds = 0.0
        failure: Exception | None = None
        """The last error that is not the breaker's own."""

        def keep(error: Exception) -> None:
            nonlocal failure
            failure = error

        guarded = breaker(attempt.pipe(rx_ops.do_action(on_error=keep)))

        def decide(error: Exception, _: bool) -> Attempt | Exception:
            """Return the next attempt, or the error if none is left."""
            nonlocal retries, asked_seconds, outage_seconds
            if not _is_transient(error):
                return error
            if breaker.current_state != "closed" and outage_seconds < outage_timeout:
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


def _log_outage(lasts: bool) -> None:
    if lasts:
        log.warning("nearly all requests fail; the run waits and probes")
    else:
        log.warning("the vendor answers again; the run continues")
