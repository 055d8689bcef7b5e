"""The worker's side of shared limits: a `RateLimit` whose permits come from the cluster's permit server.

Streams wait as with any `RateLimit`, and the vendor's headers count too. One thread fetches permits ahead of need, as
many as the last second used.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from ..operators.resilience.limits import RateLimit
from .shared_limits import LEASE, Correction, Lease, LeaseRequest

log = logging.getLogger("rxllm")

_RETRY_SECONDS = 1.0
"""Seconds between attempts while the server is unreachable."""


class _HeldLease(msgspec.Struct, eq=False):
    """The permits left of one lease, and until when they may be used, on this machine's clock."""

    number: int
    left: int
    tokens: float
    """Tokens that each permit counts for at the server until it is corrected."""
    use_by: float


class LeasedLimit(RateLimit):
    """Starts a stream for each permit that `lease` returns. `close` ends its thread: waiting streams never start."""

    def __init__(self, lease: Callable[[LeaseRequest], Lease]) -> None:
        super().__init__()
        self._lease = lease
        self._leases: deque[_HeldLease] = deque()
        self._started: deque[float] = deque()
        """Start times of the streams of the last second."""
        self._under_way: dict[int, _HeldLease] = {}
        self._streams = 0
        self._unused: Counter[int] = Counter()
        self._extra: dict[int, float] = {}
        self._silence = 0.0
        self._wanted = threading.Event()
        self._urgent = threading.Event()
        self._closed = False
        threading.Thread(target=self._fetch, name="rxllm-batch-permits", daemon=True).start()

    def wait(self, now: float) -> float | None:
        """Return the seconds until a stream may start: 0.0 for now, None while there is no permit.

        The fetching thread then fetches some and calls `admit`.
        """
        vendor_wait = super().wait(now)
        if vendor_wait:
            return vendor_wait
        if self._permits() == 0:
            self._wanted.set()
            return None
        return 0.0

    def take(self, now: float) -> int:
        """Use a permit; return the stream's number."""
        super().take(now)
        lease = self._leases[0]
        lease.left -= 1
        self._streams += 1
        self._under_way[self._streams] = lease
        self._started.append(time.monotonic())
        if self._permits() <= len(self._started) // 2:
            self._wanted.set()
        return self._streams

    def spent(self, number: int, now: float, tokens: float | None) -> None:
        """Keep the tokens that a stream took for the next report to the server."""
        super().spent(number, now, tokens)
        lease = self._under_way.pop(number)
        if tokens is not None:
            self._extra[lease.number] = self._extra.get(lease.number, 0.0) + tokens - lease.tokens

    def close_for(self, seconds: float | None, now: float) -> None:
        """Start no stream for `seconds`, on all workers."""
        super().close_for(seconds, now)
        if seconds:
            with self.lock:
                self._silence = max(self._silence, seconds)
            self._urgent.set()
            self._wanted.set()

    def close(self) -> None:
        """Stop fetching."""
        self._closed = True
        self._urgent.set()
        self._wanted.set()

    def _permits(self) -> int:
        """Return the number of permits that may still be used. Must hold the lock."""
        now = time.monotonic()
        while self._leases and (self._leases[0].left == 0 or self._leases[0].use_by <= now):
            lease = self._leases.popleft()
            self._unused[lease.number] += lease.left
        while self._started and self._started[0] <= now - LEASE:
            self._started.popleft()
        return sum(lease.left for lease in self._leases)

    def _fetch(self) -> None:
        """Fetch permits whenever they are wanted, until the limit is closed. Runs on its own thread."""
        while self._wanted.wait() and not self._closed:
            self._wanted.clear()
            self._urgent.clear()
            with self.lock:
                request = self._request()
            asked_at = time.monotonic()  # before the lease is issued, so that no permit is used after its time
            try:
                lease = self._lease(request)
            except Exception as error:  # the connection to the server may raise anything, and work again soon
                log.warning("the permit server is unreachable, trying again: %s", error)
                lease = Lease(0, 0, _RETRY_SECONDS)
                self._keep(request)
            if lease.permits:
                held = _HeldLease(lease.number, lease.permits, request.expected_tokens, asked_at + LEASE)
                with self.lock:
                    self._leases.append(held)
                self._let_in()
            elif lease.wait:
                self._urgent.wait(lease.wait)
                self._wanted.set()

    def _request(self) -> LeaseRequest:
        """Return the next request, with the reports that are due. Must hold the lock."""
        in_hand = self._permits()
        numbers = sorted(self._unused.keys() | self._extra.keys())
        corrections = [Correction(n, self._unused[n], self._extra.get(n, 0.0)) for n in numbers]
        silence, self._silence = self._silence, 0.0
        self._unused.clear()
        self._extra.clear()
        permits = max(len(self._waiting), len(self._started)) - in_hand
        return LeaseRequest(max(0, permits), self._needs("tokens"), corrections, silence)

    def _keep(self, request: LeaseRequest) -> None:
        """Keep the reports of a request that failed for the next one."""
        with self.lock:
            self._silence = max(self._silence, request.silence)
            for correction in request.corrections:
                self._unused[correction.number] += correction.unused
                self._extra[correction.number] = self._extra.get(correction.number, 0.0) + correction.tokens

    def _let_in(self) -> None:
        try:
            self.admit()
        except Exception:  # one stream failed to start; the others need their permits
            log.exception("a stream did not start")
