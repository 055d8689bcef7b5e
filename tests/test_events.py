"""Events: immutable, comparable, and the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from rxllm.events import (
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
