"""How much may be requested, and when: by our own count, and by what vendors report in their headers. Pure.

Times are in seconds on one clock, the caller's.
"""

from __future__ import annotations

from collections import deque

from ..._transport.rate_limit_headers import MINUTE, Allowance, Kind

_ROUNDING = 1e-6
"""Seconds: clocks that are datetimes have microseconds."""


class SlidingWindow:
    """A budget of `limit` in any `span` seconds.

    >>> window = SlidingWindow(2)
    >>> window.take(0, 1), window.take(10, 1)
    (0, 1)
    >>> window.wait(30, 1), window.wait(60, 1)
    (30.0, 0.0)
    """

    def __init__(self, limit: float, span: float = MINUTE) -> None:
        self.limit = limit
        self._span = span
        self._first = 0
        self._entries: deque[list[float]] = deque()  # [time, amount], oldest first
        self._total = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Return the seconds until `amount` may be taken; more than the limit may be if nothing else is booked."""
        self._forget(now)
        excess = self._total + min(amount, self.limit) - self.limit
        for time, taken in self._entries:
            if excess <= 0:
                break
            excess -= taken
            if excess <= 0:
                return time + self._span - now
        return 0.0

    def take(self, now: float, amount: float) -> int:
        """Book `amount`; return the number of the entry, for `correct`."""
        self._entries.append([now, amount])
        self._total += amount
        return self._first + len(self._entries) - 1

    def correct(self, number: int, now: float, amount: float) -> None:
        """Replace the estimate of entry `number` by the real amount; what it lacked is booked at `now`.

        An entry that the window has passed by, or does not know, counts as nothing: then all of the real amount is
        booked.
        """
        place = number - self._first
        is_booked = 0 <= place < len(self._entries)
        taken = self._entries[place][1] if is_booked else 0.0
        if amount > taken:
            self.take(now, amount - taken)
        elif is_booked:
            self._entries[place][1] = amount
            self._total += amount - taken

    def _forget(self, now: float) -> None:
        """Drop entries that are older than the span; entries in the future (the clock was set back) count from now."""
        for entry in self._entries:
            if entry[0] <= now:
                break
            entry[0] = now  # the clock was set back
        while self._entries and now - self._entries[0][0] >= self._span - _ROUNDING:
            self._total -= self._entries.popleft()[1]
            self._first += 1


class VendorAllowance:
    """An `Allowance` that grows back evenly over time, or at once if its limit is unknown."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.kind: Kind = allowance.kind
        self._left = allowance.left
        self._limit = allowance.limit
        self._from = now
        self._until = now + allowance.reset
        grows_by = (allowance.limit or 0.0) - allowance.left
        self._rate = grows_by / allowance.reset if grows_by > 0 and allowance.reset else 0.0

    def wait(self, now: float, amount: float) -> float:
        """Return the seconds until `amount` has grown back, at most until the reset: then all of it is there."""
        needed = amount if self._limit is None else min(amount, self._limit)
        missing = needed - self._left - self._rate * (now - self._from)
        rest = self._until - now
        if missing <= 0 or rest <= _ROUNDING:
            return 0.0
        return min(rest, missing / self._rate) if self._rate else rest

    def take(self, amount: float) -> None:
        """Subtract `amount`."""
        self._left -= amount
