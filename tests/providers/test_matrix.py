"""An answer of every wire goes on with every vendor: each request keeps that vendor's rules, and nothing leaks.

What goes back to the vendor that made it is in `OWN`: a signature, a cipher, a field that we do not model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytest

from rxllm.messages import Message, ToolResult, messages_from_json, messages_to_json
from rxllm.options import Options, Tool
from rxllm.providers.vendors import vendor_named, wire_for
from tests.providers.recordings import play
from tests.providers.vendor_rules import FAULTS, Json

Frames: TypeAlias = Sequence[Json]

WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CITY = '{"city":"Oslo"}'


def chat(*deltas: Json, finish: str) -> Frames:
    chunks: list[Json] = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return [*chunks, {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]


def call(index: int = 0, **more: object) -> Json:
    entry = {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": "weather", "arguments": CITY},
    }
    return {"tool_calls": [{**entry, **more}]}


def messages(*blocks: Json, stop: str) -> Frames:
    frames: list[Json] = [{"type": "message_start", "message": {"id": "m", "content": [], "usage": {}}}]
    for index, block in enumerate(blocks):
        frames.append({"type": "content_block_start", "index": index, "content_block": block})
        frames.append({"type": "content_block_stop", "index": index})
    return [*frames, {"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]


def use(index: int = 0) -> Json:
    return {"type": "tool_use", "id": f"toolu_{index}", "name": "weather", "input": {"city": "Oslo"}}


def responses(*items: Json, status: str = "completed") -> Frames:
    done: list[Json] = [
        {"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(items)
    ]
    reason = {} if status == "completed" else {"incomplete_details": {"reason": "max_output_tokens"}}
    start: Json = {"type": "response.created", "response": {"id": "r"}}
    return [start, *done, {"type": f"response.{status}", "response": {"id": "r", "status": status, **reason}}]


def item(kind: str, **more: object) -> Json:
    return {"type": kind, "id": f"{kind[:2]}_1", "status": "completed", **more}


def function_call(index: int = 0) -> Json:
    return item("function_call", call_id=f"call_{index}", name="weather", arguments=CITY) | {"id": f"fc_{index}"}


def gemini(*parts: Json, finish: str = "STOP") -> Frames:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0}
    return [{"candidates": [candidate], "responseId": "g", "modelVersion": "m"}]


def ollama(*messages: Json, reason: str = "stop") -> Frames:
    lines: list[Json] = [{"model": "m", "message": {"role": "assistant", "content": "", **one}} for one in messages]
    return [
        *lines,
        {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason},
    ]


FUNCTION: Json = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
REASONING = item("reasoning", summary=[{"type": "summary_text", "text": "hm"}], encrypted_content="CIPHER")
TEXT = item("message", role="assistant", content=[{"type": "output_text", "text": "Hi"}])
SEARCH: Json = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"encrypted_content": "CIPHER"}]}

ANSWERS: Mapping[tuple[str, str], Frames] = {
    ("openai-compatible", "text"): chat({"content": "Hi"}, finish="stop"),
    ("openai-compatible", "blank text and a call"): chat({"content": "\n\n"}, call(), finish="tool_calls"),
    ("openai-compatible", "unknown fields"): chat(
        {"reasoning_text": "hm", "reasoning_opaque": "CIPHER"}, call(extra_content={"s": "CIPHER"}), finish="tool_calls"
    ),
    ("openai-compatible", "refusal"): chat({"refusal": "No."}, finish="stop"),
    ("openai-compatible", "cut while thinking"): chat({"reasoning_content": "hm"}, finish="length"),
    ("openrouter", "signed reasoning"): chat(
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "CIPHER"}]},
        call(),
        call(1),
        finish="tool_calls",
    ),
    ("deepseek", "reasoning and parallel calls"): chat(
        {"reasoning_content": "hm"}, call(), call(1), finish="tool_calls"
    ),
    ("mistral", "thinking chunk"): chat(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": "Hi"},
        finish="stop",
    ),
    ("anthropic", "signed thinking and parallel calls"): messages(
        {"type": "thinking", "thinking": "hm", "signature": "CIPHER"}, use(), use(1), stop="tool_use"
    ),
    ("anthropic", "thinking with unknown fields"): messages(
        {"type": "thinking", "thinking": "hm", "signature": "s", "cipher": "CIPHER"}, use(), stop="tool_use"
    ),
    ("anthropic", "unsigned thinking"): messages({"type": "thinking", "thinking": "hm"}, use(), stop="tool_use"),
    ("anthropic", "blank text and a call"): messages({"type": "text", "text": "\n\n"}, use(), stop="tool_use"),
    ("anthropic", "server tool"): messages(SEARCH, FOUND, {"type": "text", "text": "Hi"}, stop="end_turn"),
    ("anthropic", "pause"): messages({"type": "text", "text": "I look."}, SEARCH, stop="pause_turn"),
    ("anthropic", "refusal after a call"): messages({"type": "text", "text": "I"}, use(), stop="refusal"),
    ("anthropic", "cut while thinking"): messages(
        {"type": "thinking", "thinking": "hm", "signature": "CIPHER"}, stop="max_tokens"
    ),
    ("openai-responses", "reasoning and parallel calls"): responses(REASONING, function_call(), function_call(1)),
    ("openai-responses", "server tool"): responses(item("web_search_call", action={"query": "q"}), TEXT),
    ("openai-responses", "cut while thinking"): responses(REASONING, status="incomplete"),
    ("gemini", "signed parallel calls"): gemini(
        {"text": "hm", "thought": True},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "CIPHER"},
        {"functionCall": {"name": "weather", "args": {"city": "Bergen"}}},
    ),
    ("gemini", "signed text"): gemini({"text": "Hi"}, {"text": "", "thoughtSignature": "CIPHER"}),
    ("gemini", "malformed call"): gemini(
        {"text": "I look."}, {"functionCall": {"name": "weather", "args": {}}}, finish="MALFORMED_FUNCTION_CALL"
    ),
    ("gemini", "cut while thinking"): gemini({"text": "hm", "thought": True}, finish="MAX_TOKENS"),
    ("ollama", "thinking and parallel calls"): ollama({"thinking": "hm"}, {"tool_calls": [FUNCTION, FUNCTION]}),
    ("ollama", "unknown fields"): ollama({"thinking": "hm", "cipher": "CIPHER"}, {"tool_calls": [FUNCTION]}),
    ("ollama", "cut while thinking"): ollama({"thinking": "hm"}, reason="length"),
}
OWN: Mapping[tuple[str, str], str] = {
    ("openai-compatible", "unknown fields"): "CIPHER",
    ("openrouter", "signed reasoning"): "CIPHER",
    ("deepseek", "reasoning and parallel calls"): '"reasoning_content":"hm"',
    ("mistral", "thinking chunk"): '"thinking"',
    ("anthropic", "signed thinking and parallel calls"): "CIPHER",
    ("anthropic", "thinking with unknown fields"): "CIPHER",
    ("anthropic", "unsigned thinking"): '"signature":""',
    ("anthropic", "server tool"): "CIPHER",
    ("anthropic", "pause"): "srv_1",
    ("openai-responses", "reasoning and parallel calls"): "CIPHER",
    ("openai-responses", "server tool"): "web_search_call",
    ("gemini", "signed parallel calls"): "CIPHER",
    ("gemini", "signed text"): "CIPHER",
    ("ollama", "thinking and parallel calls"): '"thinking":"hm"',
    ("ollama", "unknown fields"): "CIPHER",
}
MODELS = {"gemini": "gemini-flash-latest", "deepseek": "deepseek-v4-pro", "openai-responses": "gpt-5.4"}


def answer_of(provider: str, frames: Frames) -> Message:
    """The message of an answer that `provider` sent at its own address, stored and read again."""
    decoder = wire_for(vendor_named(provider), api_key="k", base_url=_address(provider)).decoder()
    lines = [json.dumps(frame) for frame in frames]
    body = "\n".join(lines) + "\n" if provider == "ollama" else "".join(f"data: {line}\n\n" for line in lines)
    played = play(decoder, [body.encode()], "ndjson" if provider == "ollama" else "sse")
    assert played.error is None
    return messages_from_json(messages_to_json([played.response.message]))[0]


def request_of(provider: str, answer: Message, *, results: bool) -> str:
    """The body that goes on from an answer: with the results of its tools, if it has calls, and a word of the user."""
    answered = [ToolResult(one.id, "sunny", one.name) for one in answer.tool_calls] if results else []
    history = [Message.user("Hi"), answer, *([Message.tool(*answered)] if answered else []), Message.user("And?")]
    wire = wire_for(vendor_named(provider), api_key="k", base_url=_address(provider))
    return wire.request(history, MODELS.get(provider, "m"), Options(tools=(WEATHER,))).body.decode()


def _address(provider: str) -> str:
    return f"https://{provider}.example.com/v1"


def _id(value: object) -> str:
    return str(value)


@pytest.mark.parametrize("results", [True, False], ids=["with results", "interrupted"])
@pytest.mark.parametrize(("source", "kind"), ANSWERS, ids=_id)
def test_an_answer_goes_on_with_another_vendor(source: str, kind: str, results: bool) -> None:
    """The request keeps that vendor's rules, and holds nothing that only the other vendor understands."""
    answer = answer_of(source, ANSWERS[source, kind])
    for target, faults in FAULTS.items():
        body = request_of(target, answer, results=results)
        assert not faults(target, json.loads(body)), target
        if target != source:
            assert "CIPHER" not in body, target
            assert "extra_content" not in body, target


