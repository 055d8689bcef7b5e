"""Turns that begin in the middle: from a whole conversation, with calls that have not run yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from rxllm import Message, ReasoningPart, ToolCall, ToolResult, iter_events
from rxllm.assistant import (
    ApprovalRequest,
    Assistant,
    FunctionTool,
    Memory,
    SQLiteStore,
    StepStart,
    ToolEnd,
    ToolStart,
    last_messages,
    last_tokens,
)
from rxllm.errors import ConfigurationError
from rxllm.testing import LLMServer, ScriptedModel

from .turns import add, model_on

QUESTION = Message.user("1 + 2 and 3 + 4?")
CALLS = (ToolCall("c1", "add", {"a": 1, "b": 2}), ToolCall("c2", "add", {"a": 3, "b": 4}))
ANSWER = Message.assistant(ReasoningPart("hm"), *CALLS)


def test_open_calls_run_before_the_model_is_asked() -> None:
    """Those that have a result do not run again; all results go back in the order of the calls."""
    with LLMServer("3 and 7") as server, model_on(server) as model:
        turn = Assistant(model, system="Be brief.", tools=[add]).stream(
            [QUESTION, ANSWER, Message.tool(ToolResult("c1", "three", "add"))]
        )
        events = list(iter_events(turn))
        sent = server.requests[0].json["messages"]
    assert ["c2"] == [event.call.id for event in events if isinstance(event, ToolStart)]
    assert isinstance(events[0], ToolStart)
    assert ["system", "user", "assistant", "tool", "tool"] == [message["role"] for message in sent]
    assert ["three", "7"] == [message["content"] for message in sent[3:]]
    assert "3 and 7" == events[-1].response.text  # type: ignore[union-attr]  # the StreamEnd


def test_open_calls_are_asked_for_too() -> None:
    """A reason why not is told to the model, and the result says that the call was refused."""
    with LLMServer("As you wish") as server, model_on(server) as model:
        assistant = Assistant(model, tools=[add], approve=lambda call: call.id == "c1" or "too hard")
        events = list(iter_events(assistant.stream([QUESTION, ANSWER])))
        sent = server.requests[0].json["messages"]
    assert {"c1", "c2"} == {event.call.id for event in events if isinstance(event, ApprovalRequest)}
    assert {"c1": False, "c2": True} == {event.call.id: event.refused for event in events if isinstance(event, ToolEnd)}
    assert ["3", "The user did not allow this call: too hard"] == [message["content"] for message in sent[2:]]


@pytest.mark.parametrize(
    "conversation",
    [
        [Message.user("Hi"), Message.assistant("Yes?"), QUESTION],
        [QUESTION, ANSWER, Message.tool(ToolResult("c1", "3"), ToolResult("c2", "7"))],
    ],
)
def test_where_nothing_is_open_the_model_is_asked_at_once(conversation: list[Message]) -> None:
    """With all of the conversation."""
    with LLMServer("Well") as server, model_on(server) as model:
        events = list(iter_events(Assistant(model, tools=[add]).stream(conversation)))
        sent = server.requests[0].json["messages"]
    assert StepStart(0) == events[0]
    parts = sum(len(message.parts) if message.role == "tool" else 1 for message in conversation)
    assert parts == len(sent)


def test_a_conversation_needs_a_question_and_no_memory() -> None:
    """Said at once, before anything is asked."""
    with pytest.raises(ConfigurationError, match="has none"):
        Assistant(ScriptedModel("x")).stream([ANSWER])
    with pytest.raises(ConfigurationError, match="has none"):
        Assistant(ScriptedModel("x")).stream([])
    with pytest.raises(ConfigurationError, match="has a memory"):
        Assistant(ScriptedModel("x"), memory=Memory()).stream([QUESTION])


@pytest.mark.parametrize("given", [None, 5, [5], [None], (message for message in [QUESTION])])
def test_what_is_no_conversation_is_refused_at_once(given: Any) -> None:
    """With a typed error."""
    with pytest.raises(ConfigurationError):
        Assistant(ScriptedModel("x")).stream(given)


def test_a_conversation_as_for_a_model() -> None:
    """Texts and OpenAI's dicts, too."""
    model = ScriptedModel("x", "y")
    given: Any = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, "c"]
    Assistant(model).chat(given)
    assert [message.text for message in model.calls[0].messages] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "openai:x"},
        {"system": 5},
        {"memory": "m"},
        {"approve": True},
        {"tools": add},
        {"tools": {"add": add}},
        {"max_iterations": "5"},
        {"max_iterations": 1.5},
        {"tool_timeout": -1},
        {"tool_timeout": float("nan")},
        {"tool_timeout": "5"},
    ],
)
def test_settings_are_checked_when_they_are_given(settings: dict[str, Any]) -> None:
    """Not in a turn."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Assistant(**{"model": ScriptedModel("x"), **settings})


def test_further_settings_are_checked_when_they_are_given() -> None:
    """Those of a turn, of a tool, of windows, and what a function given as system= returns."""
    wrong: Any = "wrong"
    for make in (
        lambda: Assistant(ScriptedModel("x")).stream("?", response_type=int, max_corrections=-1),
        lambda: FunctionTool(add, timeout=0),
        lambda: FunctionTool(add, schema=wrong),
        lambda: FunctionTool(add, schema={"type": "array"}),
        lambda: Memory(window=wrong),
        lambda: last_messages(-1),
        lambda: last_messages(wrong),
        lambda: last_tokens(-1),
        lambda: Assistant(ScriptedModel("x"), system=lambda context: cast("str", 5)).chat("?"),
    ):
        with pytest.raises(ConfigurationError):
            make()


def test_half_a_surrogate_pair_in_an_answer_can_be_kept(tmp_path: Path) -> None:
    """The memory gets text that a database takes."""
    with SQLiteStore(tmp_path / "chats.db") as store:
        memory = Memory(store)
        Assistant(ScriptedModel("half \ud835"), memory=memory).chat("?")
        assert memory.messages()[-1].text == "half \ufffd"
