"""The Ollama /api/chat wire: a JSON object a line.

Ends with the line that has `done: true`, which may hold text too. Tool calls come whole; one
without an id gets one. The durations of the last line become a `VendorEvent`.

`total_tokens` is the sum of prompt and answer if both are known; tokens that the server did not
count because the prompt was cached are unknown, not 0.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from ..._json import Json, object_at, objects_at, text_at
from ..._protocol import Frame
from ..._schema import decoder
from ...errors import ProtocolError
from ...events import TokenEvent, VendorEvent
from .._answer_builder import AnswerDecoder
from .._endpoint import Endpoint
from .._frame_reader import fields_back, provider_error, unknown_fields


class OllamaDecoder(AnswerDecoder):
    """Lines of a chat to token events."""

    wire = "ollama"
    terminal = "a line with done: true"

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(provider, endpoint)
        self._fields: Json = {}
        """Fields of the message that are not modelled, to be sent back with it."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one line."""
        if not self._is_open:
            return self._read(frame)
        try:
            message = _plain_line(frame.data).message
        except (ValueError, RecursionError):
            return self._read(frame)
        if not message.thinking:
            return (self._answer.text(message.content),) if message.content else ()
        thought = self._answer.reasoning(message.thinking)
        return (thought, self._answer.text(message.content)) if message.content else (thought,)

    def _payload(self, kind: str, payload: Json) -> Iterator[TokenEvent]:
        """Return the events of one line."""
        line = payload
        if line.get("error"):
            raise provider_error(line)
        self._answer.model = self._answer.model or text_at(line, "model")
        message = object_at(line, "message") or _generated(line)
        if thought := text_at(message, "thinking") or text_at(line, "thinking"):
            yield self._answer.reasoning(thought)
        if text := text_at(message, "content"):
            yield self._answer.text(text)
        for call in objects_at(message, "tool_calls"):
            yield from self._call(call, text_at(line, "created_at") or "")
        yield from self._answer.vendor_events(message, _MESSAGE_FIELDS)
        self._fields |= unknown_fields(message, _MESSAGE_FIELDS)
        if line.get("done") is True:
            yield from self._end(line)
        else:
            yield from self._answer.vendor_events(line, _LINE_FIELDS)

    def _call(self, call: Json, created_at: str) -> Iterator[TokenEvent]:
        """Add a tool call, which comes whole; one without an id gets one from the time of its line."""
        function = object_at(call, "function")
        name = text_at(function, "name")
        if name is None:
            raise ProtocolError("a tool call has no function name")
        index = len(self._answer.calls)
        stamp = "".join(filter(str.isalnum, created_at))
        call_id = text_at(call, "id") or "_".join(filter(None, ("call", stamp, str(index))))
        yield self._answer.start_call(index, call_id, name, _own_fields(call, function))
        yield from self._answer.end_call_with(index, function.get("arguments"))

    def _end(self, line: Json) -> Iterator[TokenEvent]:
        """Add the last events; raise if the answer was broken off, or is whole but for a tool call."""
        raw = text_at(line, "done_reason")
        yield from self._answer.use(self._words.usage_of(line))
        if others := unknown_fields(line, _LINE_FIELDS | self._words.modelled):
            yield VendorEvent("done", others)
        if self._fields:
            self._answer.vendor_part(self._fields)
        yield self._finish(self._words.reason_of(raw or "stop"), raw)


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: str = ""
    content: str = ""
    thinking: str = ""


class _PlainLine(msgspec.Struct, forbid_unknown_fields=True):
    """What nearly all lines are."""

    message: _PlainMessage
    done: Literal[False] = False
    model: str = ""
    created_at: str = ""


_plain_line = decoder(_PlainLine).decode


def _generated(line: Mapping[str, object]) -> Json:
    """Return the message of a line in the form of /api/generate, which some imitators of the API use for chats."""
    return {name: line[key] for key, name in (("response", "content"), ("thinking", "thinking")) if key in line}


def _own_fields(call: Mapping[str, object], function: Mapping[str, object]) -> Json:
    """Return the fields of a tool call that `ToolCall` has no attribute for, to be sent back with it."""
    own = fields_back(call, frozenset({"id", "function"}))
    inner = fields_back(function, frozenset({"name", "arguments"}))
    return {**own, "function": inner} if inner else own


_LINE_FIELDS = frozenset({"model", "created_at", "message", "response", "thinking", "done", "done_reason"})
_MESSAGE_FIELDS = frozenset({"role", "content", "thinking", "tool_calls"})