@pytest.mark.parametrize(("source", "kind"), OWN, ids=_id)
def test_an_answer_goes_on_with_its_own_vendor(source: str, kind: str) -> None:
    """What that vendor wants back is in the request."""
    answer = answer_of(source, ANSWERS[source, kind])
    assert OWN[source, kind] in request_of(source, answer, results=True)


@pytest.mark.parametrize(("source", "kind"), OWN, ids=_id)
def test_another_address_of_the_same_wire_is_another_vendor(source: str, kind: str) -> None:
    """A signature of one server is refused by another: https://github.com/can1357/oh-my-pi/issues/6379."""
    answer = answer_of(source, ANSWERS[source, kind])
    wire = wire_for(vendor_named(source), api_key="k", base_url="https://elsewhere.example.com/v1")
    body = wire.request([Message.user("Hi"), answer, Message.user("And?")], MODELS.get(source, "m"), Options()).body
    assert b"CIPHER" not in body


@pytest.mark.parametrize("target", FAULTS)
def test_a_tool_with_another_name_is_called_and_answered_under_its_own(target: str) -> None:
    """Names of MCP servers have dots, slashes and no end: the vendor sees others, you and your tools do not."""
    name = f"3d calendar.search/{'x' * 80}"
    wire = wire_for(vendor_named(target), api_key="k", base_url=_address(target))
    model = MODELS.get(target, "m")
    body = wire.request([Message.user("Hi")], model, Options(tools=(Tool(name),))).body.decode()
    sent = str(_names(json.loads(body)["tools"]))
    assert name not in body
    frames = {
        "anthropic": messages({**use(), "name": sent}, stop="tool_use"),
        "gemini": gemini({"functionCall": {"name": sent, "args": {"a": 1}}}),
        "ollama": ollama({"tool_calls": [{"function": {"name": sent, "arguments": {"a": 1}}}]}),
        "openai-responses": responses({**function_call(), "name": sent}),
    }.get(target, chat(call(function={"name": sent, "arguments": CITY}), finish="tool_calls"))
    lines = [json.dumps(frame) for frame in frames]
    stream = "\n".join(lines) + "\n" if target == "ollama" else "".join(f"data: {line}\n\n" for line in lines)
    played = play(wire.decoder(), [stream.encode()], "ndjson" if target == "ollama" else "sse")
    assert [one.name for one in played.response.tool_calls] == [name]
    again = request_of(target, played.response.message, results=True)
    assert name not in again
    assert sent in again


def _names(tools: object) -> object:
    """The name of the only tool in any vendor's form."""
    if isinstance(tools, list):
        return _names(tools[0])
    assert isinstance(tools, dict)
    return tools["name"] if "name" in tools else _names(tools.get("function") or tools.get("functionDeclarations"))
