"""The worker's end of shared limits: a `RateLimit` whose permits come from the cluster's server.

Streams wait for their turn as with any `RateLimit`, which this one is: what the vendor's headers
say holds here too. One thread fetches permits, ahead of need, as many as the last second took.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from ..operators.resilience.limits import RateLimit
from .shared_limits import LEASE, Correction, Lease, LeaseRequest

log = logging.getLogger("rxllm")

_TROUBLE_SECONDS = 1.0
"""Between tries, while the server cannot be reached."""


class _HeldLease:
    """The permits in hand of one lease, to be used by a time on this machine's clock."""

    __slots__ = ("left", "number", "tokens", "use_by")

    def __init__(self, lease: Lease, tokens: float, use_by: float) -> None:
        self.number = lease.number
        self.left = lease.permits
        self.tokens = tokens
        """What each permit counts for in the server, until it is corrected."""
        self.use_by = use_by


class LeasedLimit(RateLimit):
    """Starts streams as `lease` gives permits. `close` ends its thread; what waits then waits for good."""

    def __init__(self, lease: Callable[[LeaseRequest], Lease], expected_tokens: int | None) -> None:
        super().__init__(expected_tokens=expected_tokens)
        self._lease = lease
        self._leases: deque[_HeldLease] = deque()
        self._started: deque[float] = deque()
        """When the streams of the last second started."""
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
        """None while there is no permit: who fetches one lets the next stream in."""
        vendor = super().wait(now)
        if vendor:
            return vendor
        if self._permits() == 0:
            self._wanted.set()
            return None
        return 0.0

    def take(self, now: float) -> int:
        """Use a permit; the stream's number."""
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
        """Keep for the server what a stream took."""
        super().spent(number, now, tokens)
        lease = self._under_way.pop(number)
        if tokens is not None:
            self._extra[lease.number] = self._extra.get(lease.number, 0.0) + tokens - lease.tokens

    def close_for(self, seconds: float | None, now: float) -> None:
        """Let nobody in for so long, here and everywhere."""
        super().close_for(seconds, now)
        if seconds:
            with self.lock:
                self._silence = max(self._silence, seconds)
            self._urgent.set()
            self._wanted.set()

    def close(self) -> None:
        """Fetch no more."""
        self._closed = True
        self._urgent.set()
        self._wanted.set()

    def _permits(self) -> int:
        """How many are good still. Called with the lock held."""
        now = time.monotonic()
        while self._leases and (self._leases[0].left == 0 or self._leases[0].use_by <= now):
            lease = self._leases.popleft()
            self._unused[lease.number] += lease.left
        while self._started and self._started[0] <= now - LEASE:
            self._started.popleft()
        return sum(lease.left for lease in self._leases)

    def _fetch(self) -> None:
        while self._wanted.wait() and not self._closed:
            self._wanted.clear()
            self._urgent.clear()
            with self.lock:
                request = self._wish()
            asked_at = time.monotonic()  # before it is given, so that no permit is used after its time
            try:
                lease = self._lease(request)
            except Exception as error:  # whatever the way to the server raises, it may be there again soon
                log.warning("no permits to be had, trying again: %s", error)
                lease = Lease(0, 0, _TROUBLE_SECONDS)
                self._keep(request)
            if lease.permits:
                with self.lock:
                    self._leases.append(_HeldLease(lease, request.expected_tokens, asked_at + LEASE))
                self._let_in()
            elif lease.wait:
                self._urgent.wait(lease.wait)
                self._wanted.set()

    def _wish(self) -> LeaseRequest:
        """Called with the lock held."""
        in_hand = self._permits()
        numbers = sorted(self._unused.keys() | self._extra.keys())
        corrections = [Correction(n, self._unused[n], self._extra.get(n, 0.0)) for n in numbers]
        silence, self._silence = self._silence, 0.0
        self._unused.clear()
        self._extra.clear()
        permits = max(len(self._waiting), len(self._started)) - in_hand
        return LeaseRequest(max(0, permits), self._needs("tokens"), corrections, silence)

    def _keep(self, request: LeaseRequest) -> None:
        """What the server was not told is told it the next time."""
        with self.lock:
            self._silence = max(self._silence, request.silence)
            for correction in request.corrections:
                self._unused[correction.number] += correction.unused
                self._extra[correction.number] = self._extra.get(correction.number, 0.0) + correction.tokens

    def _let_in(self) -> None:
        try:
            self.admit()
        except Exception:  # a stream that cannot be subscribed to: its own trouble, the others need their permits
            log.exception("a stream did not start")
