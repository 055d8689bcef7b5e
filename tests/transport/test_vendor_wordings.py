"""What vendors put into words only: full context windows, spent quotas, waits, and the model's own slips."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rxllm._transport.vendor_errors import fault_of, status_error, stream_error
from rxllm.errors import (
    AuthenticationError,
    BadRequestError,
    ContextWindowExceededError,
    OutputParsingError,
    OverloadedError,
    PermissionDeniedError,
    ProviderStreamError,
    RateLimitError,
    ToolArgumentsError,
)


def answered(status: int, body: Any) -> Any:
    return status_error(status, {}, json.dumps(body).encode(), now=0)


@pytest.mark.parametrize(
    "message",
    [
        "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
        "Your input exceeds the context window of this model.",
        "Input tokens exceed the configured limit of 272000 tokens.",
        "The prompt is too large for this model.",
        "Token limit exceeded",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_full_context_window(message: str) -> None:
    """Of servers on hubs as well."""
    assert isinstance(answered(400, {"error": {"message": message}}), ContextWindowExceededError)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Selected model is at capacity. Please try a different model.", "type": "invalid_request_error"},
        {"message": "Our servers are currently overloaded. Please try again later."},
        "Model service overloaded. Please try again later.",
        "The model is over capacity",
    ],
)
def test_an_overload_in_words(error: Any) -> None:
    """Also where the type says that the request is wrong: https://github.com/Wei-Shaw/sub2api/issues/5111."""
    fault = fault_of({"error": error})
    assert fault is not None
    found = stream_error(fault)
    assert isinstance(found, OverloadedError)
    assert found.transient
    assert isinstance(answered(400, {"error": {"message": "The operator is overloaded."}}), BadRequestError)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "Your account is suspended.", "type": "exceeded_current_quota_error"}),
        (429, {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}),
        (429, {"message": "You exceeded your current quota, please check your plan and billing details."}),
        (429, {"message": "Monthly limit reached"}),
    ],
)
def test_a_spent_quota_is_not_transient(status: int, error: Any) -> None:
    """No wait brings money."""
    found = answered(status, {"error": error})
    assert isinstance(found, RateLimitError)
    assert not found.transient


def test_a_quota_that_comes_back_is_transient() -> None:
    """Gemini words its limits a minute as a quota too, and says when to come again."""
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]
    found = answered(429, [{"error": {"message": "You exceeded your current quota.", "details": details}}])
    assert (found.transient, found.retry_after) == (True, 34.4)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"message": "Rate limit reached. Please try again in 6.379s."}, 6.379),
        ({"message": "Please wait 38 seconds before retrying."}, 38),
        ({"message": "Please try again in 1m30s."}, 90),
        ({"message": "Try again in 250ms."}, 0.25),
        ({"message": "Please retry after 20 seconds."}, 20),
        ({"message": "Retry in 2 minutes"}, 120),
        ({"message": "limit", "type": "usage_limit_reached", "resets_in_seconds": 5400}, 5400),
        ({"message": "limit", "resets_in_seconds": 1e12}, 7 * 86_400),
        ({"message": "Try again later."}, None),
        ({"message": "You sent 30 requests; the model gpt-5 waits."}, None),
    ],
)
def test_a_wait_in_a_body(error: Any, seconds: float | None) -> None:
    """In a field or a sentence, of an HTTP error and of one inside a stream."""
    assert answered(429, {"error": error}).retry_after == seconds
    fault = fault_of({"error": {**error, "code": "rate_limit_exceeded"}})
    assert fault is not None
    assert stream_error(fault).retry_after == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process can be set on POSIX only")
@pytest.mark.parametrize(
    "date", ["Fri, 15 Jan 2027 08:00:30 GMT", "Friday, 15-Jan-27 08:00:30 GMT", "Fri Jan 15 08:00:30 2027"]
)
def test_a_wait_until_a_date(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the three forms that HTTP has for dates, all of which are in UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        waits = status_error(429, {"retry-after": date}, b"", now=1_800_000_000.0)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert waits.retry_after == 30.0


def test_the_models_own_slips() -> None:
    """Asked again, the model may do better; the request was right."""
    groq = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "x"}
    found = answered(400, {"error": groq})
    assert isinstance(found, ToolArgumentsError)
    assert found.status_code == 400
    parsing = answered(400, {"error": {**groq, "code": "json_validate_failed"}})
    assert isinstance(parsing, OutputParsingError)
    assert parsing.text == "x"
    llama_cpp = {"error": {"code": 500, "message": "Failed to parse input at pos 9: <tool", "type": "server_error"}}
    for words in ({"error": groq}, {"error": "error parsing tool call: raw='1/2'"}, llama_cpp):
        fault = fault_of(words)
        assert fault is not None
        assert isinstance(stream_error(fault), ToolArgumentsError)


def test_where_to_sign_in() -> None:
    """Ollama names the page beside the error."""
    found = answered(401, {"error": "unauthorized", "signin_url": "https://ollama.com/connect?key=abc"})
    assert isinstance(found, AuthenticationError)
    assert "sign in at https://ollama.com/connect" in str(found)


@pytest.mark.parametrize(
    "payload",
    [
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        {"Error": {"Message": "insufficient balance"}},
        {"err": "insufficient balance"},
        {"errorMessage": "insufficient balance"},
    ],
)
def test_errors_under_odd_keys(payload: Any) -> None:
    """Their words are in the message."""
    fault = fault_of(payload)
    assert fault is not None
    assert "insufficient balance" in str(stream_error(fault))


def test_a_success_is_no_error() -> None:
    """MiniMax says 0 with every chunk."""
    assert fault_of({"base_resp": {"status_code": 0, "status_msg": ""}}) is None


def test_a_broken_upstream_is_transient() -> None:
    """The server behind the server was lost: https://github.com/ollama/ollama-js/issues/285."""
    fault = fault_of({"error": 'Post "https://ollama.com:443/api/chat": unexpected EOF'})
    assert fault is not None
    found = stream_error(fault)
    assert isinstance(found, ProviderStreamError)
    assert found.transient
    assert not isinstance(found, PermissionDeniedError)
