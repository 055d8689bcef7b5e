"""Errors: one tree, facts as attributes, safe to pickle, and what vendors say ends in the right class."""

from __future__ import annotations

import json
import pickle

import pytest

from rxllm import errors
from rxllm._transport.rate_limit_headers import MAX_RETRY_AFTER, retry_after
from rxllm._transport.vendor_errors import Fault, fault_of, status_error, stream_error
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
            500,
            b'{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}',
            OverloadedError,
            True,
        ),
        (
            400,
            b'{"error":{"code":400,"message":"request (9 tokens) exceeds the available context size (8 tokens)",'
            b'"type":"exceed_context_size_error"}}',
            ContextWindowExceededError,
            False,
        ),
        (
            500,
            b'{"error":{"code":500,"message":"image input is not supported - hint: mmproj","type":"server_error"}}',
            BadRequestError,
            False,
        ),
        (
            400,
            b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}',
            ContextWindowExceededError,
            False,
        ),
        (400, b'[{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}]', BadRequestError, False),
        (400, b'{"error": {"message": "x", "details": [{"reason": "API_KEY_INVALID"}]}}', AuthenticationError, False),
        (400, b'{"error": "Incorrect API key provided: xa***"}', AuthenticationError, False),
        (400, b'{"error": {"message": "Your credit balance is too low"}}', PermissionDeniedError, False),
        (413, b'{"error": {"message": "Request too large for m", "type": "tokens"}}', RateLimitError, False),
        (401, b'{"error": {"message": "no key"}}', AuthenticationError, False),
        (402, b"", PermissionDeniedError, False),
        (403, b'{"error": {"message": "no", "type": "permission_error"}}', PermissionDeniedError, False),
        (404, b'{"error": "model \'x\' not found"}', NotFoundError, False),
        (408, b"", APIStatusError, True),
        (418, b"short and stout", APIStatusError, False),
        (422, b'{"detail": [{"msg": "field required"}]}', BadRequestError, False),
        (429, b'{"error": {"message": "slow", "type": "rate_limit_error"}}', RateLimitError, True),
        (429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}', RateLimitError, False),
        (429, b'{"error": {"message": "Request too large for m", "type": "tokens"}}', RateLimitError, False),
        (429, b'{"message": "Too many tokens, please wait before trying again."}', RateLimitError, True),
        (498, b'{"error": {"message": "full", "type": "capacity_exceeded"}}', OverloadedError, True),
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


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "Your input exceeds the context window of this model.",
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        "Unable to submit request because the input token count is 2097153 but model only supports up to 1048576.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "prompt token count of 132000 exceeds the limit of 128000",
        "Invalid request: Your request exceeded model token limit: 8192",
        "Please reduce the length of the messages or completion.",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
        "Prompt exceeds max length",
        "Range of input length should be [1, 30720]",
        "Input is too long for requested model.",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081",
        "litellm.ContextWindowExceededError: litellm.BadRequestError",
    ],
)
def test_a_full_context_window_is_known_in_every_vendors_words(message: str) -> None:
    """As an HTTP status and inside a stream, by the message alone."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    assert type(status_error(400, {}, body.encode(), 0.0)) is ContextWindowExceededError
    assert type(stream_error(Fault(message, ("invalid_request_error",)))) is ContextWindowExceededError


def test_a_limit_of_tokens_a_minute_is_no_full_context_window() -> None:
    """Vendors word them alike: where the kind of error is told, it is believed."""
    fault = Fault("Too many tokens, please wait before trying again.", ("rate_limit_error",))
    assert type(stream_error(fault)) is RateLimitError


def test_the_vendors_words_are_in_the_message() -> None:
    """The message says what the server said, markup removed, and what to do."""
    page = b"<html><style>p{margin:0}</style><script>\nlet a = 1;</script><p>Not here</p></html>"
    assert str(status_error(502, {}, page, 0.0)) == "HTTP 502: Not here"
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
    ("headers", "details", "seconds"),
    [
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}], 34.4),
        ({"retry-after": "2"}, [{"retryDelay": "34.4s"}], 2.0),
        ({}, [{"retryDelay": "soon"}, {"retryDelay": [3]}, None], None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"}, [], 62.5),
        ({"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "6ms"}, [], None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1741305600000"}, [], 10.0),
        ({"x-ratelimit-remaining": "0"}, [], None),
        (
            {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "9999-12-31"},
            [],
            3600.0,
        ),
    ],
)
def test_a_wait_is_read_wherever_it_stands(
    headers: dict[str, str], details: list[object], seconds: float | None
) -> None:
    """In Google's details, or in the reset of a limit of which nothing is left; a header goes first."""
    body = json.dumps({"error": {"message": "slow", "details": details}}).encode()
    assert status_error(429, headers, body, now=1741305590.0).retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"error": {"message": "prompt is too long"}}',
        b'event: error\ndata: {"type": "error", "error": {"message": "prompt is too long"}}\n\n',
        b'{"error": "prompt is too long"}\n{"error": "again"}\n',
    ],
)
def test_an_error_told_as_a_stream_is_read(body: bytes) -> None:
    """A server may answer with an error status in the form it was asked for; and begin with a byte order mark."""
    error = status_error(400, {}, body, 0.0)
    assert type(error) is ContextWindowExceededError
    assert str(error) == "HTTP 400: prompt is too long"


def test_only_a_rate_limit_waits_for_a_reset() -> None:
    """With other errors, the limits that are told are no advice."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}
    assert status_error(500, headers, b"", now=0.0).retry_after is None


def test_the_error_behind_a_gateways_error_is_told() -> None:
    """Its own words, "Provider returned error", help nobody."""
    metadata = {"raw": "prompt is too long: 9 > 8", "retry_after_seconds": 2}
    error = {"message": "Provider returned error", "code": 400, "metadata": metadata}
    told = status_error(400, {}, json.dumps({"error": error}).encode(), 0.0)
    assert type(told) is ContextWindowExceededError
    assert "Provider returned error: prompt is too long: 9 > 8" in str(told)
    assert told.retry_after == 2.0


@pytest.mark.parametrize(
    ("payload", "kind", "transient"),
    [
        ({"error": {"message": "busy", "type": "overloaded_error"}}, OverloadedError, True),
        ({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, RateLimitError, True),
        ({"error": {"message": "oops", "type": "server_error"}}, ProviderStreamError, True),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, ProviderStreamError, False),
        ({"error": "plain words"}, ProviderStreamError, False),
        ({"error": {"message": "gone", "code": 408}}, ProviderStreamError, True),
        ({"error": "Model is overloaded", "error_type": "overloaded"}, OverloadedError, True),
        ({"error": {"message": "x", "metadata": {"error_type": "rate_limit_exceeded"}}}, RateLimitError, True),
        ({"error": {"message": "busy", "code": "server_is_overloaded"}}, OverloadedError, True),
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


def test_the_request_id_is_read_from_the_payload_too() -> None:
    """Anthropic tells it with an error in the stream, where there is no header for it."""
    payload = {"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": "req_1"}
    fault = fault_of(payload)
    assert fault is not None
    assert stream_error(fault).request_id == "req_1"
    assert status_error(500, {}, json.dumps(payload).encode(), 0.0).request_id == "req_1"
    assert status_error(500, {"request-id": "req_2"}, json.dumps(payload).encode(), 0.0).request_id == "req_2"
