"""What type checkers make of the operators of text and structured answers; only checked, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from reactivex import Observable
from reactivex import operators as rx

from rxllm import operators as ops
from rxllm.events import Response, TextDelta, TokenEvent
from rxllm.messages import ToolCall


@dataclass
class Point:
    """A type to read."""

    x: int


def of_events(events: Observable[TokenEvent], deltas: Observable[TextDelta]) -> None:
    """Operators over token events."""
    assert_type(events.pipe(ops.text()), Observable[str])
    assert_type(deltas.pipe(ops.text()), Observable[str])
    assert_type(events.pipe(ops.reasoning()), Observable[str])
    assert_type(events.pipe(ops.response()), Observable[Response])
    assert_type(events.pipe(ops.accumulate()), Observable[str])
    assert_type(events.pipe(ops.accumulate(Response)), Observable[Response])
    assert_type(events.pipe(ops.words()), Observable[str])
    assert_type(events.pipe(ops.code_blocks()), Observable[ops.CodeBlockEvent])
    assert_type(events.pipe(ops.markdown_blocks()), Observable[ops.MarkdownBlock])
    assert_type(events.pipe(ops.tool_calls()), Observable[ToolCall])
    assert_type(events.pipe(ops.stop_at("x"), ops.think_tags(), ops.grapheme_safe()), Observable[TokenEvent])
    assert_type(events.pipe(ops.redact("x"), ops.replace("a", lambda match: match[0].upper())), Observable[TokenEvent])
    assert_type(events.pipe(ops.think_tags(), ops.sentences(), rx.map(len)), Observable[int])


def of_text(pieces: Observable[str]) -> None:
    """Operators over pieces of text."""
    assert_type(pieces.pipe(ops.accumulate()), Observable[str])
    assert_type(pieces.pipe(ops.lines(), rx.take(3)), Observable[str])
    assert_type(pieces.pipe(ops.paragraphs()), Observable[str])


def of_json(events: Observable[TokenEvent], pieces: Observable[str]) -> None:
    """Structured answers."""
    assert_type(events.pipe(ops.partial_json()), Observable[object])
    assert_type(events.pipe(ops.partial_json(Point)), Observable[Point])
    assert_type(events.pipe(ops.partial_json(type=Point, tool="move")), Observable[Point])
    assert_type(pieces.pipe(ops.parse(list[Point])), Observable[list[Point]])
    assert_type(pieces.pipe(ops.parse()), Observable[object])
    assert_type(events.pipe(ops.array_items(Point, path="points")), Observable[Point])
    assert_type(events.pipe(ops.array_items(path=("a", "b"))), Observable[object])


def of_prompts(prompts: Observable[str], model: ops.CanStream[str]) -> None:
    """The values of answers are of the type that was asked for; without one they are None."""
    untyped: Observable[ops.PromptAnswer[str, None] | ops.PromptFailure[str]] = prompts.pipe(ops.map_prompts(model))
    typed: Observable[ops.PromptAnswer[str, Point] | ops.PromptFailure[str]] = prompts.pipe(
        ops.map_prompts(model, response_type=Point, max_concurrent=2)
    )
    assert_type(untyped, Observable[ops.PromptAnswer[str, None] | ops.PromptFailure[str]])
    assert_type(typed, Observable[ops.PromptAnswer[str, Point] | ops.PromptFailure[str]])
