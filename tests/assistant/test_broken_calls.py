"""A call whose arguments are not JSON: the model gets an error as its result, and answers again."""

from __future__ import annotations

import json

import pytest

import rxllm
from rxllm import ToolCall, Usage
from rxllm.assistant import AnswerRejected, Assistant, Memory, StepEnd, StepStart
from rxllm.testing import LLMServer, RawReply, Reply

from .turns import add, is_consistent, model_on

BROKEN = '{"a": 1,, "b": 2}'


def openai() -> bytes:
    """A whole Chat Completions stream: some text, and a call that is no JSON."""
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": BROKEN}}
    choices: list[dict[str, object]] = [
        {"index": 0, "delta": {"role": "assistant", "content": "Let me add."}},
        {"index": 0, "delta": {"tool_calls": [call]}},
        {"index": 0, "delta": {}, "finish_reason": "tool_calls"},
    ]
    payloads = [{"id": "1", "model": "m", "choices": [choice]} for choice in choices]
    usage = {"id": "1", "model": "m", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    return b"".join(b"data: %b\n\n" % json.dumps(p).encode() for p in [*payloads, usage]) + b"data: [DONE]\n\n"


def anthropic() -> bytes:
    """The same over Messages."""
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    text, tool = {"type": "text", "text": ""}, {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 10, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me add."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": BROKEN}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), json.dumps(e).encode()) for e in events)


STREAMS = {"openai": openai(), "anthropic": anthropic()}


@pytest.mark.parametrize("provider", STREAMS)
def test_it_is_asked_for_again(provider: str) -> None:
    """The turn goes on; what was broken is seen, counted, and not remembered."""
    good = Reply(tool_calls=[ToolCall("c1", "add", {"a": 1, "b": 2})], usage=Usage(20, 5, 25))
    memory = Memory()
    with (
        LLMServer(RawReply(STREAMS[provider]), good, Reply("3", usage=Usage(30, 1, 31))) as server,
        model_on(server, provider) as model,
    ):
        events = list(rxllm.iter_events(Assistant(model, tools=[add], memory=memory).stream("1 + 2?")))
        second = server.requests[1].json["messages"]
    steps = [type(event).__name__ for event in events if isinstance(event, StepStart | StepEnd | AnswerRejected)]
    assert ["StepStart", "AnswerRejected", "StepStart", "StepEnd", "StepStart", "StepEnd"] == steps
    (rejected,) = [event for event in events if isinstance(event, AnswerRejected)]
    assert ("Let me add.", True) == (rejected.text, "'add'" in rejected.reason)
    assert ["user", "assistant", "user"] == [message["role"] for message in second]
    assert "not a JSON object" in str(second[-1])
    last = events[-1]
    assert isinstance(last, rxllm.StreamEnd)
    assert ("3", 60, 11) == (last.response.text, last.response.usage.input_tokens, last.response.usage.output_tokens)
    assert ["user", "assistant", "tool", "assistant"] == [message.role for message in memory.messages()]
    assert is_consistent(memory.messages())


def test_a_model_that_never_gets_it_right() -> None:
    """Fails the turn, after two more tries, with an error of its own and all that was spent."""
    with LLMServer(default=RawReply(STREAMS["openai"])) as server, model_on(server) as model:
        with pytest.raises(rxllm.ToolArgumentsError, match="add") as caught:
            Assistant(model, tools=[add]).chat("1 + 2?")
        assert 3 == len(server.requests)
    assert isinstance(caught.value, rxllm.ProtocolError)
    assert caught.value.partial is not None
    assert ("Let me add.", 30, 15) == (
        caught.value.partial.text,
        caught.value.partial.usage.input_tokens,
        caught.value.partial.usage.output_tokens,
    )


def test_as_often_as_is_asked_for() -> None:
    """max_corrections=0 is none."""
    with LLMServer(default=RawReply(STREAMS["openai"])) as server, model_on(server) as model:
        with pytest.raises(rxllm.ToolArgumentsError):
            list(rxllm.iter_events(Assistant(model, tools=[add]).stream("1 + 2?", max_corrections=0)))
        assert 1 == len(server.requests)
