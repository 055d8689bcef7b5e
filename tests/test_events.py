"""Events: immutable, comparable, and the same after a trip through JSON."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from rxllm._core.delta_merge import Delta, merge_deltas, merge_key
from rxllm.events import (
    CONTENT_EVENTS,
    NEVER_DROPPED_EVENTS,
    PRELIMINARY_EVENTS,
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    Timing,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
    event_from_json,
    event_to_json,
    is_content,
)
from rxllm.messages import Message, ReasoningPart, TextPart, ToolCall

CALL = ToolCall("1", "f", {"x": [1, None]}, {"gemini": {"thoughtSignature": "s"}})
EVENTS: list[TokenEvent] = [
    StreamStart("id", "m"),
    TextDelta("é\n\x00"),
    ReasoningDelta("why"),
    ToolCallStart(0, "1", "f"),
    ToolCallDelta(0, '{"x"'),
    ToolCallEnd(0, CALL),
    UsageUpdate(Usage(input_tokens=1)),
    VendorEvent("citation", {"url": "u"}),
    StreamReset("again"),
    StreamEnd(
        Response(
            text="a",
            reasoning="b",
            tool_calls=(CALL,),
            finish_reason="tool_calls",
            raw_finish_reason="tool_use",
            usage=Usage(1, 2, 3, estimated=True),
            timing=Timing(0.1, 0.2),
            parts=(ReasoningPart("b"), TextPart("a"), CALL),
        )
    ),
]


def test_every_kind_of_event_is_tried_here() -> None:
    """The list above has one of each member of the union."""
    assert {type(event) for event in EVENTS} == set(get_args(TokenEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_json(event: TokenEvent) -> None:
    """One line of JSON holds all of it, and its kind."""
    line = event_to_json(event)
    assert "\n" not in line
    assert event_from_json(line) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_cannot_be_changed(event: TokenEvent) -> None:
    """Several subscribers may hold the same event."""
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        setattr(event, event.__struct_fields__[0], None)


def test_unknown_usage_is_none() -> None:
    """What the vendor did not say is not zero."""
    assert (Usage().input_tokens, Usage().total_tokens, Usage().estimated) == (None, None, False)


def test_a_response_continues_the_conversation() -> None:
    """Its message holds the parts in their order."""
    end = EVENTS[-1]
    assert isinstance(end, StreamEnd)
    assert end.response.message == Message("assistant", end.response.parts)


TABLE = {
    # class: content, proves the answer, mergeable, droppable
    StreamStart: (False, False, False, False),
    TextDelta: (True, True, True, True),
    ReasoningDelta: (True, True, True, True),
    ToolCallStart: (True, True, False, False),
    ToolCallDelta: (True, True, True, False),
    ToolCallEnd: (True, True, False, False),
    UsageUpdate: (False, False, False, False),
    VendorEvent: (False, False, False, False),
    StreamReset: (False, False, False, False),
    StreamEnd: (False, True, False, False),
}


def test_every_event_has_its_properties() -> None:
    """A new event needs a decision on each property."""
    assert TABLE == {
        event_class: (
            event_class in CONTENT_EVENTS,
            event_class not in PRELIMINARY_EVENTS,
            event_class in get_args(Delta),
            event_class not in NEVER_DROPPED_EVENTS,
        )
        for event_class in get_args(TokenEvent)
    }


def test_the_mergeable_events_can_be_merged() -> None:
    """What may be merged has a merge key, and two of them become one; nothing else has a merge key."""
    for event in EVENTS:
        _, _, mergeable, _ = TABLE[type(event)]
        assert (merge_key(event) is not None) == mergeable
        assert len(merge_deltas([event, event])) == (1 if mergeable else 2)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        *((event, type(event) in CONTENT_EVENTS) for event in EVENTS),
        (TextDelta(""), False),
        (ReasoningDelta(""), False),
        (ToolCallDelta(0, ""), False),
    ],
)
def test_content_is_what_is_part_of_the_answer(event: TokenEvent, expected: bool) -> None:
    """Empty deltas, usage, vendor events and the end are not content."""
    assert is_content(event) == expected


FILES = sorted((Path(__file__).resolve().parents[1] / "rxllm").rglob("*.py"))
EVENT_NAMES = {event_class.__name__ for event_class in get_args(TokenEvent)}


PARTIAL = {
    "operators/json/json_in_answer.py": "reads the arguments of one tool",
    **{
        f"providers/{name}.py": "a vendor's wire has no form for the others"
        for name in ("_answer_writer", "gemini/answer_writer", "ollama/answer_writer", "openai_chat/answer_writer")
    },
}
"""Files with a `match` on events that has good reason for a wildcard."""


def wildcards_on_events() -> Iterator[tuple[str, set[str]]]:
    """Yield each `match` with a wildcard that tells two or more event classes apart, and the classes it leaves out."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Match):
                patterns = [each for case in node.cases for each in ast.walk(case.pattern)]
                classes = [each.cls for each in patterns if isinstance(each, ast.MatchClass)]
                named = EVENT_NAMES & {each.id for each in classes if isinstance(each, ast.Name)}
                wild = any(isinstance(each, ast.MatchAs) and each.pattern is each.name is None for each in patterns)
                if len(named) > 1 and wild and named != EVENT_NAMES:
                    yield str(path.relative_to(FILES[0].parent)), EVENT_NAMES - named


def test_every_match_on_events_names_all_of_them() -> None:
    """A wildcard would hide that a new event was forgotten; without one, the type checkers find it."""
    assert set(PARTIAL) == {place for place, _ in wildcards_on_events()}
