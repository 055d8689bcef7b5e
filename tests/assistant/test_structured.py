"""Structured answers: the vendor's mode, a tool or a prompt; partial values; asking again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import rxllm
from rxllm import ToolCall
from rxllm.assistant import AnswerRejected, Assistant, Memory, PartialAnswer, StructuredAnswer, StructuredMode
from rxllm.errors import OutputParsingError
from rxllm.testing import LLMServer, Reply, ScriptedModel

from .turns import PROVIDERS, add, model_on


@dataclass
class Person:
    """Who it is about."""

    name: str
    age: int = 0


ADA = '{"name": "Ada", "age": 36}'
ANSWERS: dict[StructuredMode, Reply] = {
    "schema": Reply(pieces=['{"name": "A', 'da", "age', '": 36}']),
    "tool": Reply(tool_calls=[ToolCall("1", "give_answer", {"name": "Ada", "age": 36})]),
    "prompt": Reply(pieces=["Here:\n```json\n", '{"name": "Ada', '", "age": 36}', "\n```"]),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_schema_mode(provider: str) -> None:
    """And it is used unasked."""
    with LLMServer(ADA) as server, model_on(server, provider) as model:
        assert Person("Ada", 36) == Assistant(model).chat("Who?", response_type=Person)
        assert '"name"' in server.requests[0].body.decode()
        assert "give_answer" not in server.requests[0].body.decode()


@pytest.mark.parametrize("mode", list(ANSWERS))
def test_partial_answers_grow_to_the_whole(mode: StructuredMode) -> None:
    """In every mode; the memory keeps a plain conversation."""
    memory = Memory()
    turn = Assistant(ScriptedModel(ANSWERS[mode]), memory=memory).stream(
        "Who?", response_type=Person, structured_mode=mode
    )
    events = list(rxllm.iter_events(turn))
    partial = [event.value for event in events if isinstance(event, PartialAnswer)]
    assert Person("Ada", 36) == partial[-1]
    assert len(partial) > 1
    assert [StructuredAnswer(Person("Ada", 36))] == [event for event in events if isinstance(event, StructuredAnswer)]
    assert ["user", "assistant"] == [message.role for message in memory.messages()]
    assert () == memory.messages()[1].tool_calls


def test_a_wire_without_schemas_is_given_a_tool() -> None:
    """Known before anything is sent."""
    with LLMServer(ANSWERS["tool"]) as server:
        model = rxllm.create_streaming_model("deepseek", api_key="k", base_url=server.base_url())
        assert Person("Ada", 36) == Assistant(model).chat("Who?", response_type=Person)
        assert "give_answer" in server.requests[0].body.decode()


def test_tools_come_before_the_answer() -> None:
    """The answer's tool is one among others; it alone ends the turn."""
    calls = [ToolCall("1", "add", {"a": 30, "b": 6})]
    model = ScriptedModel(Reply(tool_calls=calls), ANSWERS["tool"])
    assistant = Assistant(model, tools=[add])
    assert Person("Ada", 36) == assistant.chat("Who?", response_type=Person, structured_mode="tool")
    assert ["required", "required"] == [call.options.get("tool_choice") for call in model.calls]


@pytest.mark.parametrize("mode", ["schema", "tool"])
def test_an_invalid_answer_is_asked_for_again(mode: StructuredMode) -> None:
    """The model is told what is wrong; only the good answer is kept."""
    bad = Reply('{"name": 7}') if mode == "schema" else Reply(tool_calls=[ToolCall("0", "give_answer", {"name": 7})])
    memory, model = Memory(), ScriptedModel(bad, ANSWERS[mode])
    turn = Assistant(model, memory=memory).stream("Who?", response_type=Person, structured_mode=mode)
    events = list(rxllm.iter_events(turn))
    (rejected,) = [event for event in events if isinstance(event, AnswerRejected)]
    assert '{"name":7}' == rejected.text.replace(" ", "")
    last = model.calls[1].messages[-1]
    said = last.text or next(part.content for part in last.parts if isinstance(part, rxllm.ToolResult))
    assert "Your answer is not valid" in said
    assert 2 == len(memory.messages())


@pytest.mark.parametrize("text", ["no JSON", "", '{"name": "A', '{"age": 1}'])
def test_a_model_that_never_gets_it_right(text: str) -> None:
    """An error that holds the text, after so many tries; nothing is kept."""
    memory, model = Memory(), ScriptedModel(default=Reply(text))
    with pytest.raises(OutputParsingError) as caught:
        Assistant(model, memory=memory).chat("Who?", response_type=Person, max_corrections=1)
    assert (text, 2, ()) == (caught.value.text, len(model.calls), memory.messages())


def test_a_type_that_json_cannot_hold_is_refused() -> None:
    """At once."""
    with pytest.raises(rxllm.ConfigurationError):
        Assistant(ScriptedModel()).stream("?", response_type=type(lambda: 1))
