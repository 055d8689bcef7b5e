"""Every wire, both ways: a recorded answer goes back in the request that follows, its calls with their results.

What has to go back is read from the recorded bytes here, by other means than the decoders', and
looked for in the body that the encoder makes of the decoded answer: calls and results matched, in
order, once each; signatures, ciphers and reasoning in their places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import pytest

from rxllm._transport.framing import NDJSONFraming, SSEFraming
from rxllm.messages import Message, ReasoningPart, ToolResult, VendorPart
from rxllm.options import Options, Tool
from rxllm.providers.vendors import vendor_named, wire_for
from tests.framed import framed
from tests.providers.recordings import Recording, play, recordings
from tests.shared import needs_shared

Json: TypeAlias = dict[str, object]

PROVIDERS = {
    "openai-chat": "openai-compatible",
    "openai-responses": "openai-responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama",
}
KEEPS_MORE = ("openai-responses", "anthropic", "gemini")
"""Wires on which there is something to carry back beside calls, and their reasoning."""
MODELS = {"gemini": "gemini-3.8-flash", "openai-responses": "gpt-5"}
TOOL = Tool("anything", "", {"type": "object", "properties": {}})


class SecondTurn(NamedTuple):
    """What was recorded, and the body of the request that follows it, as JSON."""

    frames: list[Json]
    calls: list[Json]
    body: Json


def second_turn(wire: str, recording: Recording) -> SecondTurn | None:
    """The next request after a recorded answer that calls tools, thinks, or holds what only its vendor knows.

    None after other answers, and those that were cut off.
    """
    provider = wire_for(vendor_named(PROVIDERS[wire]), api_key="k", base_url="http://127.0.0.1:9/v1")
    played = play(provider.decoder(), [recording.body], "ndjson" if wire == "ollama" else "sse")
    calls, parts = played.response.tool_calls, played.response.message.parts
    has_more = wire in KEEPS_MORE and any(isinstance(part, ReasoningPart | VendorPart) for part in parts)
    if played.error is not None or not (calls or has_more):
        return None
    results = [ToolResult(call.id, f"result {at}", call.name) for at, call in enumerate(calls)]
    answer = Message.tool(*results) if results else Message.user("Go on")
    conversation = [Message.user("?"), played.response.message, answer]
    request = provider.request(conversation, MODELS.get(wire, "m"), Options(tools=(TOOL,)))
    body = framed(NDJSONFraming() if wire == "ollama" else SSEFraming(), [recording.body])
    frames = [json.loads(frame.data) for frame in body if frame.data not in (b"", b"[DONE]")]
    told = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]
    return SecondTurn(frames, told, json.loads(request.body))


def turns(wire: str) -> list[object]:
    """What follows the recordings of a wire."""
    made = ((recording.name, second_turn(wire, recording)) for recording in recordings(wire))
    return [pytest.param(turn, id=name) for name, turn in made if turn is not None]


def objects(value: object) -> list[Json]:
    assert isinstance(value, list)
    return value


def under(value: object, *names: str) -> Json:
    """The object under these names."""
    for name in names:
        assert isinstance(value, dict)
        value = value.get(name, {})
    assert isinstance(value, dict)
    return value


def results_of(turn: SecondTurn) -> list[str]:
    return [f"result {at}" for at in range(len(turn.calls))]


@needs_shared
@pytest.mark.parametrize("turn", turns("openai-chat"))
def test_chat_completions(turn: SecondTurn) -> None:
    """One assistant message with the calls, then a tool message for each, by id and in order; reasoning goes along."""
    user, spoken, *results = objects(turn.body["messages"])
    assert ["user", "assistant", *["tool"] * len(turn.calls)] == [str(m["role"]) for m in (user, spoken, *results)]
    calls = objects(spoken["tool_calls"])
    ids = [call["id"] for call in turn.calls]
    assert len(ids) == len(set(map(str, ids)))
    assert ids == [call["id"] for call in calls] == [result["tool_call_id"] for result in results]
    assert results_of(turn) == [result["content"] for result in results]
    functions = [under(call, "function") for call in calls]
    assert [call["name"] for call in turn.calls] == [function["name"] for function in functions]
    assert [call["arguments"] for call in turn.calls] == [json.loads(str(f["arguments"])) for f in functions]
    deltas = [under(choice, "delta") for frame in turn.frames for choice in objects(frame.get("choices") or [])]
    for field in ("reasoning_content", "reasoning", "reasoning_text"):
        told = "".join(str(delta.get(field) or "") for delta in deltas)
        if told and "reasoning_details" not in spoken:
            said = [
                value for name, value in spoken.items() if name in ("reasoning_content", "reasoning", "reasoning_text")
            ]
            assert [told] == said
            break
    _holds_the_details(deltas, spoken)
    extras = [call.get("extra_content") for d in deltas for call in objects(d.get("tool_calls") or [])]
    assert [e for e in extras if e] == [call["extra_content"] for call in calls if "extra_content" in call]


def _holds_the_details(deltas: list[Json], spoken: Json) -> None:
    """OpenRouter's reasoning_details: all words, ciphers and signatures, in order."""
    told = [detail for delta in deltas for detail in objects(delta.get("reasoning_details") or [])]
    kept = objects(spoken.get("reasoning_details", []))
    for field in ("text", "summary", "data", "signature"):
        assert "".join(str(d.get(field) or "") for d in told) == "".join(str(d.get(field) or "") for d in kept)


