"""How long a server asks to wait, and what it says is left of its limits, in the headers of many vendors. Pure.

Times are in seconds; `now` is in seconds since the epoch, for headers that give a point in time. Header names are in
lower case.
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
    """Return the seconds in `retry-after-ms` or `retry-after` (seconds or a date), at most `MAX_RETRY_AFTER`."""
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
    """Return the seconds until no limit is used up any more, at most `MAX_RETRY_AFTER`; None if the headers do not say.

    Vendors send a reset with every answer: only that of a limit with nothing left says how long to wait. A limit
    without a reset whose name has a period ("tokens-minute") is taken to last for that period.

    >>> until_reset({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, now=0)
    360.0
    """
    waits = [
        reset
        for what, values in _limits_in(headers).items()
        if _number(values.get("remaining")) == 0 and (reset := _reset(what, values, now)) is not None
    ]
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
    for what, values in _limits_in(headers).items():
        left = _number(values.get("remaining"))
        if left is not None:
            kind: Kind = "tokens" if "tokens" in what else "requests"
            reset = _reset(what, values, now)
            allowed[what] = Allowance(
                kind, left, _number(values.get("limit")), MINUTE if reset is None else _bounded(reset)
            )
    return allowed


_NAME = re.compile(r"(?:x-|anthropic-)?ratelimit(bysize)?-(.+)")
_MEASURES = ("limit", "remaining", "reset")
_PERIODS = {"second": 1.0, "minute": MINUTE, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_SUBJECTS = frozenset({"requests", "req", "tokens", "input", "output", *_PERIODS})
_ITEM = re.compile(r'"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*[^;,]*)*)')
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([^;,\s]+)")
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


def _reset(what: str, values: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until a limit is whole again: by its reset, else by the period in its name."""
    reset = _seconds_until(values.get("reset"), now)
    return reset if reset is not None else next((_PERIODS[word] for word in what.split("-") if word in _PERIODS), None)


def _limits_in(headers: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the measures of each limit in the headers."""
    limits: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if name == "ratelimit":
            limits |= _ietf_limits(value, headers.get("ratelimit-policy", ""))
        elif "ratelimit" in name:
            measure, what = _meaning(name)
            if what is not None:
                limits.setdefault(what, {})[measure] = value
    return limits


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


def _meaning(name: str) -> tuple[str, str | None]:
    """Return the measure in a header's name and what it measures; None if that is unknown."""
    match = _NAME.fullmatch(name)
    words = match[2].split("-") if match else []
    measure = next((word for word in words if word in _MEASURES), None)
    what = ["requests" if word == "req" else word for word in words if word != measure]
    if match is not None and match[1]:
        what = ["tokens", *what]
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
    """Return the seconds in a reset; None if it says nothing."""
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
