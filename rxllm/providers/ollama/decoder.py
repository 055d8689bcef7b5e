"""The Ollama /api/chat wire: a JSON object a line.

Ends with the line that has `done: true`, which may hold text too. Tool calls come whole; one
without an id gets one. The durations of the last line become a `VendorEvent`.

`total_tokens` is the sum of prompt and answer if both are known; tokens that the server did not
count because the prompt was cached are unknown, not 0.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ..._json import count_at, encode, object_at, objects_at, text_at
from ..._protocol import Frame
from ...errors import ProtocolError
from ...events import FinishReason, StreamStart, TokenEvent, Usage, UsageUpdate, VendorEvent
from .._answer_builder import (
    BROKEN_OFF,
    AnswerDecoder,
    arguments_error,
    broken_off,
    interrupted_before,
    provider_error,
    read_objects,
    unknown_fields,
)
from .._endpoint import Endpoint
from .request import WIRE


class OllamaDecoder(AnswerDecoder):
    """Lines of a chat to token events."""

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(WIRE, provider, endpoint)
        self._fields: dict[str, object] = {}
        """Fields of the message that are not modelled, to be sent back with it."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one line."""
        if not self._started or self.finished:
            return self._read(frame)
        try:
            message = _plain_line(frame.data).message
        except (ValueError, RecursionError):
            return self._read(frame)
        if not message.thinking:
            return (self._answer.text(message.content),) if message.content else ()
        thought = self._answer.reasoning(message.thinking)
        return (thought, self._answer.text(message.content)) if message.content else (thought,)

    def close(self) -> Sequence[TokenEvent]:
        """End the body: raise `StreamInterruptedError` if no line had `done: true`."""
        if not self.finished:
            raise interrupted_before("a line with done: true")
        return ()

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """Return the events of a line of any form."""
        if self.finished or frame.data.strip() in (b"", b"[DONE]"):
            return ()
        events: list[TokenEvent] = []
        for line in read_objects(frame, self._answer):
            if line.get("error"):
                raise provider_error(line)
            events += self._line(line)
        return events

    def _line(self, line: dict[str, object]) -> Sequence[TokenEvent]:
        events: list[TokenEvent] = []
        self._answer.model = self._answer.model or text_at(line, "model")
        message = object_at(line, "message") or _generated(line)
        if not self._started and (message or line.get("done") is True):
            self._started = True
            events.append(StreamStart(None, self._answer.model))
        if thought := text_at(message, "thinking") or text_at(line, "thinking"):
            events.append(self._answer.reasoning(thought))
        if text := text_at(message, "content"):
            events.append(self._answer.text(text))
        for call in objects_at(message, "tool_calls"):
            self._call(call, text_at(line, "created_at") or "", events)
        events += self._answer.vendor_events(message, _MESSAGE_FIELDS)
        self._fields |= unknown_fields(message, _MESSAGE_FIELDS)
        if line.get("done") is True:
            self._end(line, events)
        elif self._started:
            events += self._answer.vendor_events(line, _LINE_FIELDS)
        return events

    def _call(self, call: dict[str, object], created_at: str, events: list[TokenEvent]) -> None:
        """Add a tool call, which comes whole; one without an id gets one from the time of its line."""
        function = object_at(call, "function")
        name = text_at(function, "name")
        if name is None:
            raise ProtocolError("a tool call has no function name")
        index = len(self._answer.calls)
        stamp = "".join(filter(str.isalnum, created_at))
        call_id = text_at(call, "id") or "_".join(filter(None, ("call", stamp, str(index))))
        events.append(self._answer.start_call(index, call_id, name, _own_fields(self._key, call, function)))
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else encode(arguments or {}).decode()
        if text:
            events.append(self._answer.add_arguments(index, text))
        end = self._answer.end_call(index)
        if end is not None:
            events.append(end)

    def _end(self, line: dict[str, object], events: list[TokenEvent]) -> None:
        raw = text_at(line, "done_reason")
        if raw is not None and raw.lower() in BROKEN_OFF:
            raise broken_off(self._answer, raw)
        reason: FinishReason = "stop" if raw is None else _FINISH_REASONS.get(raw, "other")
        if reason == "stop" and (name := self._answer.unfinished_call()) is not None:
            raise arguments_error(name)
        if reason == "stop" and self._answer.calls:
            reason = "tool_calls"
        usage = _usage_of(line)
        if usage != Usage():
            self._answer.usage = usage
            events.append(UsageUpdate(usage))
        if others := unknown_fields(line, _LINE_FIELDS | _COUNTS):
            events.append(VendorEvent("done", others))
        self.finished = True
        if self._fields:
            self._answer.vendor_part(self._key, self._fields)
        events.append(self._answer.finish(reason, raw))


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


_plain_line = msgspec.json.Decoder(_PlainLine).decode


def _generated(line: Mapping[str, object]) -> dict[str, object]:
    """Return the message of a line in the form of /api/generate, which some imitators of the API use for chats."""
    return {name: line[key] for key, name in (("response", "content"), ("thinking", "thinking")) if key in line}


def _own_fields(
    key: str, call: Mapping[str, object], function: Mapping[str, object]
) -> dict[str, dict[str, object]] | None:
    """Return the fields of a tool call that `ToolCall` has no attribute for, to be sent back with it."""
    own = {name: value for name, value in call.items() if name not in ("id", "function") and value is not None}
    inner = {name: value for name, value in function.items() if name not in ("name", "arguments") and value is not None}
    if inner:
        own["function"] = inner
    return {key: own} if own else None


def _usage_of(line: Mapping[str, object]) -> Usage:
    prompt, output = count_at(line, "prompt_eval_count"), count_at(line, "eval_count")
    total = prompt + output if prompt is not None and output is not None else None
    return Usage(input_tokens=prompt, output_tokens=output, total_tokens=total)


_LINE_FIELDS = frozenset({"model", "created_at", "message", "response", "thinking", "done", "done_reason"})
_MESSAGE_FIELDS = frozenset({"role", "content", "thinking", "tool_calls"})
_COUNTS = frozenset({"prompt_eval_count", "eval_count"})
_FINISH_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