@needs_shared
@pytest.mark.parametrize("turn", turns("openai-responses"))
def test_responses(turn: SecondTurn) -> None:
    """Items in their order: reasoning by its cipher, what servers did, calls by call_id; then an output for each."""
    items = objects(turn.body["input"])[1:]
    told = {
        int(str(frame["output_index"])): under(frame, "item")
        for frame in turn.frames
        if frame.get("type") in ("response.output_item.added", "response.output_item.done") and "output_index" in frame
    }
    said, outputs = (items[: -len(turn.calls)], items[-len(turn.calls) :]) if turn.calls else (items[:-1], [])
    assert [*filter(None, map(_marks, (told[at] for at in sorted(told))))] == [*filter(None, map(_marks, said))]
    assert [call["id"] for call in turn.calls] == [output["call_id"] for output in outputs]
    assert results_of(turn) == [output["output"] for output in outputs]
    assert turn.body["store"] is False
    assert not [
        item for item in said if item["type"] in ("reasoning", "function_call") and "id" in item and _marks(item)
    ]


def _marks(item: Json) -> tuple[object, ...] | None:
    """What tells an item apart; None for what may stay out, or go back otherwise."""
    match item["type"]:
        case "reasoning":
            return ("reasoning", item["encrypted_content"]) if item.get("encrypted_content") else None
        case "function_call":
            return "function_call", item["call_id"], item["name"], json.loads(str(item["arguments"]) or "{}")
        case "message":
            return None
        case kind:
            return kind, item.get("call_id")  # nothing is stored under the id of an item: it stays out


@needs_shared
@pytest.mark.parametrize("turn", turns("anthropic"))
def test_messages(turn: SecondTurn) -> None:
    """The answer's blocks as they came, thoughts with their signatures first, then one user turn with all results."""
    user, spoken, answered = objects(turn.body["messages"])
    assert ["user", "assistant", "user"] == [user["role"], spoken["role"], answered["role"]]
    assert list(_blocks(turn.frames)) == [_without_empty(block) for block in objects(spoken["content"])]
    if not turn.calls:
        return
    results = objects(answered["content"])
    assert {"tool_result"} == {str(result["type"]) for result in results}
    assert [call["id"] for call in turn.calls] == [result["tool_use_id"] for result in results]
    assert results_of(turn) == [result["content"] for result in results]


