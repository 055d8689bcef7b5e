"""Limits that all workers of a cluster share: a permit server issues permits, many at a time.

A worker takes a lease: permits for some requests, to be used within `LEASE` seconds. With its next lease it reports the
tokens that its answers took and the permits that it did not use; so a permit costs a fraction of a message. The server
counts a permit from the moment it was issued, over a minute and the lease's time: however late it is used, no 60
seconds have more requests than the limit.
"""

from __future__ import annotations

import itertools
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


Permit: TypeAlias = tuple[int, int]
"""The right to start one request: its entries in the server's windows, of requests and of tokens."""


class LeaseRequest(msgspec.Struct, frozen=True):
    """A worker's request for permits, with its reports on earlier ones.

    Attributes:
        permits: How many it wants.
        expected_tokens: What each counts for until its answer is reported.
        spent: Permits whose answers have ended, and the tokens that these took.
        unused: Permits that were not used in time.
        silence: Seconds of a Retry-After.
    """

    permits: int
    expected_tokens: float
    spent: Sequence[tuple[Permit, float]] = ()
    unused: Sequence[Permit] = ()
    silence: float = 0.0


class Lease(msgspec.Struct, frozen=True):
    """Some permits; without any, `wait` is the seconds before the next request."""

    permits: Sequence[Permit] = ()
    wait: float = 0.0


class PermitServer:
    """Issues permits within the limits. Times are in seconds on the caller's clock.

    `blank` is False if it replaces a server that was lost: then it issues nothing until the leases of that one have
    expired.

    >>> server = PermitServer(RateLimits(requests_per_minute=3), now=0)
    >>> [len(server.lease(LeaseRequest(2, 10), now=0).permits) for _ in range(3)]
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
        for (_, entry), tokens in request.spent:
            self._tokens.correct(entry, now, tokens)
        for requests_entry, tokens_entry in request.unused:
            self._requests.correct(requests_entry, now, 0.0)
            self._tokens.correct(tokens_entry, now, 0.0)
        self._closed_until = max(self._closed_until, now + request.silence)
        tokens, permits = request.expected_tokens, list[Permit]()
        while len(permits) < request.permits:
            wait = max(self._closed_until - now, self._requests.wait(now, 1.0), self._tokens.wait(now, tokens))
            if wait > 0:
                return Lease(permits, min(wait, _MOST_SECONDS))
            permits.append((self._requests.take(now, 1.0), self._tokens.take(now, tokens)))
        return Lease(permits)


class LeasedLimit(RateLimit):
    """The worker's side: a `RateLimit` that starts a stream for each permit that `lease` returns.

    Streams wait as with any `RateLimit`, and the vendor's headers count too. One thread fetches a permit for each
    stream that waits, all of them with one call. `close` ends it: waiting streams never start.
    """

    def __init__(self, lease: Callable[[LeaseRequest], Lease]) -> None:
        super().__init__()
        self._lease = lease
        self._permits: list[Permit] = []
        """Those left of the last lease, to be used until `_use_by` on this machine's clock."""
        self._use_by = 0.0
        self._used: dict[int, Permit] = {}
        """Permits of streams that run, by the number of the stream."""
        self._numbers = itertools.count()
        self._spent: list[tuple[Permit, float]] = []
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
        if self._permits and time.monotonic() < self._use_by:
            return 0.0
        self._wanted.set()
        return None

    def take(self, now: float) -> int:
        """Use a permit; return the stream's number."""
        super().take(now)
        number = next(self._numbers)
        self._used[number] = self._permits.pop()
        return number

    def spent(self, number: int, now: float, tokens: float | None) -> None:
        """Keep the tokens that a stream took for the next report to the server."""
        super().spent(number, now, tokens)
        permit = self._used.pop(number)
        if tokens is not None:
            self._spent.append((permit, tokens))

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
                request = LeaseRequest(
                    len(self._waiting), self._needs("tokens"), self._spent, self._permits, self._silence
                )
                self._spent, self._permits, self._silence = [], [], 0.0
            asked_at = time.monotonic()  # before the lease is issued, so that no permit is used after its time
            try:
                lease = self._lease(request)
            except Exception as error:  # the connection to the server may raise anything, and work again soon
                log.warning("the permit server is unreachable, trying again: %s", error)
                lease = Lease(wait=_RETRY_SECONDS)
                with self.lock:
                    self._spent.extend(request.spent)
                    self._permits, self._use_by = list(request.unused), 0.0  # the server may have given them back
                    self._silence = max(self._silence, request.silence)
            if lease.permits:
                with self.lock:
                    self._permits, self._use_by = list(lease.permits), asked_at + LEASE
                self._let_in()
            elif lease.wait:
                self._wanted.wait(lease.wait)
                self._wanted.set()

    def _let_in(self) -> None:
        try:
            self.admit()
        except Exception:  # one stream failed to start; the others need their permits
            log.exception("a stream did not start")
