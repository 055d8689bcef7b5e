"""Conversations are repaired before they are sent."""

from __future__ import annotations

import pytest

from rxllm import Message, ToolCall, ToolResult
from rxllm._history import CANCELLED, repair_history
from rxllm.assistant import Assistant, InMemoryStore, Memory
from rxllm.testing import ScriptedModel

from .turns import is_consistent


def ask(*ids: str) -> Message:
    return Message.assistant(*(ToolCall(name, "act", {}) for name in ids))


def give(*ids: str) -> Message:
    return Message.tool(*(ToolResult(name, f"of {name}", "act") for name in ids))


def missing(name: str) -> ToolResult:
    return ToolResult(name, CANCELLED, "act", is_error=True)


A, B, C = Message.user("a"), Message.user("b"), Message.user("c")
X = Message.assistant("x")
REPAIRED: dict[str, tuple[list[Message], list[Message]]] = {
    "no result": ([A, ask("1"), B], [A, ask("1"), Message.tool(missing("1")), B]),
    "one of two": (
        [A, ask("1", "2"), give("2"), B],
        [A, ask("1", "2"), Message.tool(missing("1"), ToolResult("2", "of 2", "act")), B],
    ),
    "behind the next question": ([A, ask("1"), B, give("1"), C], [A, ask("1"), give("1"), B, C]),
    "in two messages, in another order": ([A, ask("1", "2"), give("2"), give("1")], [A, ask("1", "2"), give("1", "2")]),
    "without a call": ([A, give("9"), X, B], [A, X, B]),
    "before its call": ([A, give("1"), ask("1"), B], [A, ask("1"), Message.tool(missing("1")), B]),
    "twice": ([A, ask("1"), give("1"), give("1"), B], [A, ask("1"), give("1"), B]),
    "in the message of the call": (
        [A, Message.assistant(*ask("1").parts, *give("1").parts), B],
        [A, ask("1"), give("1"), B],
    ),
    "whole": ([A, ask("1"), give("1"), X, B], [A, ask("1"), give("1"), X, B]),
    "without tools": ([A, X, B], [A, X, B]),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_each_call_has_its_result(name: str) -> None:
    """Behind it, in its order; no result stands alone."""
    given, expected = REPAIRED[name]
    assert repair_history(given) == expected
    assert repair_history(expected) == expected


@pytest.mark.parametrize(
    "messages",
    [
        [A, ask("1", "1"), give("1", "1"), X],
        [A, ask("1"), give("1"), ask("1"), give("1"), X],
        [A, ask("", ""), give("", ""), X],
        [A, ask("1"), B, ask("1"), give("1"), give("1")],
    ],
)
def test_ids_are_distinct(messages: list[Message]) -> None:
    """Two turns that ran at the same time may both have a call "1"."""
    repaired = repair_history(messages)
    ids = [call.id for message in repaired for call in message.tool_calls]
    assert len(ids) == len(set(ids)) == 2
    assert "" not in ids
    assert is_consistent(repaired)
    assert not any(part.is_error for message in repaired for part in message.parts if isinstance(part, ToolResult))


def test_open_calls_of_the_last_answer_stay_open() -> None:
    """They are still to run; earlier ones are not."""
    given = [A, ask("1"), B, ask("2", "3"), give("3")]
    assert repair_history(given, keep_open=True) == [
        A,
        ask("1"),
        Message.tool(missing("1")),
        B,
        ask("2", "3"),
        give("3"),
    ]


def test_what_a_store_holds_is_repaired() -> None:
    """The conversation of a process that was killed in a turn can go on."""
    store = InMemoryStore()
    store.append("", [A, ask("1")])
    model = ScriptedModel("fine")
    Assistant(model, memory=Memory(store)).chat("b")
    assert list(model.calls[0].messages) == [A, ask("1"), Message.tool(missing("1")), B]


def test_split_results_with_one_missing_go_on() -> None:
    """In a given conversation the missing call runs, the others do not."""
    ran: list[str] = []

    def act() -> str:
        ran.append("act")
        return "now"

    model = ScriptedModel("fine")
    Assistant(model, tools=[act]).chat([A, ask("1", "2", "3"), give("3"), give("1")])
    assert ran == ["act"]
    assert [part.content for part in model.calls[0].messages[-1].parts if isinstance(part, ToolResult)] == [
        "of 1",
        "now",
        "of 3",
    ]


def test_half_a_surrogate_pair_is_replaced() -> None:
    """In a question and in a tool's text; a whole pair becomes its character."""
    memory = Memory()
    model = ScriptedModel("fine")
    Assistant(model, memory=memory).chat("half \ud835 whole \ud83d\ude00")
    assert memory.messages()[0].text == "half \ufffd whole \U0001f600"
