"""Vendors repeat the ids of calls; whoever knows a call by its id must not take one for another."""

from __future__ import annotations

import pytest
import reactivex as rx

import rxllm
from rxllm import ToolCall
from rxllm.assistant import Assistant, Memory, StepEnd, ToolEnd
from rxllm.testing import LLMServer, Reply, ScriptedModel

from .turns import add, is_consistent, model_on


def test_each_call_of_a_turn_has_an_id_of_its_own() -> None:
    """In its events, its requests and the memory; two of one answer, and those of later answers and turns."""
    again = [ToolCall("0", "add", {"a": 1, "b": 1}), ToolCall("0", "add", {"a": 2, "b": 2})]
    replies = [Reply(tool_calls=again), Reply(tool_calls=again[:1]), "done", Reply(tool_calls=again[:1]), "done"]
    memory, model = Memory(), ScriptedModel(*replies)
    assistant = Assistant(model, tools=[add], memory=memory)
    events = [*rxllm.iter_events(assistant.stream("?")), *rxllm.iter_events(assistant.stream("?"))]
    ids = ["0", "0_2", "0_3", "0_4"]
    assert ids == [event.id for event in events if isinstance(event, rxllm.ToolCallStart)]
    assert ids == [event.call.id for event in events if isinstance(event, rxllm.ToolCallEnd)]
    assert ids == [call.id for e in events if isinstance(e, StepEnd) for call in e.response.tool_calls]
    assert set(ids) == {event.call.id for event in events if isinstance(event, ToolEnd)}
    assert ids == [call.id for message in memory.messages() for call in message.tool_calls]
    assert is_consistent(memory.messages())
    results = [part.content for part in model.calls[1].messages[-1].parts if isinstance(part, rxllm.ToolResult)]
    assert ["2", "4"] == results


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_an_approval_is_not_taken_for_that_of_another_call(provider: str) -> None:
    """Where a vendor gives no ids, the first call of each answer is known by the same: the second is asked for too."""
    answers: dict[str, bool] = {}

    def approve(call: ToolCall) -> bool:
        return answers.setdefault(call.id, not answers)

    calls = [ToolCall("", "add", {"a": 1, "b": 1}), ToolCall("", "add", {"a": 6, "b": 6})]
    replies = (Reply(tool_calls=calls[:1]), Reply(tool_calls=calls[1:]), "done")
    with LLMServer(*replies) as server, model_on(server, provider) as model:
        events = list(rxllm.iter_events(Assistant(model, tools=[add], approve=approve).stream("?")))
    assert [True, False] == list(answers.values())
    assert [False, True] == [event.result.is_error for event in events if isinstance(event, ToolEnd)]


def test_an_answer_that_begins_again_keeps_its_ids() -> None:
    """A StreamReset voids the calls before it."""
    call = ToolCall("a", "add", {"a": 1, "b": 1})
    response = rxllm.Response(tool_calls=(call,), finish_reason="tool_calls", parts=(call,))
    start, end = rxllm.ToolCallStart(0, "a", "add"), rxllm.ToolCallEnd(0, call)
    source = rx.of(start, rxllm.StreamReset("again"), start, end, rxllm.StreamEnd(response))
    events = list(rxllm.iter_events(Assistant(ScriptedModel(source, "done"), tools=[add]).stream("?")))
    assert ["a", "a"] == [event.id for event in events if isinstance(event, rxllm.ToolCallStart)]
    assert ["a"] == [event.call.id for event in events if isinstance(event, ToolEnd)]
