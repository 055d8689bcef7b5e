"""What clients may send and set: a list. Everything else is refused with its name, on every way in."""

from __future__ import annotations

import base64

import pytest
import requests

from rxllm.messages import AudioPart, DocumentPart, TextPart, ToolResult
from rxllm.testing import LLMServer, ScriptedModel
from rxllm.web import Service

from .running import running

BYTES = base64.b64encode(b"abc").decode()
VENDOR = {"type": "vendor", "provider": "openai", "data": {"type": "input_file", "file_id": "file-1"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}

HELLO = [{"role": "user", "content": "Hi"}]


def said(*parts: object, role: str = "user") -> list[dict[str, object]]:
    return [{"role": role, "content": list(parts)}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": [{"role": "user", "parts": [VENDOR]}]}),
        ("/api/chat", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "x", "vendor": {"a": 1}}]}]}),
        ("/v1/chat/completions", {"messages": said(VENDOR)}),
        ("/v1/chat/completions", {"messages": said({"type": "file", "file": {"file_id": "file-1"}})}),
        ("/v1/responses", {"input": said({"type": "input_file", "file_id": "file-1"})}),
        ("/v1/messages", {"max_tokens": 1, "messages": said({"type": "document", "source": {"type": "file"}})}),
    ],
)
def test_vendor_parts_and_file_ids_are_refused(url: str, llm: LLMServer, path: str, body: dict[str, object]) -> None:
    """They would reach what other users of the server's key have stored at the vendor."""
    response = requests.post(url + path, json=body, timeout=60)
    assert (400, []) == (response.status_code, llm.requests), response.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": [{"role": ["user"], "content": "Hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": {}, "content": "Hi"}]}),
        ("/v1/responses", {"input": [{"role": [], "content": "Hi"}]}),
        ("/v1/messages", {"max_tokens": 1, "messages": HELLO, "tool_choice": {"type": ["auto"]}}),
        ("/v1/messages", {"max_tokens": 1, "messages": HELLO, "tool_choice": {"type": "maybe"}}),
    ],
)
def test_words_of_a_wrong_type_are_a_clients_error(
    url: str, llm: LLMServer, path: str, body: dict[str, object]
) -> None:
    """Not a failure of the server."""
    response = requests.post(url + path, json=body, timeout=60)
    assert (400, []) == (response.status_code, llm.requests), response.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("parallel_tool_calls", False),
        ("modalities", ["audio"]),
        ("logit_bias", {"1": 5}),
        ("functions", [{"name": "f"}]),
        ("max_tokens", -1),
        ("reasoning_effort", "a lot"),
        ("api_base", "http://evil.example"),
    ],
)
def test_parameters_are_refused_by_name(url: str, llm: LLMServer, name: str, value: object) -> None:
    """Never ignored in silence."""
    body = {"messages": [{"role": "user", "content": "Hi"}], name: value}
    response = requests.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert (400, []) == (response.status_code, llm.requests)
    assert name in response.json()["error"]["message"]


def test_parameters_that_change_nothing_are_taken(url: str, llm: LLMServer) -> None:
    """And the one that does is honoured."""
    llm.enqueue("Hello")
    body = {"messages": [{"role": "user", "content": "Hi"}], "n": 1, "logprobs": False, "parallel_tool_calls": True}
    body |= {"reasoning_effort": "low"}
    assert 200 == requests.post(f"{url}/v1/chat/completions", json=body, timeout=60).status_code
    assert "low" == llm.requests[0].json["reasoning_effort"]


def test_the_standard_parts_are_read() -> None:
    """Audio, files, refusals, and the parts of a tool's result."""
    messages = [
        *said(
            {"type": "input_audio", "input_audio": {"data": BYTES, "format": "wav"}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{BYTES}", "filename": "a.pdf"}},
        ),
        {**said({"type": "refusal", "refusal": "No."}, role="assistant")[0], "tool_calls": [CALL]},
        {**said({"type": "text", "text": "4"}, {"type": "text", "text": "2"}, role="tool")[0], "tool_call_id": "c1"},
    ]
    model = ScriptedModel(default="ok")
    with running(Service({"m": model})) as url:
        response = requests.post(f"{url}/v1/chat/completions", json={"messages": messages}, timeout=60)
    assert 200 == response.status_code, response.text
    user, assistant, tool = model.calls[0].messages
    assert AudioPart(data=b"abc", media_type="audio/wav") == user.parts[0]
    assert DocumentPart(data=b"abc", media_type="application/pdf", name="a.pdf") == user.parts[1]
    assert TextPart("No.") == assistant.parts[0]
    assert [("c1", "42")] == [(part.id, part.content) for part in tool.parts if isinstance(part, ToolResult)]
