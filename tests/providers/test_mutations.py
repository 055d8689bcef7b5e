"""Answers with anything anywhere: what a decoder makes of JSON that is not what its vendor sends."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxllm._protocol import Decoder, Frame
from rxllm.events import event_from_json, event_to_json
from rxllm.providers.anthropic import AnthropicDecoder
from rxllm.providers.gemini import GeminiDecoder
from rxllm.providers.ollama import OllamaDecoder
from tests.providers.anthropic import test_decoder as test_anthropic
from tests.providers.gemini import test_decoder as test_gemini
from tests.providers.ollama import test_decoder as test_ollama
from tests.providers.recordings import play_frames

Payload = dict[str, object]

CITED = {"type": "char_location", "cited_text": "rx"}
STREAMS: dict[str, tuple[Callable[[str], Decoder], list[Payload]]] = {
    "anthropic": (
        AnthropicDecoder,
        [
            *test_anthropic.WHOLE[:-2],
            *test_anthropic.text_block(3, "cited"),
            test_anthropic.block_start(4, type="server_tool_use", id="s", name="web_search", input={}),
            test_anthropic.delta(4, "input_json_delta", partial_json='{"q": 1}'),
            test_anthropic.block_stop(4),
            test_anthropic.delta(5, "citations_delta", citation=CITED),
            *test_anthropic.WHOLE[-2:],
        ],
    ),
    "gemini": (
        GeminiDecoder,
        [
            *test_gemini.WHOLE[:-1],
            test_gemini.chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            test_gemini.chunk(test_gemini.leaf("$.a[0].b", stringValue="1", willContinue=True)),
            test_gemini.chunk({"functionCall": {}}, groundingMetadata={"webSearchQueries": ["rx"]}),
            test_gemini.WHOLE[-1],
        ],
    ),
    "ollama": (OllamaDecoder, test_ollama.WHOLE),
}
JUNK = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "tool_use", [], [None], {}, {"type": "text"}, [[{}]], "\ud83d"]
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values inside a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, child in children for place in places(child, (*path, step)))]


def changed(payloads: list[Payload], place: tuple[str | int, ...], junk: object) -> list[Payload]:
    """The payloads with other JSON at one place."""
    result = copy.deepcopy(payloads)
    container: object = result
    for step in place[:-1]:
        container = container[step]  # type: ignore[index]  # the path was made from the value
    container[place[-1]] = junk  # type: ignore[index]  # the path was made from the value
    return result


@pytest.mark.parametrize("wire", STREAMS)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_json_that_no_vendor_sends_ends_in_an_answer_or_a_typed_error(wire: str, data: st.DataObject) -> None:
    """Whatever stands anywhere, the grammar of events holds, their text can be sent on, and no other error escapes."""
    decoder, payloads = STREAMS[wire]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([place for place in places(payloads) if place]))
        payloads = changed(payloads, place, data.draw(JUNK))
    frames = [Frame(json.dumps(payload).encode()) for payload in payloads]
    played = play_frames(decoder(wire), frames)
    for event in played.events:
        assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize("wire", STREAMS)
def test_json_of_any_depth_ends_in_an_answer_or_a_typed_error(wire: str) -> None:
    """Near the interpreter's limit, reading succeeds where comparing or writing fails."""
    decoder, payloads = STREAMS[wire]
    for depth in range(880, 1000):
        deep = b"[" * depth + b"]" * depth
        for head in (
            b'{"type":"content_block_start","index":9,"content_block":{"type":"tool_use","name":"a","input":{"x":',
            b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"a","args":{"x":',
            b'{"message":{"tool_calls":[{"function":{"name":"a","arguments":{"x":',
            b'{"message":{"novelty":{"x":',
            b'{"candidates":[{"novelty":{"x":',
            b'{"type":"error","error":',
        ):
            closing = bytes({123: 125, 91: 93}[char] for char in reversed(head) if char in b"{[")
            frame = Frame(head + deep + closing)
            play_frames(decoder(wire), [Frame(json.dumps(payloads[0]).encode()), frame, frame])
