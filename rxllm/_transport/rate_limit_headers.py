"""How long a server asks to wait, and what it says is left of its limits, in the headers of many vendors. Pure.

Times are in seconds; `now` is in seconds since the epoch, for headers that give a point in time. Header names are in
lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["requests", "tokens"]

MINUTE = 60.0
MAX_RETRY_AFTER = 3600.0
"""Seconds; a server that asks for more is taken to ask for this."""


DURATION = (
    r"(?:(\d+(?:\.\d+)?) ?h(?:ours?)?)?,? ?(?:(\d+(?:\.\d+)?) ?m(?:in(?:ute)?s?)?(?![a-z]))?,? ?"
    r"(?:(\d+(?:\.\d+)?) ?s(?:ec(?:ond)?s?)?(?![a-z]))?(?:(\d+(?:\.\d+)?) ?ms)?"
)
"""A regular expression; its four groups are for `duration_of`. Matches "6m0s", "20ms", "38 seconds", and ""."""


def duration_of(groups: Sequence[str | None]) -> float | None:
    """Return the seconds in hours, minutes, seconds and milliseconds; None if all are missing."""
    if not any(groups):
        return None
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in groups)
    return hours * 3600 + minutes * MINUTE + seconds + milliseconds / 1000


def number_of(text: str | None) -> float | None:
    """Return the number in `text`, at most 10^15; None if it is negative or not a number."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return min(number, 1e15) if number >= 0 else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds in `retry-after-ms` or `retry-after` (seconds or a date), at most `MAX_RETRY_AFTER`."""
    milliseconds = number_of(headers.get("retry-after-ms"))
    value = headers.get("retry-after", "")
    seconds = number_of(value) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        try:
            seconds = _seconds_to(parsedate_to_datetime(value), now)
        except (ValueError, OverflowError):
            return None
    return _bounded(seconds)


def until_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until no limit is used up any more, at most `MAX_RETRY_AFTER`; None if the headers do not say.

    Vendors send a reset with every answer: only that of a limit with nothing left says how long to wait. A limit
    without a reset whose name has a period ("tokens-minute") is taken to last for that period.

    >>> until_reset({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, now=0)
    360.0
    """
    limits = _limits_in(headers, now).values()
    waits = [reset for left, _, reset in limits if left == 0 and reset is not None]
    return _bounded(max(waits)) if waits else None


class Allowance(NamedTuple):
    """What a vendor says is left of a limit. After `reset` seconds all of `limit` is left again."""

    kind: Kind
    left: float
    limit: float | None
    reset: float


def allowances_of(headers: Mapping[str, str], now: float) -> dict[str, Allowance]:
    """Return what the headers of an answer allow, by the name of the limit.

    Known are x-ratelimit-{limit,remaining,reset}-{requests,tokens} (OpenAI, Groq, Cerebras and many more), also with a
    period (Mistral: tokens-minute, req-minute), ratelimitbysize-* (Mistral), anthropic-ratelimit-{requests,tokens,
    ...}-{limit,remaining,reset}, the plain x-ratelimit-{limit,remaining,reset}, and the RateLimit fields of the IETF
    drafts 00 to 11 (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/). Resets are durations
    ("6m0s", "20ms"), seconds, or times (RFC 3339, or seconds or milliseconds since the epoch), capped at one hour.

    >>> allowances_of({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, now=0)
    {'requests': Allowance(kind='requests', left=0.0, limit=None, reset=90.0)}
    """
    allowed: dict[str, Allowance] = {}
    for what, (left, limit, reset) in _limits_in(headers, now).items():
        kind: Kind = "tokens" if "tokens" in what else "requests"
        allowed[what] = Allowance(kind, left, limit, _bounded(MINUTE if reset is None else reset))
    return allowed


_NAME = re.compile(r"(?:x-|anthropic-)?ratelimit(bysize)?-(.+)")
_MEASURES = ("limit", "remaining", "reset")
_PERIODS = {"second": 1.0, "minute": MINUTE, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_SUBJECTS = frozenset({"requests", "tokens", "input", "output", *_PERIODS})
_ITEM = re.compile(r'"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*[^;,]*)*)')
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([^;,\s]+)")
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _limits_in(headers: Mapping[str, str], now: float) -> dict[str, tuple[float, float | None, float | None]]:
    """Return what is left of each limit, the whole limit, and the seconds until its reset, as far as known.

    The period in the name of a limit stands in for a reset.
    """
    limits: dict[str, tuple[float, float | None, float | None]] = {}
    for what, values in _measures_in(headers).items():
        left = number_of(values.get("remaining"))
        if left is not None:
            period = next((_PERIODS[word] for word in what.split("-") if word in _PERIODS), None)
            reset = _seconds_until(values.get("reset", ""), now)
            limits[what] = left, number_of(values.get("limit")), period if reset is None else reset
    return limits


def _measures_in(headers: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the texts of the measures of each limit: limit, remaining and reset."""
    measured: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if name == "ratelimit":
            measured |= _ietf_limits(value, headers.get("ratelimit-policy", ""))
        elif match := _NAME.fullmatch(name):
            words = match[2].replace("req-", "requests-").split("-")
            measures = [word for word in words if word in _MEASURES]
            what = [*(["tokens"] if match[1] else []), *(word for word in words if word not in _MEASURES)]
            if len(measures) == 1 and _SUBJECTS.issuperset(what):
                measured.setdefault("-".join(what) or "requests", {})[measures[0]] = value
    return measured


def _ietf_limits(field: str, policy: str) -> dict[str, dict[str, str]]:
    """Return the limits in a RateLimit field: `"name";r=0;t=30` (drafts 08 to 11) or `limit=, remaining=, reset=`."""
    items = _ITEM.findall(field)
    if not items:
        return {"requests": dict(_PARAMETER.findall(field))}
    quotas = {name: dict(_PARAMETER.findall(parameters)).get("q", "") for name, parameters in _ITEM.findall(policy)}
    limits: dict[str, dict[str, str]] = {}
    for name, parameters in items:
        values = dict(_PARAMETER.findall(parameters))
        limits[name] = {"remaining": values.get("r", ""), "reset": values.get("t", ""), "limit": quotas.get(name, "")}
    return limits


def _seconds_until(text: str, now: float) -> float | None:
    """Return the seconds in a reset; None if it says nothing."""
    number = number_of(text)
    if number is not None:
        if number >= _EPOCH_MILLISECONDS:
            return number / 1000 - now
        return number - now if number >= _EPOCH_SECONDS else number
    duration = re.fullmatch(DURATION, text)
    if duration is not None and text:
        return duration_of(duration.groups())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _seconds_to(moment, now)


def _seconds_to(moment: datetime, now: float) -> float:
    """Return the seconds until a moment. One without a time zone is in UTC, as all dates of HTTP are."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
