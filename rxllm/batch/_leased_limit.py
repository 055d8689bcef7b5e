"""The worker's side of shared limits: a `RateLimit` whose permits come from the cluster's permit server.

Streams wait as with any `RateLimit`, and the vendor's headers count too. One thread fetches a permit for each stream
that waits, all of them with one call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from ..operators.resilience.limits import RateLimit
from .shared_limits import LEASE, Correction, Lease, LeaseNumber, LeaseRequest

log = logging.getLogger("rxllm")

_RETRY_SECONDS = 1.0
"""Seconds between attempts while the server is unreachable."""


class _HeldLease(msgspec.Struct, eq=False):
    """The permits left of a lease, and until when they may be used, on this machine's clock."""

    number: LeaseNumber
    left: int
    tokens: float
    """Tokens that each permit counts for at the server until it is corrected."""
    use_by: float


class LeasedLimit(RateLimit):
    """Starts a stream for each permit that `lease` returns. `close` ends its thread: waiting streams never start."""

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
