"""Limits that all workers share: one server in the cluster hands out permits, many at a time. Pure.

A worker takes a lease: permits for some requests, to be used within `LEASE` seconds. What it does
not use, and what its answers took in tokens, it tells with its next lease; so a permit costs a
fraction of a message, and a token costs none. The server counts a lease from when it was given,
over a minute and a lease: however late in its lease a permit is used, no sixty seconds see more
than the limit.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .._transport.rate_limit_headers import MINUTE
from ..errors import ConfigurationError
from ..operators.resilience.rate_window import SlidingWindow

LEASE = 1.0
"""Seconds that a permit may be used for."""
_MOST_SECONDS = 5.0
"""No worker is told to wait longer before it asks again."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole cluster may ask of a vendor; None is no limit of ours.

    In no sixty seconds do all workers together start more than `requests_per_minute` requests, tries
    again included, nor take more than `tokens_per_minute` tokens. What an answer takes is known at its
    end; until then it counts as `expected_tokens`, by default the average of those before it. A
    Retry-After that one worker is told keeps all waiting.

    With a `name`, all runs in the cluster that name it share the limits, and a run that is started
    again after a crash knows what the last minute took.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    expected_tokens: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for field in ("requests_per_minute", "tokens_per_minute", "expected_tokens"):
            limit = getattr(self, field)
            if limit is not None and not limit > 0:
                raise ConfigurationError(f"RateLimits({field}=...) takes a number above 0; got {limit!r}")


class Correction(msgspec.Struct, frozen=True):
    """What is known now of the lease `number`: permits left unused, and tokens it took beyond what it counted for."""

    number: int
    unused: int = 0
    tokens: float = 0.0


class LeaseRequest(msgspec.Struct, frozen=True):
    """A worker asks for permits, tells what became of earlier ones, and for how long the vendor wants silence."""

    permits: int
    expected_tokens: float
    corrections: Sequence[Correction] = ()
    silence: float = 0.0


class Lease(msgspec.Struct, frozen=True):
    """So many permits; `wait` seconds before asking again where there were none."""

    number: int
    permits: int
    wait: float = 0.0


class PermitServer:
    """Who may ask how much. Times are seconds on one clock, the caller's.

    `blank` is False where it takes the place of a server that was lost: then it gives nothing until
    whatever that one gave has passed.

    >>> server = PermitServer(RateLimits(requests_per_minute=3), now=0)
    >>> [server.lease(LeaseRequest(2, 10), now=0).permits for _ in range(3)]
    [2, 1, 0]
    """

    def __init__(self, limits: RateLimits, now: float, *, blank: bool = True) -> None:
        self.limits = limits
        span = MINUTE + LEASE
        self._requests = _window(limits.requests_per_minute, span)
        self._tokens = _window(limits.tokens_per_minute, span)
        self._closed_until = now if blank else now + span
        self._number = 0
        self._places: dict[int, tuple[int, int]] = {}
        """Where the leases of the last minutes stand in the two windows."""

    def lease(self, request: LeaseRequest, now: float) -> Lease:
        """As many permits as there are, at most those wished for."""
        self._correct(request.corrections, now)
        self._closed_until = max(self._closed_until, now + request.silence)
        wait = self._wait(request, now)
        if request.permits == 0 or wait > 0:
            return Lease(0, 0, min(wait, _MOST_SECONDS) if request.permits else 0.0)
        permits = request.permits
        if self._requests is not None:
            permits = min(permits, int(self._requests.room(now)))
        if self._tokens is not None:
            permits = min(permits, int(self._tokens.room(now) / request.expected_tokens))
        permits = max(1, permits)  # one that needs more than the whole limit goes when nothing else does
        return Lease(self._take(permits, request.expected_tokens, now), permits)

    def _wait(self, request: LeaseRequest, now: float) -> float:
        waits = [self._closed_until - now]
        if self._requests is not None:
            waits.append(self._requests.wait(now, 1.0))
        if self._tokens is not None:
            waits.append(self._tokens.wait(now, request.expected_tokens))
        return max(waits)

    def _take(self, permits: int, expected_tokens: float, now: float) -> int:
        self._number += 1
        requests = self._requests.take(now, permits) if self._requests is not None else 0
        tokens = self._tokens.take(now, permits * expected_tokens) if self._tokens is not None else 0
        self._places[self._number] = (requests, tokens)
        if len(self._places) > _KEPT:
            del self._places[next(iter(self._places))]
        return self._number

    def _correct(self, corrections: Sequence[Correction], now: float) -> None:
        for correction in corrections:
            requests, tokens = self._places.get(correction.number, (-1, -1))
            if self._requests is not None:
                self._requests.give_back(requests, correction.unused)
            if self._tokens is None:
                continue
            if correction.tokens > 0:
                self._tokens.take(now, correction.tokens)
            else:
                self._tokens.give_back(tokens, -correction.tokens)


_KEPT = 100_000
"""Leases that may still be corrected; those before are forgotten, and stand as they were."""


def _window(limit: float | None, span: float) -> SlidingWindow | None:
    return None if limit is None else SlidingWindow(limit, span)
