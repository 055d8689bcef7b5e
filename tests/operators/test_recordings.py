"""Over recorded answers of real vendors, what operators make of the deltas is what the response says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import reactivex
from reactivex import Observable

from rxllm import operators as ops
from rxllm._protocol import Decoder
from rxllm.events import ReasoningDelta, StreamEnd, TextDelta, TokenEvent
from rxllm.operators._response_builder import ResponseBuilder
from rxllm.providers.anthropic import AnthropicDecoder
from rxllm.providers.gemini import GeminiDecoder
from rxllm.providers.ollama import OllamaDecoder
from rxllm.providers.openai_chat import OpenAIChatDecoder
from rxllm.providers.openai_responses import OpenAIResponsesDecoder
from tests.providers.recordings import play, recordings
from tests.shared import needs_shared

pytestmark = needs_shared

DECODERS: dict[str, Callable[[str], Decoder]] = {
    "openai-chat": OpenAIChatDecoder,
    "openai-responses": OpenAIResponsesDecoder,
    "anthropic": AnthropicDecoder,
    "gemini": GeminiDecoder,
    "ollama": OllamaDecoder,
}


def answers(wire: str) -> Iterator[tuple[TokenEvent, ...]]:
    """The events of each recording of a wire that ends well."""
    for recording in recordings(wire):
        played = play(DECODERS[wire](wire), [recording.body], "ndjson" if wire == "ollama" else "sse")
        if played.error is None:
            yield played.events


def through(
    events: tuple[TokenEvent, ...], operator: Callable[[Observable[TokenEvent]], Observable[object]]
) -> list[object]:
    """What comes of `events`."""
    seen: list[object] = []
    reactivex.from_iterable(events).pipe(operator).subscribe(seen.append)
    return seen


@pytest.mark.parametrize("wire", DECODERS)
def test_the_answer_so_far_becomes_the_answer(wire: str) -> None:
    """Folded from its events, text, reasoning and tool calls are those of StreamEnd."""
    for events in answers(wire):
        answer = ResponseBuilder()
        for event in events[:-1]:
            answer.add(event)
        so_far, end = answer.response(), events[-1]
        assert isinstance(end, StreamEnd)
        whole = end.response
        assert (whole.text, whole.reasoning, whole.tool_calls) == (so_far.text, so_far.reasoning, so_far.tool_calls)


@pytest.mark.parametrize("wire", DECODERS)
def test_filters_change_the_response_as_they_change_the_deltas(wire: str) -> None:
    """Deltas joined are the response's text and reasoning; a filter with nothing to do changes no part."""
    for events in answers(wire):
        for operator in (ops.think_tags(), ops.stop_at("\0"), ops.stop_at(" ")):
            *deltas, end = through(events, operator)
            assert isinstance(end, StreamEnd)
            assert end.response.text == "".join(event.text for event in deltas if isinstance(event, TextDelta))
            thoughts = "".join(event.text for event in deltas if isinstance(event, ReasoningDelta))
            assert thoughts == end.response.reasoning
        assert through(events, ops.stop_at("\0"))[-1] == events[-1]


@pytest.mark.parametrize("wire", DECODERS)
def test_tool_arguments_while_they_stream_become_those_of_the_call(wire: str) -> None:
    """For each tool that was called, the calls parsed and the last snapshots are the calls' arguments."""
    for events in answers(wire):
        calls = through(events, ops.tool_calls())
        for name in {call.name for call in calls}:
            wanted = [call.arguments for call in calls if call.name == name]
            assert wanted == through(events, ops.parse(tool=name))
            assert wanted[-1] in through(events, ops.partial_json(tool=name))
