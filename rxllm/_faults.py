"""A vendor's error, in any of its shapes, as the error of ours that it deserves.

Both HTTP error bodies and in-band errors go through here, so that one overload is the same
error wherever it is reported. Pure: no I/O, no clock but the one passed in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from ._json import decode, encode, is_array, is_object
from .errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContextWindowExceededError,
    LLMError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
)

MAX_RETRY_AFTER = 3600.0
"""Seconds; a server that asks for more is taken to ask for this."""

_MAX_MESSAGE = 2000

_BY_WORD: Mapping[str, type[APIStatusError]] = {
    "rate_limit_error": RateLimitError,
    "rate_limit_exceeded": RateLimitError,
    "too_many_requests": RateLimitError,
    "resource_exhausted": RateLimitError,
    "insufficient_quota": RateLimitError,
    "tokens": RateLimitError,
    "requests": RateLimitError,
    "429": RateLimitError,
    "overloaded_error": OverloadedError,
    "overloaded": OverloadedError,
    "unavailable": OverloadedError,
    "service_unavailable": OverloadedError,
    "engine_overloaded_error": OverloadedError,
    "503": OverloadedError,
    "529": OverloadedError,
    "authentication_error": AuthenticationError,
    "invalid_api_key": AuthenticationError,
    "unauthenticated": AuthenticationError,
    "401": AuthenticationError,
    "permission_error": PermissionDeniedError,
    "permission_denied": PermissionDeniedError,
    "billing_error": PermissionDeniedError,
    "402": PermissionDeniedError,
    "403": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "model_not_found": NotFoundError,
    "not_found": NotFoundError,
    "404": NotFoundError,
    "context_length_exceeded": ContextWindowExceededError,
    "exceed_context_size_error": ContextWindowExceededError,
    "request_too_large": BadRequestError,
    "string_above_max_length": ContextWindowExceededError,
}
_BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PermissionDeniedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: BadRequestError,
    422: BadRequestError,
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,
}
_TRANSIENT_WORDS = frozenset(
    {
        "server_error",
        "api_error",
        "internal_server_error",
        "internal_error",
        "internal",
        "timeout_error",
        "500",
        "502",
        "504",
    }
)
_CONTEXT = re.compile(
    r"context (length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
    r"|input is too long|exceeds? the (available )?(context|maximum number of tokens)",
    re.IGNORECASE,
)


class Fault(NamedTuple):
    """What a vendor said of an error: its message, and the words and codes that tell its kind."""

    message: str
    words: tuple[str, ...]


def fault_of(payload: object) -> Fault | None:
    """The error in a JSON payload, or None where it holds none.

    Knows {"error": {...}}, {"error": "text"}, {"errors": [...]}, {"detail": ...}, {"message": ...},
    {"type": "error", ...}, and a list of any of these.
    """
    if is_array(payload):
        return next((fault for fault in map(fault_of, payload) if fault), None)
    if not is_object(payload):
        return Fault(payload, ()) if isinstance(payload, str) and payload else None
    error = payload.get("error") or payload.get("errors")
    if isinstance(error, str):
        return Fault(error, _words(payload))
    if is_array(error):
        return fault_of(error)
    body = error if is_object(error) else payload
    message = body.get("message") or body.get("detail") or body.get("msg")
    if message is None and body is payload:
        return None
    if not isinstance(message, str):
        message = encode(message or body).decode()
    return Fault(message, _words(body))


def status_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> APIStatusError:
    """The error for an HTTP answer that is not 200.

    `headers` have lower-case names; `body` is as much as was read; `now` is the time in seconds
    since the epoch, for a Retry-After that is a date.
    """
    fault = _fault_of_body(body)
    message = f"HTTP {status}: {fault.message[:_MAX_MESSAGE]}" if fault.message else f"HTTP {status}"
    kind = _kind(fault, status)
    request_id = headers.get("x-request-id") or headers.get("request-id") or headers.get("x-goog-request-id")
    return kind(
        f"{message}{_ADVICE.get(kind, '')}",
        status_code=status,
        request_id=request_id,
        retry_after=retry_after(headers, now),
        transient=_transient(kind, fault, status),
    )


def stream_error(fault: Fault) -> LLMError:
    """The error for what a vendor reported inside a stream that began with HTTP 200."""
    kind = _by_words(fault)
    message = fault.message[:_MAX_MESSAGE] or "the provider reported an error without a message"
    if kind is None or kind is BadRequestError:
        return ProviderStreamError(message, transient=bool(_TRANSIENT_WORDS.intersection(fault.words)))
    return kind(message, transient=_transient(kind, fault, 0))


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
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, OverflowError):
            return None
    return min(seconds, MAX_RETRY_AFTER)


_ADVICE: Mapping[type[APIStatusError], str] = {
    AuthenticationError: " (check the API key)",
    NotFoundError: " (check the model name and base_url)",
}


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) or value < 0 else value


def _fault_of_body(body: bytes) -> Fault:
    try:
        fault = fault_of(decode(body))
    except (ValueError, RecursionError):
        fault = None
    if fault is not None:
        return fault
    text = " ".join(re.sub(rb"<[^>]*>", b" ", body[:_MAX_MESSAGE]).decode("utf-8", "replace").split())
    return Fault(text[:300], ())


def _words(body: Mapping[str, object]) -> tuple[str, ...]:
    values = (body.get(key) for key in ("code", "type", "status", "status_code", "reason"))
    return tuple(str(value).lower() for value in values if isinstance(value, str | int))


def _by_words(fault: Fault) -> type[APIStatusError] | None:
    if _CONTEXT.search(fault.message):
        return ContextWindowExceededError
    return next((_BY_WORD[word] for word in fault.words if word in _BY_WORD), None)


def _kind(fault: Fault, status: int) -> type[APIStatusError]:
    base = _BY_STATUS.get(status) or (ServerError if status >= 500 else APIStatusError)
    named = _by_words(fault)
    if named is None or base in (AuthenticationError, RateLimitError):
        return base
    # A vendor's word refines a status, it does not overrule it: a 4xx stays ours to mend.
    return named if issubclass(named, base) or status in (400, 403, 413, 422, 500) or base is APIStatusError else base


def _transient(kind: type[APIStatusError], fault: Fault, status: int) -> bool:
    if "insufficient_quota" in fault.words:
        return False
    return kind.transient or status in (408, 409, 425)