def _blocks(frames: list[Json]) -> Iterator[Json]:
    """The content blocks of a recorded answer, put together."""
    blocks: dict[object, Json] = {}
    inputs: dict[object, str] = {}
    for block in objects(
        next((under(f, "message")["content"] for f in frames if f.get("type") == "message_start"), [])
    ):
        blocks[f"start {len(blocks)}"] = dict(block)
    for frame in frames:
        if frame.get("type") == "content_block_start":
            blocks[frame["index"]] = dict(under(frame, "content_block"))
        elif frame.get("type") == "content_block_delta":
            block, delta = blocks[frame["index"]], under(frame, "delta")
            for field in ("text", "thinking", "signature"):
                if field in delta:
                    block[field] = str(block.get(field) or "") + str(delta[field])
            if delta["type"] == "compaction_delta":
                block.update({name: value for name, value in delta.items() if name != "type"})
            if "citation" in delta:
                block["citations"] = [*objects(block.get("citations") or []), delta["citation"]]
            if "partial_json" in delta:
                inputs[frame["index"]] = inputs.get(frame["index"], "") + str(delta["partial_json"])
    for index, block in blocks.items():
        if inputs.get(index):
            block["input"] = json.loads(inputs[index])
        if block["type"] != "text" or str(block["text"]).strip():  # the API refuses blank text
            yield _without_empty(block)


def _without_empty(block: Json) -> Json:
    """Fields that say nothing may go or stay."""
    return {name: value for name, value in block.items() if value not in (None, [])}


@needs_shared
@pytest.mark.parametrize("turn", turns("gemini"))
def test_generate_content(turn: SecondTurn) -> None:
    """Each thought signature with the part it came with, each call answered by name (and id, where there is one)."""
    user, spoken, answered = objects(turn.body["contents"])
    assert ["user", "model", "user"] == [user["role"], spoken["role"], answered["role"]]
    parts = objects(spoken["parts"])
    calls = [under(part, "functionCall") for part in parts if "functionCall" in part]
    assert [(call["name"], call["arguments"]) for call in turn.calls] == [(c["name"], c.get("args", {})) for c in calls]
    answers = objects(answered["parts"]) if turn.calls else []
    responses = [under(part, "functionResponse") for part in answers]
    assert [(c["name"], c.get("id")) for c in calls] == [(r["name"], r.get("id")) for r in responses]
    assert results_of(turn) == [under(response, "response")["output"] for response in responses]
    assert list(_signatures(turn.frames)) == [
        (_kind(part), part["thoughtSignature"])
        for part in parts
        if part.get("thoughtSignature", "skip_thought_signature_validator") != "skip_thought_signature_validator"
    ]
    assert not calls or "thoughtSignature" in next(part for part in parts if "functionCall" in part)


def _signatures(frames: list[Json]) -> Iterator[tuple[str, object]]:
    for frame in frames:
        for candidate in objects(frame.get("candidates") or []):
            for part in objects(under(candidate, "content").get("parts") or []):
                if "thoughtSignature" in part:
                    yield _kind(part), part["thoughtSignature"]


def _kind(part: Json) -> str:
    return next(kind for kind in ("functionCall", "text", "toolCall", "toolResponse", "executableCode") if kind in part)


@needs_shared
@pytest.mark.parametrize("turn", turns("ollama"))
def test_ollama(turn: SecondTurn) -> None:
    """The assistant's calls and thinking in one message, then a tool message for each call, by name and id."""
    _, spoken, *results = objects(turn.body["messages"])
    assert ["assistant", *["tool"] * len(turn.calls)] == [str(message["role"]) for message in (spoken, *results)]
    functions = [under(call, "function") for call in objects(spoken["tool_calls"])]
    assert [(c["name"], c["arguments"]) for c in turn.calls] == [(f["name"], f["arguments"]) for f in functions]
    assert [call["name"] for call in turn.calls] == [result["tool_name"] for result in results]
    assert results_of(turn) == [result["content"] for result in results]
    thoughts = "".join(str(under(frame, "message").get("thinking") or "") for frame in turn.frames)
    assert thoughts == spoken.get("thinking", "")
    ids = [
        call["id"]
        for frame in turn.frames
        for call in objects(under(frame, "message").get("tool_calls") or [])
        if "id" in call
    ]
    assert ids == [result["tool_call_id"] for result in results][: len(ids)]
