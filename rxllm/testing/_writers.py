"""How each protocol says an answer: one writer a wire, from pieces to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .._json import encode
from ..events import FinishReason, Usage
from ..messages import ToolCall
from ._openai_writers import ChatWriter, ResponsesWriter
from ._writing import ANSWER_ID, Writer, argument_pieces, known, sse, sse_event
from .recorded import RecordedRequest, WireName


class _Anthropic:
    """Anthropic Messages: content blocks open and close."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        self._id = answer_id or f"msg_{ANSWER_ID}"
        self._model = model
        self._input_tokens = len(request.prompt.split())
        self._index = -1
        self._open: str | None = None

    def begin(self) -> bytes:
        usage = {"input_tokens": self._input_tokens, "output_tokens": 0}
        message = {"id": self._id, "type": "message", "role": "assistant", "model": self._model, "usage": usage}
        rest: dict[str, object] = {"content": [], "stop_reason": None, "stop_sequence": None}
        return sse_event("message_start", message={**message, **rest}) + self.keep_alive()

    def reasoning(self, piece: str) -> bytes:
        opened = self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta({"type": "thinking_delta", "thinking": piece})

    def text(self, piece: str) -> bytes:
        opened = self._turn_to("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "text_delta", "text": piece})

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        block: dict[str, object] = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        opened = self._turn_to(f"tool {index}", block)
        yield opened + self._delta({"type": "input_json_delta", "partial_json": ""})
        for piece in argument_pieces(call):
            yield self._delta({"type": "input_json_delta", "partial_json": piece})

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "other": "unheard_of"}
        delta = {"stop_reason": reasons.get(finish, "refusal"), "stop_sequence": None}
        counts = {} if usage is None else {"usage": _anthropic_usage(usage)}
        closed = self._turn_to(None, {})
        return closed + sse_event("message_delta", delta=delta, **counts) + sse_event("message_stop")

    def error(self, message: str, kind: str) -> bytes:
        return sse_event("error", error={"type": kind, "message": message})

    def keep_alive(self) -> bytes:
        return sse_event("ping")

    def _turn_to(self, kind: str | None, block: Mapping[str, object]) -> bytes:
        if kind == self._open:
            return b""
        out = b""
        if self._open == "thinking":
            out += self._delta({"type": "signature_delta", "signature": "c2lnbmVk"})
        if self._open is not None:
            out += sse_event("content_block_stop", index=self._index)
        self._open = kind
        if kind is None:
            return out
        self._index += 1
        return out + sse_event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: Mapping[str, object]) -> bytes:
        return sse_event("content_block_delta", index=self._index, delta=delta)


class _Gemini:
    """Gemini generateContent with alt=sse: no terminal event but a finishReason; tool calls come whole."""

    content_type = "text/event-stream"

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        self._tail = {"modelVersion": model, "responseId": answer_id or ANSWER_ID}

    def begin(self) -> bytes:
        return b""

    def reasoning(self, piece: str) -> bytes:
        return self._part({"text": piece, "thought": True})

    def text(self, piece: str) -> bytes:
        return self._part({"text": piece})

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        yield self._part({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}})

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        reasons = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "other": "UNHEARD_OF"}
        candidate = {"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}
        counts = {} if usage is None else {"usageMetadata": _gemini_usage(usage)}
        return sse(
            {"candidates": [{**candidate, "finishReason": reasons.get(finish, "SAFETY")}], **counts, **self._tail}
        )

    def error(self, message: str, kind: str) -> bytes:
        return sse({"error": {"code": 503, "message": message, "status": kind.upper()}})

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def _part(self, part: Mapping[str, object]) -> bytes:
        content = {"role": "model", "parts": [part]}
        return sse({"candidates": [{"content": content, "index": 0}], **self._tail})


class _Ollama:
    """Ollama /api/chat: a JSON document a line; tool calls come whole."""

    content_type = "application/x-ndjson"

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        self._head = {"model": model, "created_at": "2025-01-01T00:00:00.000000Z"}

    def begin(self) -> bytes:
        return b""

    def reasoning(self, piece: str) -> bytes:
        return self._line({"content": "", "thinking": piece})

    def text(self, piece: str) -> bytes:
        return self._line({"content": piece})

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        function = {"index": index, "name": call.name, "arguments": call.arguments}
        yield self._line({"content": "", "tool_calls": [{"id": call.id, "function": function}]})

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        counts = {} if usage is None else _ollama_usage(usage)
        reason = "length" if finish == "length" else "stop"
        return self._line({"content": ""}, done=True, done_reason=reason, total_duration=1, **counts)

    def error(self, message: str, kind: str) -> bytes:
        return encode({"error": message}) + b"\n"

    def keep_alive(self) -> bytes:
        return b"\n"

    def _line(self, message: Mapping[str, object], *, done: bool = False, **rest: object) -> bytes:
        return encode({**self._head, "message": {"role": "assistant", **message}, "done": done, **rest}) + b"\n"


WRITERS: Mapping[WireName, type[Writer]] = {
    "openai-chat": ChatWriter,
    "openai-responses": ResponsesWriter,
    "anthropic": _Anthropic,
    "gemini": _Gemini,
    "ollama": _Ollama,
}


def _anthropic_usage(usage: Usage) -> dict[str, object]:
    return known(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cached_input_tokens,
    )


def _gemini_usage(usage: Usage) -> dict[str, object]:
    return known(
        promptTokenCount=usage.input_tokens,
        candidatesTokenCount=usage.output_tokens,
        totalTokenCount=usage.total_tokens,
        cachedContentTokenCount=usage.cached_input_tokens,
        thoughtsTokenCount=usage.reasoning_tokens,
    )


def _ollama_usage(usage: Usage) -> dict[str, object]:
    return known(prompt_eval_count=usage.input_tokens, eval_count=usage.output_tokens)
