"""Writes answers as Anthropic Messages: content blocks open and close, one after the other.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import encode
from ...events import (
    ReasoningDelta,
    Response,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from .._words import WORDS
from .._writer import AnswerHead, AnswerWriter, sse_event

_Json = dict[str, object]


class MessagesWriter(AnswerWriter):
    """An `AnswerWriter` of `message_*` and `content_block_*` events."""

    id_prefix = "msg_"
    words = WORDS["anthropic"]
    signature = ""
    """Of thinking. A model's real one is bound to its vendor, so clients of this server get none."""

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._index = -1
        self._open: str | int | None = None
        """The kind of the open block, or the index of its tool call."""
        self._waiting: dict[int, list[str]] = {}
        """Arguments of calls whose block cannot be open now: blocks do not overlap on this wire."""

    def begin(self) -> str:
        """Return the message's start, and a ping."""
        usage = {"input_tokens": self._head.input_tokens, "output_tokens": 0}
        message: _Json = {**self._envelope(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return sse_event("message_start", message=message) + self.keep_alive()

    def event(self, event: TokenEvent) -> str:
        """Return the events of a delta or of a part of a tool call."""
        match event:
            case TextDelta(text):
                opened = self._turn_to("text", {"type": "text", "text": ""})
                return opened + self._delta({"type": "text_delta", "text": text})
            case ReasoningDelta(text):
                opened = self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                return opened + self._delta({"type": "thinking_delta", "thinking": text})
            case ToolCallStart(index, id, name):
                if isinstance(self._open, int):
                    self._waiting[index] = []
                    return ""
                return self._open_call(index, id, name)
            case ToolCallDelta(index, arguments):
                if index in self._waiting:
                    self._waiting[index].append(arguments)
                    return ""
                return self._delta({"type": "input_json_delta", "partial_json": arguments})
            case ToolCallEnd(index, call):
                return self._end_call(index, call.id, call.name, encode(call.arguments).decode())
            case _:
                return ""

    def end(self, response: Response) -> str:
        """Return the end of the open block and of the message."""
        closed = self._turn_to(None, {})
        delta = {"stop_reason": self._finish(response), "stop_sequence": None}
        usage = {"output_tokens": 0, **self.words.written_counts(response.usage)}
        return closed + sse_event("message_delta", delta=delta, usage=usage) + sse_event("message_stop")

    def error(self, message: str, kind: str) -> str:
        """Return the error event."""
        return sse_event("error", error={"type": kind, "message": message})

    def keep_alive(self) -> str:
        """Return a ping."""
        return sse_event("ping")

    def document(self, response: Response) -> _Json:
        """Return a `message`."""
        content: list[_Json] = []
        if response.reasoning:
            content.append({"type": "thinking", "thinking": response.reasoning, "signature": self.signature})
        if response.text:
            content.append({"type": "text", "text": response.text})
        for call in response.tool_calls:
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
        usage = {
            "input_tokens": self._head.input_tokens,
            "output_tokens": 0,
            **self.words.written_counts(response.usage),
        }
        ending = {"stop_reason": self._finish(response), "stop_sequence": None, "usage": usage}
        return {**self._envelope(), "content": content, **ending}

    def _envelope(self) -> _Json:
        return {"id": self._head.id, "type": "message", "role": "assistant", "model": self._head.model}

    def _open_call(self, index: int, id: str, name: str) -> str:  # noqa: A002 - the field's name
        block: _Json = {"type": "tool_use", "id": id, "name": name, "input": {}}
        self._argued = False
        return self._turn_to(index, block) + self._delta({"type": "input_json_delta", "partial_json": ""})

    def _end_call(self, index: int, id: str, name: str, arguments: str) -> str:  # noqa: A002 - the field's name
        if index == self._open:
            rest = "" if self._argued else self._delta({"type": "input_json_delta", "partial_json": arguments})
            return rest + self._turn_to(None, {})
        text = "".join(self._waiting.pop(index, [])) or arguments
        opened = self._open_call(index, id, name)
        return opened + self._delta({"type": "input_json_delta", "partial_json": text}) + self._turn_to(None, {})

    def _turn_to(self, kind: str | int | None, block: Mapping[str, object]) -> str:
        """Close the open block and open one of `kind`, unless that is the open one."""
        if kind == self._open:
            return ""
        out = ""
        if self._open == "thinking":
            out += self._delta({"type": "signature_delta", "signature": self.signature})
        if self._open is not None:
            out += sse_event("content_block_stop", index=self._index)
        self._open = kind
        if kind is None:
            return out
        self._index += 1
        return out + sse_event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: Mapping[str, object]) -> str:
        self._argued = bool(delta.get("partial_json"))
        return sse_event("content_block_delta", index=self._index, delta=delta)
