"""The five wires as a vendor speaks them: the bytes of an answer, and where the text is in them.

Events have the fields and the length of the vendors' own. Each text delta is an event with a slot
for its text, so that a paced server can put the time of sending there; the Responses wire also
numbers its events, and readers look at that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

WORDS = [" the", "tion", " “q”", "\n\n- ", '"ok"', " 1.5", "é né", "ing,"]
"""What a full-speed answer says, about four characters at a time."""

_SLOT, _NUMBER = "%b", 987654321


class Wire(NamedTuple):
    """One protocol."""

    provider: str
    """rxllm's name for it."""
    base_path: str
    """What rxllm and the vendor's SDK want after the origin."""
    path: str
    """Where a request goes; {model} is put in."""
    content_type: str
    begin: bytes
    event: bytes
    """A text delta, with slots for its number, if it has one, and its text."""
    end: bytes
    """What follows them, with slots for numbers."""
    first_number: int | None
    """Of the first text delta."""
    text: Callable[[Any], str | None]
    """The text in a decoded event; None or empty where it has none."""

    def body(self, model: str) -> bytes:
        """The smallest request."""
        messages = [{"role": "user", "content": "?"}]
        asked: dict[str, object] = {"model": model, "stream": True, "max_tokens": 99, "messages": messages}
        if self.provider == "openai-responses":
            asked = {"model": model, "stream": True, "input": "?"}
        elif self.provider == "gemini":
            asked = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
        return json.dumps(asked).encode()

    def delta(self, text: bytes, place: int) -> bytes:
        """The event that says `text`, JSON as it stands in a string, after so many others."""
        return self.event % (text if self.first_number is None else (self.first_number + place, text))

    def ending(self, deltas: int) -> bytes:
        """What follows so many text deltas."""
        if self.first_number is None:
            return self.end
        number = self.first_number + deltas
        return self.end % tuple(range(number, number + self.end.count(b"%d")))

    def events(self, deltas: int) -> list[bytes]:
        """A whole answer of so many text deltas."""
        said = [json.dumps(word, ensure_ascii=False)[1:-1].encode() for word in WORDS]
        texts = (self.delta(said[place % len(said)], place) for place in range(deltas))
        return [self.begin, *texts, self.ending(deltas)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sse(value: dict[str, Any], *, named: bool = True, end: str = "\n\n") -> str:
    name = f"event: {value['type']}\n" if named else ""
    return f"{name}data: {_json(value)}{end}"


def _wire(provider: str, base_path: str, path: str, events: tuple[str, str, str], text: Callable[[Any], Any]) -> Wire:
    begin, delta, end = events
    kind = "application/x-ndjson" if provider == "ollama" else "text/event-stream"
    event, ending = (part.replace(str(_NUMBER), "%d").encode() for part in (delta, end))
    first_number = 3 if provider == "openai-responses" else None
    return Wire(provider, base_path, path, kind, begin.encode(), event, ending, first_number, text)


def _chat() -> Wire:
    def chunk(delta: dict[str, object], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        shell = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1770933892}
        shell |= {"model": "gpt", "service_tier": "default", "system_fingerprint": "fp_0"}
        return _sse({**shell, "choices": [choice], "usage": None}, named=False)

    begin = chunk({"role": "assistant", "content": ""})
    events = begin, chunk({"content": _SLOT}), chunk({}, "stop") + "data: [DONE]\n\n"
    return _wire(
        "openai-compatible", "/v1", "/v1/chat/completions", events, lambda e: e["choices"][0]["delta"].get("content")
    )


def _responses() -> Wire:
    item: dict[str, object] = {"id": "msg_0123456789abcdef", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    whole = {"id": "resp_0123456789abcdef", "object": "response", "created_at": 1770933892, "model": "gpt"}
    whole |= {"error": None, "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto"}
    whole |= {"tools": [], "temperature": 1.0, "top_p": 1.0, "metadata": {}, "instructions": None}
    details: dict[str, object] = {"input_tokens_details": {"cached_tokens": 0}}
    details |= {"output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 1, "output_tokens": 9, "total_tokens": 10, **details}

    def event(number: int, kind: str, **fields: object) -> str:
        return _sse({"type": f"response.{kind}", "sequence_number": number, **fields})

    def response(status: str, output: list[object], usage: object) -> dict[str, object]:
        return {**whole, "status": status, "output": output, "usage": usage}

    begun = {**item, "status": "in_progress", "content": []}
    ended: dict[str, object] = {**item, "status": "completed", "content": [part]}
    begin = event(0, "created", response=response("in_progress", [], None))
    begin += event(1, "output_item.added", output_index=0, item=begun)
    begin += event(2, "content_part.added", **place, part=part)
    delta = event(_NUMBER, "output_text.delta", **place, delta=_SLOT, logprobs=[], obfuscation="a1B2c3D4e5F6")
    end = event(_NUMBER, "output_text.done", **place, text="", logprobs=[])
    end += event(_NUMBER, "content_part.done", **place, part=part)
    end += event(_NUMBER, "output_item.done", output_index=0, item=ended)
    end += event(_NUMBER, "completed", response=response("completed", [ended], usage))

    def text(value: Any) -> Any:
        return value["delta"] if value["type"] == "response.output_text.delta" else None

    return _wire("openai-responses", "/v1", "/v1/responses", (begin, delta, end), text)


def _anthropic() -> Wire:
    message: dict[str, object] = {"id": "msg_0123456789", "type": "message", "role": "assistant", "model": "claude"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    begin = _sse({"type": "message_start", "message": {**message, "usage": usage}})
    begin += _sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    begin += _sse({"type": "ping"})
    delta = _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _SLOT}})
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    end = _sse({"type": "content_block_stop", "index": 0})
    end += _sse({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 9}})
    end += _sse({"type": "message_stop"})

    def text(value: Any) -> Any:
        return value["delta"]["text"] if value["type"] == "content_block_delta" else None

    return _wire("anthropic", "", "/v1/messages", (begin, delta, end), text)


def _gemini() -> Wire:
    def chunk(text: str, **rest: object) -> str:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, **rest, "index": 0}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 9, "totalTokenCount": 10}
        tail = {"usageMetadata": usage, "modelVersion": "gemini", "responseId": "0123456789"}
        return _sse({"candidates": [candidate], **tail}, named=False, end="\r\n\r\n")

    return _wire(
        "gemini",
        "",
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        ("", chunk(_SLOT), chunk("", finishReason="STOP")),
        lambda e: e["candidates"][0]["content"]["parts"][0]["text"],
    )


def _ollama() -> Wire:
    def line(text: str, **rest: object) -> str:
        head = {"model": "m", "created_at": "2026-01-01T00:00:00.123456789Z"}
        return _json({**head, "message": {"role": "assistant", "content": text}, **(rest or {"done": False})}) + "\n"

    counts: dict[str, object] = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 1, "eval_count": 9}
    end = line("", done_reason="stop", done=True, **counts)
    return _wire("ollama", "", "/api/chat", ("", line(_SLOT), end), lambda e: e["message"]["content"])


WIRES = {
    "chat": _chat(),
    "responses": _responses(),
    "anthropic": _anthropic(),
    "gemini": _gemini(),
    "ollama": _ollama(),
}


@cache
def whole_body(wire: str, deltas: int, *, chunked: bool) -> bytes:
    """The body of an answer at full speed, each event in an HTTP chunk of its own."""
    events = [event for event in WIRES[wire].events(deltas) if event]
    return b"".join(map(chunk, events)) + LAST_CHUNK if chunked else b"".join(events)


def chunk(data: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
