"""What a worker does while the vendor fails: wait out an outage with single probes, and retry single failures."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable

import reactivex
from reactivex import Observable, abc

from .._core.attempts import Attempt, OnFailure, stream_attempts
from .._transport.rate_limit_headers import MAX_RETRY_AFTER
from ..errors import LLMError
from ..events import TokenEvent
from ..operators.resilience.fallback import backoff, error_class

log = logging.getLogger("rxllm")

MIN_FAILURES = 5
"""Fewer transient failures in a row are never an outage."""
_FIRST_PROBE, _LAST_PROBE = 1.0, 30.0
"""Seconds between two probes; doubled with each that fails."""


class Outages:
    """Decides when requests may start: all while the vendor works, one at a time during an outage. Thread-safe.

    An outage begins with as many transient failures in a row as there are concurrent requests. It ends with an answer,
    or with an error that is not transient. A `timeout` of 0 seconds turns it off. `clock` returns seconds.
    """

    def __init__(self, max_concurrent: int, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        """Seconds that a prompt waits in outages before its attempts count as retries again."""
        self._threshold = max(MIN_FAILURES, max_concurrent) if timeout > 0 else math.inf
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        """Transient failures in a row."""
        self._delay = _FIRST_PROBE
        self._probe_at = 0.0
        """When the next request may start during an outage, in seconds of the clock."""
        self._is_probing = False

    @property
    def lasts(self) -> bool:
        """Whether there is an outage."""
        return self._failures >= self._threshold

    def wait(self) -> float:
        """Return 0.0 if a request may start now, else the seconds after which to ask again."""
        with self._lock:
            left = self._probe_at - self._clock()
            if self.lasts and (self._is_probing or left > 0):
                return max(left, _FIRST_PROBE)
            self._is_probing = self.lasts
            return 0.0

    def answered(self) -> None:
        """Record that the vendor answered."""
        with self._lock:
            lasted, self._failures, self._delay = self.lasts, 0, _FIRST_PROBE
        if lasted:
            log.warning("the vendor answers again; the run continues")

    def failed(self, error: Exception) -> None:
        """Record a transient failure."""
        with self._lock:
            self._delay = min(self._delay * 2, _LAST_PROBE) if self.lasts else _FIRST_PROBE
            self._failures += 1
            self._probe_at = self._clock() + max(_asked_delay(error), self._delay)
            self._is_probing = False
        if self._failures == self._threshold:
            log.warning("the last %d requests failed; the run waits and probes: %s", self._failures, error)


class _Refused(Exception):
    """A request must not start, because an outage lasts: ask again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def with_retries(
    attempt: Observable[TokenEvent],
    outages: Outages,
    max_retries: int,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Observable[TokenEvent]:
    """Retry `attempt` after transient errors, and through outages. The caller records answers in `outages`.

    At most `max_retries` retries count. Attempts during outages do not count, until the timeout of `outages`, nor do
    those after a delay that the server asked for (Retry-After), until these delays add up to an hour.
    """
    delay_of = backoff(0.5, MAX_RETRY_AFTER, jitter)

    def admit(_: abc.SchedulerBase) -> Observable[TokenEvent]:
        seconds = outages.wait()
        return reactivex.throw(_Refused(seconds)) if seconds else attempt

    def start() -> tuple[Attempt, OnFailure]:
        """Return the first attempt, and the function that decides what follows a failure."""
        retries = 0
        asked_seconds = outage_seconds = 0.0
        admitted = reactivex.defer(admit)

        def decide(error: Exception, _: bool) -> Attempt | Exception:
            """Return the next attempt, or the error if none is left."""
            nonlocal retries, asked_seconds, outage_seconds
            if isinstance(error, _Refused):
                outage_seconds += error.seconds
                return Attempt(admitted if outage_seconds < outages.timeout else attempt, error.seconds)
            if error_class(error) != "retry":
                outages.answered()
                return error
            outages.failed(error)
            if outages.lasts and outage_seconds < outages.timeout:
                return Attempt(admitted)
            asked = _asked_delay(error)
            asked_seconds += asked
            if not asked or asked_seconds > MAX_RETRY_AFTER:
                retries += 1
            # Before the first retry that counts, the exponent is -1: the server has asked for the delay then.
            delay = delay_of(error, retries - 1) if retries <= max_retries else None
            return error if delay is None else Attempt(admitted, delay)

        return Attempt(admitted), decide

    return stream_attempts(start, None)


def _asked_delay(error: Exception) -> float:
    return (error.retry_after if isinstance(error, LLMError) else None) or 0.0
