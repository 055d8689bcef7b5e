"""Tool calls' arguments as data, while they stream."""

from __future__ import annotations

import json

import msgspec
import pytest

from rxllm import operators as ops
from rxllm.errors import OutputParsingError
from rxllm.events import StreamEnd, StreamReset, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from rxllm.messages import ToolCall

from ..kit import answer, play, whole


class Point(msgspec.Struct):
    """What the tool takes."""

    name: str
    x: int = 0


def call(index: int, name: str, *arguments: str) -> list[TokenEvent]:
    """The events of a tool call whose arguments come in pieces."""
    whole_call = ToolCall(f"c{index}", name, json.loads("".join(arguments) or "{}") or {})
    deltas = [ToolCallDelta(index, piece) for piece in arguments]
    return [ToolCallStart(index, f"c{index}", name), *deltas, ToolCallEnd(index, whole_call)]


def test_only_the_named_tool_and_each_of_its_calls() -> None:
    """Calls of other tools, and text, are not read; each call is a document of its own."""
    events = [
        *call(0, "f", '{"name"', ': "a"}'),
        *call(1, "g", "{}"),
        *call(2, "f", '{"name": "b"}'),
        *answer("done"),
    ]
    assert play(ops.partial_json(Point, tool="f"), events).values == [Point(""), Point("a"), Point("b")]
    assert play(ops.parse(Point, tool="f"), events).values == [Point("a"), Point("b")]


def test_calls_that_come_at_the_same_time() -> None:
    """Interleaved pieces are kept apart by their index."""
    first, second = call(0, "f", '{"name": "', 'a"}'), call(1, "f", '{"name": "', 'b"}')
    events = [event for pair in zip(first, second, strict=True) for event in pair]
    assert play(ops.parse(Point, tool="f"), events).values == [Point("a"), Point("b")]


def test_elements_of_an_argument() -> None:
    """array_items reads an array in the arguments."""
    events = call(0, "f", '{"points": [{"name": "a"}', ', {"name": "b"}]}')
    assert play(ops.array_items(Point, path="points", tool="f"), events).values == [Point("a"), Point("b")]


@pytest.mark.parametrize("pieces", [[], [""], ["", "null"], [" {", "}"]])
def test_arguments_that_do_not_stream(pieces: list[str]) -> None:
    """Where a vendor sends them whole, or none, they are those of the finished call."""
    assert play(ops.parse(dict, tool="f"), call(0, "f", *pieces)).values == [{}]
    assert play(ops.partial_json(tool="f"), call(0, "f", *pieces)).values[-1] == {}


def test_a_call_that_never_ends_is_an_error() -> None:
    """Half the arguments never look like all of them."""
    run = play(ops.parse(tool="f"), [*call(0, "f", '{"a": 1}')[:-1], StreamEnd(whole())])
    assert run.values == [{"a": 1}]
    run = play(ops.parse(tool="f"), [*call(0, "f", '{"a": 1}')[:1], ToolCallDelta(0, '{"a'), StreamEnd(whole())])
    assert isinstance(run.error, OutputParsingError)


def test_a_reset_forgets_the_calls_under_way() -> None:
    """They begin again, with the same indexes."""
    events = [*call(0, "f", '{"a": ', "1}")[:-2], StreamReset("retry"), *call(0, "f", '{"b": 2}')]
    assert play(ops.parse(tool="f"), events).values == [{"b": 2}]
