"""Endings of vendors that are no answer yet: a paused turn goes on, a malformed call is made again."""

from __future__ import annotations

import json
from typing import Any

import pytest

import rxllm
from rxllm.assistant import AnswerRejected, Assistant, MaxIterationsError, Memory
from rxllm.testing import LLMServer
from rxllm.testing.replies import RawReply

SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "bees"}}


def messages(*blocks: Any, stop: str) -> RawReply:
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "content": [], "usage": {}}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]
    return raw(*events)


def gemini(*parts: Any, finish: str) -> RawReply:
    return raw({"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}]})


def raw(*events: Any) -> RawReply:
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return RawReply(body.encode(), content_type="text/event-stream")


def text(words: str) -> Any:
    return {"type": "text", "text": words}


def test_a_paused_turn_goes_on() -> None:
    """What came is sent back as it came, and the answer is the end of it."""
    memory = Memory()
    paused = messages(text("I look."), SEARCH, stop="pause_turn")
    with LLMServer(paused, messages(text("Bees."), stop="end_turn")) as server:
        model = rxllm.create_streaming_model("anthropic", api_key="k", base_url=server.base_url("anthropic"))
        assert Assistant(model, memory=memory).chat("?").text == "Bees."
        sent = json.loads(server.requests[1].body)["messages"]
    assert sent[1] == {"role": "assistant", "content": [text("I look."), SEARCH]}
    assert [message.role for message in memory.messages()] == ["user", "assistant", "assistant"]


def test_a_turn_that_is_paused_for_ever_ends() -> None:
    """The bound is that of all steps."""
    with LLMServer(*[messages(SEARCH, stop="pause_turn")] * 3) as server:
        model = rxllm.create_streaming_model("anthropic", api_key="k", base_url=server.base_url("anthropic"))
        with pytest.raises(MaxIterationsError):
            Assistant(model, max_iterations=3).chat("?")


def test_a_malformed_call_is_made_again() -> None:
    """It is not run, though a part of it could be read."""
    broken = gemini({"functionCall": {"name": "add", "args": {"a": 1}}}, finish="MALFORMED_FUNCTION_CALL")
    with LLMServer(broken, gemini({"text": "3"}, finish="STOP")) as server:
        model = rxllm.create_streaming_model("gemini", api_key="k", base_url=server.base_url("gemini"))
        events = list(rxllm.iter_events(Assistant(model).stream("1 + 2?")))
    assert [type(event) for event in events if isinstance(event, AnswerRejected)] == [AnswerRejected]
    assert isinstance(events[-1], rxllm.StreamEnd)
    assert events[-1].response.text == "3"
