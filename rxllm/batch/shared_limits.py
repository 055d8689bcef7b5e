"""Limits that all workers of a cluster share: a permit server issues permits, many at a time.

A worker takes a lease: permits for some requests, to be used within `LEASE` seconds. With its next lease it reports the
permits that it did not use and the tokens that its answers took; so a permit costs a fraction of a message. The server
counts a lease from the moment it was issued, over a minute and the lease's time: however late a permit is used, no 60
seconds have more requests than the limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from .._transport.rate_limit_headers import MINUTE
from ..operators.resilience.limits import RateLimit
from ..operators.resilience.rate_window import SlidingWindow

log = logging.getLogger("rxllm")

LEASE = 1.0
"""Seconds within which a permit must be used."""
_MOST_SECONDS = 5.0
"""The longest wait that a worker is given before it asks again, in seconds."""
_RETRY_SECONDS = 1.0
"""Seconds between attempts while the server is unreachable."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of all workers together, in any 60 seconds; None sets no limit.

    A Retry-After that one worker receives makes all workers wait.

    Attributes:
        requests_per_minute: Requests that start, retries included.
        tokens_per_minute: Input and output tokens; a running request counts as the average of those before it.
        name: All runs with this name, in this process or in this cluster, share the limits. In a cluster, a run that
            starts after a crash knows what the last minute took.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        RateLimit(self.requests_per_minute, self.tokens_per_minute)  # raises if one is not above 0


LeaseNumber: TypeAlias = tuple[int, int]
"""The entries of a lease in the windows of the permit server: of requests and of tokens."""


class Correction(msgspec.Struct, frozen=True):
    """A report on the lease `number`: permits that were not used, and tokens beyond the expected ones."""

    number: LeaseNumber
    unused: int = 0
    tokens: float = 0.0


class LeaseRequest(msgspec.Struct, frozen=True):
    """A worker's request for permits, with reports on earlier leases and the seconds of a Retry-After (`silence`)."""

    permits: int
    expected_tokens: float
    corrections: Sequence[Correction] = ()
    silence: float = 0.0


class Lease(msgspec.Struct, frozen=True):
    """A number of permits; without any, `wait` is the seconds before the next request."""

    number: LeaseNumber = (0, 0)
    permits: int = 0
    wait: float = 0.0


class PermitServer:
    """Issues permits within the limits. Times are in seconds on the caller's clock.

    `blank` is False if it replaces a server that was lost: then it issues nothing until the leases of that one have
    expired.

    >>> server = PermitServer(RateLimits(requests_per_minute=3), now=0)
    >>> [server.lease(LeaseRequest(2, 10), now=0).permits for _ in range(3)]
    [2, 1, 0]
    """

    def __init__(self, limits: RateLimits, now: float, *, blank: bool = True) -> None:
        self.limits = limits
        span = MINUTE + LEASE
        self._requests = SlidingWindow(limits.requests_per_minute or math.inf, span)
        self._tokens = SlidingWindow(limits.tokens_per_minute or math.inf, span)
        self._closed_until = now if blank else now + span

    def lease(self, request: LeaseRequest, now: float) -> Lease:
        """Return as many permits as there are, at most the requested number."""
        for correction in request.corrections:
            self._correct(correction, now)
        self._closed_until = max(self._closed_until, now + request.silence)
        if not request.permits:
            return Lease()
        tokens = request.expected_tokens
        wait = max(self._closed_until - now, self._requests.wait(now, 1.0), self._tokens.wait(now, tokens))
        if wait > 0:
            return Lease(wait=min(wait, _MOST_SECONDS))
        room = min(request.permits, self._requests.room(now), self._tokens.room(now) / tokens)
        permits = max(1, int(room))  # a request larger than the whole limit starts when nothing else runs
        return Lease((self._requests.take(now, permits), self._tokens.take(now, permits * tokens)), permits)

    def _correct(self, correction: Correction, now: float) -> None:
        """Return unused permits and tokens to the windows; book the tokens that exceeded the estimate."""
        requests, tokens = correction.number
        self._requests.give_back(requests, correction.unused)
        if correction.tokens > 0:
            self._tokens.take(now, correction.tokens)
        else:
            self._tokens.give_back(tokens, -correction.tokens)


