"""Errors: one tree, facts as attributes, safe to pickle, and what vendors say ends in the right class."""

from __future__ import annotations

import pickle

import pytest

from rxllm import errors
from rxllm._faults import MAX_RETRY_AFTER, fault_of, retry_after, status_error, stream_error
from rxllm.errors import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ContextWindowExceededError,
    LLMError,
    NotFoundError,
    OutputParsingError,
    OverloadedError,
    PermissionDeniedError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
)
from rxllm.events import Response

OWN_FACTS: dict[type[LLMError], dict[str, object]] = {
    APITimeoutError: {"phase": "idle"},
    OutputParsingError: {"text": "{"},
}
ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LLMError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[LLMError]) -> None:
    """Errors cross process borders with all they say."""
    facts = OWN_FACTS.get(kind, {"status_code": 500, "retry_after": 1.5})
    error = kind("m", **facts)  # type: ignore[arg-type]  # each class its own
    error.partial = Response(text="so far")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert (type(copy), str(copy), vars(copy)) == (kind, "m", vars(error))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_tree_in_the_docstring_is_true(kind: type[LLMError]) -> None:
    """Every class is drawn."""
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("status", "body", "kind", "transient"),
    [
        (400, b'{"error": {"message": "bad", "type": "invalid_request_error"}}', BadRequestError, False),
        (400, b'{"error": {"message": "long", "code": "context_length_exceeded"}}', ContextWindowExceededError, False),
        (
            400,
            b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}',
            ContextWindowExceededError,
            False,
        ),
        (
            400,
            b'[{"error": {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT"}}]',
            BadRequestError,
            False,
        ),
        (401, b'{"error": {"message": "no key"}}', AuthenticationError, False),
        (402, b"", PermissionDeniedError, False),
        (403, b'{"error": {"message": "no", "type": "permission_error"}}', PermissionDeniedError, False),
        (404, b'{"error": "model \'x\' not found"}', NotFoundError, False),
        (408, b"", APIStatusError, True),
        (418, b"short and stout", APIStatusError, False),
        (422, b'{"detail": [{"msg": "field required"}]}', BadRequestError, False),
        (429, b'{"error": {"message": "slow", "type": "rate_limit_error"}}', RateLimitError, True),
        (429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}', RateLimitError, False),
        (500, b'["a", "list"]', ServerError, True),
        (502, b"<html><h1>Bad Gateway</h1></html>", ServerError, True),
        (503, b'{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}', OverloadedError, True),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', OverloadedError, True),
    ],
)
def test_a_status_becomes_its_error(status: int, body: bytes, kind: type[LLMError], transient: bool) -> None:
    """Status first, the vendor's words to refine it."""
    error = status_error(status, {"x-request-id": "r"}, body, 0.0)
    assert (type(error), error.status_code, error.transient, error.request_id) == (kind, status, transient, "r")


def test_the_vendors_words_are_in_the_message() -> None:
    """The message says what the server said, markup removed, and what to do."""
    assert "Bad Gateway" in str(status_error(502, {}, b"<html><h1>Bad Gateway</h1></html>", 0.0))
    assert "check the API key" in str(status_error(401, {}, b'{"error": {"message": "invalid"}}', 0.0))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "1e9"}, MAX_RETRY_AFTER),
        ({"retry-after": "inf"}, MAX_RETRY_AFTER),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1\x1b[31m"}, None),
    ],
)
def test_retry_after_is_read_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date; nonsense is ignored, excess is capped."""
    assert retry_after(headers, now=10.0) == seconds


@pytest.mark.parametrize(
    ("payload", "kind", "transient"),
    [
        ({"error": {"message": "busy", "type": "overloaded_error"}}, OverloadedError, True),
        ({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, RateLimitError, True),
        ({"error": {"message": "oops", "type": "server_error"}}, ProviderStreamError, True),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, ProviderStreamError, False),
        ({"error": "plain words"}, ProviderStreamError, False),
        ({"type": "error", "code": "server_error", "message": "flat"}, ProviderStreamError, True),
    ],
)
def test_an_error_in_the_stream_becomes_its_class(payload: object, kind: type[LLMError], transient: bool) -> None:
    """Rate limits and overloads are themselves wherever they are reported."""
    fault = fault_of(payload)
    assert fault is not None
    error = stream_error(fault)
    assert (type(error), error.transient) == (kind, transient)
    assert fault.message in str(error)
