"""What a worker does while the vendor fails: wait out an outage with single probes, and retry single failures."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from reactivex import Observable, abc

from .._core.attempts import Attempt, OnFailure, scheduler_seconds, stream_attempts
from .._transport.rate_limit_headers import MAX_RETRY_AFTER
from ..errors import LLMError
from ..events import TokenEvent
from ..operators.resilience.fallback import backoff, error_class
from ..operators.resilience.wait_queue import LimitedStream, SharedLimit

log = logging.getLogger("rxllm")

MIN_FAILURES = 5
"""Fewer transient failures in a row are never an outage."""
_FIRST_PROBE, _LAST_PROBE = 1.0, 30.0
"""Seconds between two probes; doubled with each that fails."""


class _GatedRequest(LimitedStream["OutageGate"]):
    """One request."""

    def wait(self) -> float | None:
        now = scheduler_seconds(self.timers)
        self.limit.expire(now)
        if not self.limit.is_open:
            return 0.0
        return max(0.0, self.limit.probe_at - now) if self.limit.probe is None else None

    def entered(self) -> None:
        if self.limit.is_open:
            self.limit.probe = self

    def left(self) -> None:
        if self.limit.probe is self:
            self.limit.probe = None

    def on_error(self, error: Exception) -> None:
        with self.limit.lock:
            if error_class(error) == "retry":
                self.limit.failed(error, scheduler_seconds(self.timers))
            else:
                self.limit.succeeded()
        super().on_error(error)

    def on_completed(self) -> None:
        with self.limit.lock:
            self.limit.succeeded()
        super().on_completed()


class OutageGate(SharedLimit):
    """Start all requests while the vendor works, and one at a time during an outage.

    An outage begins with `threshold` transient failures in a row. It ends with the first request that does not fail
    transiently, or after `timeout` seconds: then the requests are made as usual, and their failures count.
    Thread-safe.
    """

    stream_class = _GatedRequest

    def __init__(self, threshold: int, timeout: float, scheduler: abc.SchedulerBase | None = None) -> None:
        super().__init__(scheduler)
        self._threshold = max(MIN_FAILURES, threshold)
        self._timeout = timeout
        self._failures = 0
        self._began_at: float | None = None
        self._delay = _FIRST_PROBE
        self.probe_at = 0.0
        self.probe: _GatedRequest | None = None

    @property
    def is_open(self) -> bool:
        """Whether an outage lasts."""
        return self._began_at is not None

    def succeeded(self) -> None:
        """Record that the vendor answered; must hold the lock."""
        self._failures = 0
        self._delay = _FIRST_PROBE
        if self.is_open:
            self._began_at = None
            log.warning("the vendor answers again; the run continues")

    def failed(self, error: Exception, now: float) -> None:
        """Record a transient failure; must hold the lock."""
        self._failures += 1
        asked = (error.retry_after if isinstance(error, LLMError) else None) or 0.0
        if self.is_open:
            self._delay = min(self._delay * 2, _LAST_PROBE)
        elif self._failures >= self._threshold and self._timeout > 0:
            self._began_at = now
            log.warning("the last %d requests failed; the run waits and probes: %s", self._failures, error)
        self.probe_at = now + max(asked, self._delay)

    def expire(self, now: float) -> None:
        """End an outage that lasts too long; must hold the lock."""
        if self._began_at is not None and now - self._began_at >= self._timeout:
            self._failures = 0
            self._began_at = None
            log.warning("the outage lasted %.0f seconds; from now on failures count again", self._timeout)


def with_retries(
    attempt: Observable[TokenEvent],
    gate: OutageGate,
    max_retries: int,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Observable[TokenEvent]:
    """Retry `attempt` after transient errors, and through outages.

    At most `max_retries` retries count. Attempts during an outage do not count, nor do those after a delay that the
    server asked for (Retry-After), until these delays add up to an hour.
    """
    gated = gate(attempt)
    delay_of = backoff(0.5, MAX_RETRY_AFTER, jitter)

    def start() -> tuple[Attempt, OnFailure]:
        """Return the first attempt, and the function that decides what follows a failure."""
        retries = 0
        waited = 0.0

        def decide(error: Exception, _: bool) -> Attempt | Exception:
            """Return the next attempt, or the error if none is left."""
            nonlocal retries, waited
            delay = delay_of(error, retries) if error_class(error) == "retry" else None
            if delay is None:
                return error
            if gate.is_open:
                return Attempt(gated)
            asked = (error.retry_after if isinstance(error, LLMError) else None) or 0.0
            waited += asked
            if not asked or waited > MAX_RETRY_AFTER:
                if retries >= max_retries:
                    return error
                retries += 1
            return Attempt(gated, delay)

        return Attempt(gated), decide

    return stream_attempts(start, None)
