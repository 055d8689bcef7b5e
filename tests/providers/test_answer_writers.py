"""Answers as vendors write them: what comes beside an open tool call waits for its end, and nothing is lost."""

from __future__ import annotations

import pytest

from rxllm._protocol import Decoder
from rxllm._transport.framing import SSEFraming
from rxllm.events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from rxllm.messages import ToolCall
from rxllm.providers._answer_writer import AnswerHead, BlockWriter
from rxllm.providers.anthropic import AnthropicDecoder
from rxllm.providers.anthropic.answer_writer import MessagesWriter
from rxllm.providers.openai_responses import OpenAIResponsesDecoder
from rxllm.providers.openai_responses.answer_writer import ResponsesWriter
from tests.framed import framed
from tests.providers.recordings import play_frames

FIRST, SECOND, THIRD = ToolCall("c0", "f", {"a": 1}), ToolCall("c1", "g", {"b": 2}), ToolCall("c2", "h", {})
EVENTS: tuple[TokenEvent, ...] = (
    ReasoningDelta("Hm."),
    TextDelta("before"),
    ToolCallStart(0, "c0", "f"),
    ToolCallDelta(0, '{"a":'),
    ToolCallStart(1, "c1", "g"),
    ToolCallDelta(1, '{"b":'),
    TextDelta(" after"),
    ToolCallDelta(0, "1}"),
    ToolCallDelta(1, "2}"),
    ToolCallEnd(0, FIRST),
    ToolCallEnd(1, SECOND),
    ToolCallEnd(2, THIRD),
)


@pytest.mark.parametrize(
    ("kind", "decoder"), [(MessagesWriter, AnthropicDecoder("p")), (ResponsesWriter, OpenAIResponsesDecoder("p"))]
)
def test_calls_side_by_side(kind: type[BlockWriter], decoder: Decoder) -> None:
    """Each call is one block, with its own arguments; one without a start too."""
    writer = kind(AnswerHead("x", "m"))
    texts = [writer.begin(), *map(writer.event, EVENTS), writer.end(Response(finish_reason="tool_calls"))]
    frames = [frame for frame in framed(SSEFraming(), [text.encode() for text in texts]) if frame.data]
    response = play_frames(decoder, frames).response
    assert (response.reasoning, response.text) == ("Hm.", "before after")
    assert response.tool_calls == (FIRST, SECOND, THIRD)