class _HeldLease(msgspec.Struct, eq=False):
    """The permits left of a lease, and until when they may be used, on this machine's clock."""

    number: LeaseNumber
    left: int
    tokens: float
    """Tokens that each permit counts for at the server until it is corrected."""
    use_by: float


class LeasedLimit(RateLimit):
    """The worker's side: a `RateLimit` that starts a stream for each permit that `lease` returns.

    Streams wait as with any `RateLimit`, and the vendor's headers count too. One thread fetches a permit for each
    stream that waits, all of them with one call. `close` ends it: waiting streams never start.
    """

    def __init__(self, lease: Callable[[LeaseRequest], Lease]) -> None:
        super().__init__()
        self._lease = lease
        self._held = _HeldLease((0, 0), 0, 0.0, 0.0)
        self._under_way: dict[int, _HeldLease] = {}
        self._streams = 0
        self._corrections: list[Correction] = []
        """Reports that the server does not have yet."""
        self._silence = 0.0
        self._wanted = threading.Event()
        self._closed = False
        threading.Thread(target=self._fetch, name="rxllm-batch-permits", daemon=True).start()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a stream may start: 0.0 for now, None while there is no permit.

        The fetching thread then fetches some and calls `admit`.
        """
        vendor_wait = super().wait(now)
        if vendor_wait:
            return vendor_wait
        if self._held.left and time.monotonic() < self._held.use_by:
            return 0.0
        self._wanted.set()
        return None

    def take(self, now: float) -> int:
        """Use a permit; return the stream's number."""
        super().take(now)
        self._held.left -= 1
        self._streams += 1
        self._under_way[self._streams] = self._held
        return self._streams

    def spent(self, number: int, now: float, tokens: float | None) -> None:
        """Keep the tokens that a stream took for the next report to the server."""
        super().spent(number, now, tokens)
        lease = self._under_way.pop(number)
        if tokens is not None:
            self._corrections.append(Correction(lease.number, 0, tokens - lease.tokens))

    def close_for(self, seconds: float | None, now: float) -> None:
        """Start no stream for `seconds`, on all workers."""
        super().close_for(seconds, now)
        if seconds:
            with self.lock:
                self._silence = max(self._silence, seconds)
            self._wanted.set()

    def close(self) -> None:
        """Stop fetching."""
        self._closed = True
        self._wanted.set()

    def _fetch(self) -> None:
        """Fetch permits whenever they are wanted, until the limit is closed. Runs on its own thread."""
        while self._wanted.wait() and not self._closed:
            self._wanted.clear()
            with self.lock:
                request = self._request()
            asked_at = time.monotonic()  # before the lease is issued, so that no permit is used after its time
            try:
                lease = self._lease(request)
            except Exception as error:  # the connection to the server may raise anything, and work again soon
                log.warning("the permit server is unreachable, trying again: %s", error)
                lease = Lease(wait=_RETRY_SECONDS)
                with self.lock:
                    self._corrections.extend(request.corrections)
                    self._silence = max(self._silence, request.silence)
            if lease.permits:
                with self.lock:
                    self._held = _HeldLease(lease.number, lease.permits, request.expected_tokens, asked_at + LEASE)
                self._let_in()
            elif lease.wait:
                self._wanted.wait(lease.wait)
                self._wanted.set()

    def _request(self) -> LeaseRequest:
        """Return the next request, with the reports that are due. Must hold the lock."""
        held = self._held
        if held.left:
            self._corrections.append(Correction(held.number, held.left, -held.left * held.tokens))
            held.left = 0
        corrections, self._corrections = self._corrections, []
        silence, self._silence = self._silence, 0.0
        return LeaseRequest(len(self._waiting), self._needs("tokens"), corrections, silence)

    def _let_in(self) -> None:
        try:
            self.admit()
        except Exception:  # one stream failed to start; the others need their permits
            log.exception("a stream did not start")
