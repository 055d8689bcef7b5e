"""A conversation goes on with another vendor: its calls keep their results, under ids that the vendor takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rxllm.messages import Message, ToolCall, ToolResult
from rxllm.options import Options
from rxllm.providers._conversation import with_results_behind_calls
from rxllm.providers.vendors import vendor_named, wire_for

LONG = "call_" + "x" * 70


def conversation(*ids: str) -> list[Message]:
    """An answer for each id, calling one tool whose result is the number of the call."""
    messages = [Message.user("?")]
    for at, name in enumerate(ids):
        messages += [Message.assistant(ToolCall(name, "add", {"at": at})), Message.tool(ToolResult(name, str(at)))]
    return messages


def sent(provider: str, messages: list[Message]) -> list[tuple[str, str]]:
    """The ids of calls and results in a request, as they come, each with what tells them apart."""
    wire = wire_for(vendor_named(provider), api_key="k", base_url="http://127.0.0.1:9/v1")
    body: dict[str, Any] = json.loads(wire.request(messages, "m", Options()).body)
    found: list[tuple[str, str]] = []
    for message in body.get("messages") or body["input"]:
        for call in message.get("tool_calls", []):
            found.append((call["id"], str(json.loads(call["function"]["arguments"])["at"])))
        if message.get("role") == "tool":
            found.append((message["tool_call_id"], message["content"]))
        if message.get("type") == "function_call":
            found.append((message["call_id"], str(json.loads(message["arguments"])["at"])))
        if message.get("type") == "function_call_output":
            found.append((message["call_id"], message["output"]))
        for block in message["content"] if isinstance(message.get("content"), list) else []:
            if block["type"] == "tool_use":
                found.append((block["id"], str(block["input"]["at"])))
            elif block["type"] == "tool_result":
                found.append((block["tool_use_id"], block["content"]))
    return found


@pytest.mark.parametrize(
    ("provider", "pattern"),
    [
        ("mistral", "[a-zA-Z0-9]{9}"),
        ("anthropic", "[a-zA-Z0-9_-]{1,64}"),
        ("openai", ".{1,40}"),
        ("azure", ".{1,40}"),
        ("openai-responses", ".{1,64}"),
        ("openrouter", ".+"),
    ],
)
def test_ids_of_other_vendors_fit(provider: str, pattern: str) -> None:
    """Whatever they were, and be they repeated: each call has an id of its own, and its result has the same."""
    found = sent(provider, conversation("functions.add:0", "call_0", "call_0", LONG, "", "gSIMJiOkT"))
    ids = [name for name, _ in found]
    assert all(re.fullmatch(pattern, name) for name in ids)
    assert ids[::2] == ids[1::2]
    assert 6 == len(set(ids))
    assert [number for _, number in found] == [str(at) for at in range(6) for _ in "12"]
    assert found == sent(provider, conversation("functions.add:0", "call_0", "call_0", LONG, "", "gSIMJiOkT"))
    assert "gSIMJiOkT" == ids[-1]


def test_ids_that_fit_stay() -> None:
    """The messages are the same; what is cached of them stays good."""
    messages = conversation("a", "b")
    assert messages == with_results_behind_calls(messages, call_ids=".+")
    assert [Message.user("?")] == with_results_behind_calls([Message.user("?")], call_ids="never")


def test_an_answer_that_repeats_an_id() -> None:
    """Results are matched in the order of the calls."""
    calls = [ToolCall("0", "add", {"at": at}) for at in range(2)]
    messages = [Message.assistant(*calls), Message.tool(ToolResult("0", "first"), ToolResult("0", "second"))]
    answer, results = with_results_behind_calls(messages, call_ids=".+")
    assert ["0", answer.tool_calls[1].id] == [part.id for part in results.parts if isinstance(part, ToolResult)]
    assert "0" != answer.tool_calls[1].id


def test_a_result_without_its_call() -> None:
    """Is sent as it is: its vendor says what is missing."""
    (message,) = with_results_behind_calls([Message.tool(ToolResult("lost", "?"))], call_ids=".+")
    assert Message.tool(ToolResult("lost", "?")) == message
