"""How much may be asked for, and when: by our own count, and by what vendors say in their headers. Pure.

Times are in seconds on one clock, that of the caller.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias

from .._faults import MAX_RETRY_AFTER

Kind: TypeAlias = Literal["requests", "tokens"]

MINUTE = 60.0
_ROUNDING = 1e-6
"""Clocks that are datetimes tell microseconds."""


class Window:
    """What was taken in the last minute: never more than `limit` in any sixty seconds, or in any `span` of them.

    >>> window = Window(2)
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
        """Seconds until `amount` may be taken; more than the limit may be when nothing else is."""
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
        """Take `amount`; the number by which it may be corrected."""
        self._entries.append([now, amount])
        self._total += amount
        return self._first + len(self._entries) - 1

    def correct(self, number: int, now: float, amount: float) -> None:
        """It was `amount`, as is known now: less is given back, more counts from now on."""
        place = number - self._first
        taken = self._entries[place][1] if place >= 0 else 0.0
        if amount > taken:
            self.take(now, amount - taken)
        elif place >= 0:
            self._entries[place][1] = amount
            self._total += amount - taken

    def room(self, now: float) -> float:
        """How much may be taken now."""
        self._forget(now)
        return self.limit - self._total

    def give_back(self, number: int, amount: float) -> None:
        """So much of what was taken was not needed."""
        place = number - self._first
        if place >= 0:
            amount = min(amount, self._entries[place][1])
            self._entries[place][1] -= amount
            self._total -= amount

    def _forget(self, now: float) -> None:
        for entry in self._entries:
            if entry[0] <= now:
                break
            entry[0] = now  # the clock was set back
        while self._entries and now - self._entries[0][0] >= self._span - _ROUNDING:
            self._total -= self._entries.popleft()[1]
            self._first += 1


class Allowance(NamedTuple):
    """What a vendor says is left, and that all of `limit` will be there again `reset` seconds later."""

    kind: Kind
    left: float
    limit: float | None
    reset: float


class Allowed:
    """An `Allowance` as time goes on: it grows back evenly, or at once where the limit is not known."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.kind: Kind = allowance.kind
        self._left = allowance.left
        self._limit = allowance.limit
        self._from = now
        self._until = now + allowance.reset
        grows_by = (allowance.limit or 0.0) - allowance.left
        self._rate = grows_by / allowance.reset if grows_by > 0 and allowance.reset else 0.0

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` is left, at most until all is."""
        needed = amount if self._limit is None else min(amount, self._limit)
        missing = needed - self._left - self._rate * (now - self._from)
        rest = self._until - now
        if missing <= 0 or rest <= _ROUNDING:
            return 0.0
        return min(rest, missing / self._rate) if self._rate else rest

    def take(self, amount: float) -> None:
        """So much less is left."""
        self._left -= amount


def allowances_of(headers: Mapping[str, str], now: float) -> dict[str, Allowance]:
    """What an answer's headers (names in lower case) allow; `now` is in seconds since the epoch.

    Knows x-ratelimit-{limit,remaining,reset}-{requests,tokens} (OpenAI, Groq, Mistral, Cerebras and
    many more), anthropic-ratelimit-{requests,tokens,...}-{limit,remaining,reset}, and the plain
    x-ratelimit-{limit,remaining,reset}. Resets are durations ("6m0s", "20ms"), seconds, or times
    (RFC 3339, or the epoch's seconds or milliseconds); none longer than an hour is believed.

    >>> allowances_of({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, now=0)
    {'requests': Allowance(kind='requests', left=0.0, limit=None, reset=90.0)}
    """
    said: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit-" in name:
            measure, what = _meaning(name)
            if what is not None:
                said.setdefault(what, {})[measure] = value
    allowed: dict[str, Allowance] = {}
    for what, values in said.items():
        left = _number(values.get("remaining"))
        if left is not None:
            kind: Kind = "tokens" if "tokens" in what else "requests"
            reset = _seconds_until(values.get("reset"), now)
            allowed[what] = Allowance(kind, left, _number(values.get("limit")), min(max(reset, 0.0), MAX_RETRY_AFTER))
    return allowed


_NAME = re.compile(r"(?:x-|anthropic-)?ratelimit-(.+)")
_MEASURES = ("limit", "remaining", "reset")
_SUBJECTS = frozenset({"requests", "tokens", "input", "output", "minute", "hour", "day", "second"})
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12


def _meaning(name: str) -> tuple[str, str | None]:
    """Which measure a header gives, and of what; None where that is nothing we know."""
    match = _NAME.fullmatch(name)
    words = match[1].split("-") if match else []
    measure = next((word for word in words if word in _MEASURES), None)
    what = [word for word in words if word != measure]
    if measure is None or not _SUBJECTS.issuperset(what):
        return "", None
    return measure, "-".join(what) or "requests"


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds_until(text: str | None, now: float) -> float:
    """The seconds that a reset says; a minute where it says nothing."""
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_MILLISECONDS:
            return number / 1000 - now
        return number - now if number >= _EPOCH_SECONDS else number
    duration = _DURATION.fullmatch(text or "")
    if duration is not None and any(duration.groups()):
        hours, minutes, seconds, milliseconds = (float(value or 0) for value in duration.groups())
        return hours * 3600 + minutes * MINUTE + seconds + milliseconds / 1000
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return MINUTE
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
