"""How long a server asks to wait, and how much it says is left: in headers of many dialects. Pure.

Times are in seconds; `now` is in seconds since the epoch, for what is told as a moment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["requests", "tokens"]

MINUTE = 60.0
MAX_RETRY_AFTER = 3600.0
"""Seconds; a server that asks for more is taken to ask for this."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or a date), at most `MAX_RETRY_AFTER`."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and (seconds := _seconds(milliseconds)) is not None:
        return min(seconds / 1000, MAX_RETRY_AFTER)
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return _bounded(seconds)


def until_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until no limit is used up any more, by x-ratelimit-reset-* and the like, at most `MAX_RETRY_AFTER`.

    Vendors send a reset with every answer: only that of a limit of which nothing is left says how long to wait.

    >>> until_reset({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, now=0)
    360.0
    """
    waits = [
        reset
        for values in _limits_told(headers).values()
        if _number(values.get("remaining")) == 0 and (reset := _seconds_until(values.get("reset"), now)) is not None
    ]
    return _bounded(max(waits)) if waits else None


class Allowance(NamedTuple):
    """What a vendor says is left, and that all of `limit` will be there again `reset` seconds later."""

    kind: Kind
    left: float
    limit: float | None
    reset: float


def allowances_of(headers: Mapping[str, str], now: float) -> dict[str, Allowance]:
    """What an answer's headers (names in lower case) allow; `now` is in seconds since the epoch.

    Knows x-ratelimit-{limit,remaining,reset}-{requests,tokens} (OpenAI, Groq, Mistral, Cerebras and
    many more), anthropic-ratelimit-{requests,tokens,...}-{limit,remaining,reset}, and the plain
    x-ratelimit-{limit,remaining,reset}. Resets are durations ("6m0s", "20ms"), seconds, or times
    (RFC 3339, or the epoch's seconds or milliseconds); none longer than an hour is believed.

    >>> allowances_of({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, now=0)
    {'requests': Allowance(kind='requests', left=0.0, limit=None, reset=90.0)}
    """
    allowed: dict[str, Allowance] = {}
    for what, values in _limits_told(headers).items():
        left = _number(values.get("remaining"))
        if left is not None:
            kind: Kind = "tokens" if "tokens" in what else "requests"
            reset = _seconds_until(values.get("reset"), now)
            allowed[what] = Allowance(
                kind, left, _number(values.get("limit")), MINUTE if reset is None else _bounded(reset)
            )
    return allowed


_NAME = re.compile(r"(?:x-|anthropic-)?ratelimit-(.+)")
_MEASURES = ("limit", "remaining", "reset")
_SUBJECTS = frozenset({"requests", "tokens", "input", "output", "minute", "hour", "day", "second"})
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) or value < 0 else value


def _limits_told(headers: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The measures of each limit, as they are told."""
    told: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit-" in name:
            measure, what = _meaning(name)
            if what is not None:
                told.setdefault(what, {})[measure] = value
    return told


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


def _seconds_until(text: str | None, now: float) -> float | None:
    """The seconds that a reset says; None where it says nothing."""
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
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
