"""Answers that are whole, but told in ways of their own: each was reported by users of other clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rxllm.errors import StreamInterruptedError
from rxllm.events import Response
from rxllm.providers.anthropic import AnthropicDecoder
from rxllm.providers.gemini import GeminiDecoder
from rxllm.providers.ollama import OllamaDecoder
from rxllm.providers.openai_chat import OpenAIChatDecoder
from rxllm.providers.openai_responses import OpenAIResponsesDecoder
from tests.providers.recordings import play


def chat(*deltas: Any, finish: str = "tool_calls", usage: Any = None) -> list[str]:
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    last = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}
    return [json.dumps(chunk) for chunk in (*chunks, last)]


def piece(arguments: Any, **more: Any) -> Any:
    function = {"arguments": arguments, **({"name": "f"} if "id" in more else {})}
    return {"tool_calls": [{"index": 0, "function": function, **more}]}


def sse(*events: str) -> bytes:
    return "".join(f"data: {event}\n\n" for event in events).encode()


def read(decoder: Any, body: bytes, framing: Any = "sse") -> Response:
    played = play(decoder, [body], framing)
    assert played.error is None
    text = "".join(getattr(event, "text", "") for event in played.events if type(event).__name__ == "TextDelta")
    assert text == played.response.text
    return played.response


CALLS = {
    "a placeholder before the real arguments": chat(piece("{}", id="t"), piece('{"a"'), piece(": 1}")),
    "the object inside a JSON string": chat(piece(json.dumps('{"a": 1}'), id="t")),
    "an index as text": chat(piece('{"a": 1}', id="t", index="0")),
    "another id on the way, with the name": chat(piece("", id="t"), piece('{"a"', id="u"), piece(": 1}", id="u")),
    "null before the arguments": chat(piece(None, id="t"), piece('{"a": 1}')),
    "arguments as an object": chat(piece({"a": 1}, id="t")),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call(name: str) -> None:
    """It is one call, with its arguments."""
    calls = read(OpenAIChatDecoder("p"), sse(*CALLS[name], "[DONE]")).tool_calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [("t", "f", {"a": 1})]


def test_a_call_without_arguments() -> None:
    """An empty object is no placeholder where nothing follows; it is told as it came."""
    played = play(OpenAIChatDecoder("p"), [sse(*chat(piece("{}", id="t")), "[DONE]")])
    assert [call.arguments for call in played.response.tool_calls] == [{}]
    assert [event.arguments for event in played.events if type(event).__name__ == "ToolCallDelta"] == ["{}"]


@pytest.mark.parametrize("joint", ["\ndata: ", ""], ids=["half a separator", "nothing"])
def test_several_documents_in_one_event(joint: str) -> None:
    """A separator is half of what it should be, or missing."""
    chunks = [*chat({"content": "Hel"}, {"content": "lo"}, finish="stop"), "[DONE]"]
    body = f"data: {joint.join(chunks)}\n\n".encode()
    assert read(OpenAIChatDecoder("p"), body).text == "Hello"


def test_fractional_counts() -> None:
    """Of image models behind OpenRouter."""
    usage = {"prompt_tokens": 57, "completion_tokens": 14_417.92, "total_tokens": 14_474.92}
    found = read(OpenAIChatDecoder("p"), sse(*chat({"content": "x"}, finish="stop", usage=usage))).usage
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (57, 14_417, 14_474)


def responses(*events: Any, output: Any = ()) -> bytes:
    last = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": list(output)}}
    return sse(*map(json.dumps, ({"type": "response.created", "response": {"id": "r"}}, *events, last)))


def test_arguments_that_only_their_end_tells() -> None:
    """Neither deltas nor the item have them."""
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    body = responses(
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.function_call_arguments.done", "output_index": 0, "item_id": "fc", "arguments": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 0, "item": call},
    )
    assert [call.arguments for call in read(OpenAIResponsesDecoder("p"), body).tool_calls] == [{"a": 1}]


def test_two_items_with_one_output_index() -> None:
    """Their ids tell them apart."""
    message = {"type": "message", "id": "m", "role": "assistant", "content": []}
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"}
    whole = {**message, "content": [{"type": "output_text", "text": "I look."}]}
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m"}
    body = responses(
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {**delta, "delta": "I "},
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {**delta, "delta": "look."},
        {"type": "response.output_item.done", "output_index": 0, "item": call},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
    )
    found = read(OpenAIResponsesDecoder("p"), body)
    assert (found.text, len(found.tool_calls)) == ("I look.", 1)


def gemini(*parts: Any, finish: str = "STOP") -> bytes:
    chunks: list[Any] = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
    return sse(*map(json.dumps, [*chunks, {"candidates": [{"finishReason": finish}]}]))


def test_arguments_in_the_chunk_after_the_name() -> None:
    """Though nothing said that they would come."""
    parts = ({"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"args": {"a": 1}}})
    assert [call.arguments for call in read(GeminiDecoder("p"), gemini(*parts)).tool_calls] == [{"a": 1}]


def test_calls_that_take_nothing() -> None:
    """Two of one name are two calls, and text between them stays where it was."""
    call = {"functionCall": {"name": "now", "args": {}}}
    found = read(GeminiDecoder("p"), gemini(call, {"text": "and"}, call, call))
    assert [call.arguments for call in found.tool_calls] == [{}, {}, {}]
    assert [type(part).__name__ for part in found.parts] == ["ToolCall", "TextPart", "ToolCall", "ToolCall"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("CONTINUATION", "length"),
        ("ESCALATION", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "other"),
        ("TOO_MANY_TOOL_CALLS", "other"),
    ],
)
def test_endings_of_gemini(raw: str, reason: str) -> None:
    """None is a plain stop, and none but a limit hands out a call."""
    found = read(GeminiDecoder("p"), gemini({"functionCall": {"name": "f", "args": {"a": 1}}}, finish=raw))
    assert (found.finish_reason, found.raw_finish_reason) == (reason, raw)
    assert bool(found.tool_calls) == (reason == "length")


def test_a_refusal_after_a_call() -> None:
    """The call is not to be run."""
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    found = read(AnthropicDecoder("p"), messages(block, stop="refusal"))
    assert (found.finish_reason, found.tool_calls) == ("refusal", ())


def messages(*blocks: Any, stop: str) -> bytes:
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "usage": {}}}]
    for index, block in enumerate(blocks):
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_stop", "index": index},
        ]
    events += [{"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]
    return sse(*map(json.dumps, events))


def test_a_call_and_a_plain_end() -> None:
    """Bedrock and gateways say end_turn beside a call: it is to be run all the same."""
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    found = read(AnthropicDecoder("p"), messages(block, stop="end_turn"))
    assert (found.finish_reason, found.raw_finish_reason, len(found.tool_calls)) == ("tool_calls", "end_turn", 1)


@pytest.mark.parametrize(
    ("decoder", "body", "framing"),
    [
        (AnthropicDecoder("p"), messages(stop="tool_use"), "sse"),
        (OpenAIChatDecoder("p"), sse(*chat({"role": "assistant", "content": ""}), "[DONE]"), "sse"),
        (OllamaDecoder("p"), json.dumps({"message": {}, "done": True, "done_reason": "tool_calls"}).encode(), "ndjson"),
    ],
    ids=["anthropic", "chat", "ollama"],
)
def test_an_end_that_announces_calls_and_nothing_before_it(decoder: Any, body: bytes, framing: Any) -> None:
    """The same request is answered when it is repeated: a transient error, no empty answer."""
    error = play(decoder, [body], framing).error
    assert isinstance(error, StreamInterruptedError)
    assert error.transient


def test_an_end_that_announces_calls_after_mere_text() -> None:
    """LM Studio says so of plain answers: there is nothing to run."""
    found = read(OpenAIChatDecoder("p"), sse(*chat({"content": "Hello"}), "[DONE]"))
    assert (found.finish_reason, found.raw_finish_reason) == ("stop", "tool_calls")


def test_a_call_of_a_custom_tool_alone() -> None:
    """It is no call of a function, and announced all the same."""
    call = {"index": 0, "id": "t", "type": "custom", "custom": {"name": "f", "input": "free text"}}
    found = read(OpenAIChatDecoder("p"), sse(*chat({"tool_calls": [call]}), "[DONE]"))
    assert (found.finish_reason, found.parts) == ("tool_calls", ())


@pytest.mark.parametrize("name", ["cache_read_tokens", "prompt_cache_hit_tokens", "cached_tokens"])
def test_names_of_cached_tokens(name: str) -> None:
    """Beside the counts of OpenAI."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1, name: 4}
    assert read(OpenAIChatDecoder("p"), sse(*chat({"content": "x"}, usage=usage))).usage.cached_input_tokens == 4


def test_events_of_an_imitator_of_ollama() -> None:
    """It answers /api/chat as server-sent events."""
    lines = [
        {"model": "q", "message": {"role": "assistant", "content": "Hel"}, "done": False},
        {"model": "q", "message": {"role": "assistant", "content": "lo"}, "done": False},
        {"model": "q", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
    ]
    body = b": hi\n\nevent: message\n" + sse(*map(json.dumps, lines), "[DONE]")
    assert read(OllamaDecoder("p"), body, "ndjson").text == "Hello"
