"""What all decoders share: strict reading of JSON, and `AnswerBuilder`, the answer as it grows.

Its methods record a piece and return the event for it, so that what is emitted and what `StreamEnd` holds
cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Literal

import msgspec

from .._json import decode, is_array, is_object, valid_text
from .._protocol import Frame
from .._transport.vendor_errors import Fault, fault_of, stream_error
from ..errors import LLMError, ProtocolError, StreamInterruptedError, ToolArgumentsError
from ..events import (
    FinishReason,
    ReasoningDelta,
    Response,
    StreamEnd,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    VendorEvent,
)
from ..messages import Part, ReasoningPart, TextPart, ToolCall, VendorFields, VendorPart
from ._endpoint import Endpoint

_decode = msgspec.json.Decoder[object](object).decode
"""Strict, unlike `_json.decode`: half of a surrogate pair may find the other half in the next frame."""


def read_objects(frame: Frame, answer: AnswerBuilder) -> Sequence[dict[str, object]]:
    """Return the JSON objects of a frame: nearly always one; raises what `read_object` raises.

    Some servers put several documents into one event: one after the other, or with line breaks between.
    """
    try:
        value = read_object(frame, answer)
    except ProtocolError:
        values = [] if frame.is_document else _documents(frame.data.decode("utf-8", "replace"))
        if not values:
            raise
        return values
    return () if value is None else (value,)


def read_object(frame: Frame, answer: AnswerBuilder | None = None) -> dict[str, object] | None:
    """Return the frame's JSON object; None if its payload is JSON of another type.

    With a `answer`, its text can always be encoded: a surrogate pair cut between two frames is put
    together in the second, and what stays half of one becomes U+FFFD. Without, halves are kept.

    Raises `StreamInterruptedError` if a cut-off last frame does not parse, `ProtocolError`
    if a whole one does not, and the vendor's error if the frame is a bare error document.
    """
    try:
        value = _decode(frame.data)
    except (ValueError, RecursionError):
        value = _read_leniently(frame, answer)
    if frame.is_document:
        raise bare_error(value)
    return value if is_object(value) else None


def bare_error(value: object) -> LLMError:
    """Return the error for a JSON document that stands where a stream was expected."""
    fault = fault_of(value)
    if fault is not None:
        return stream_error(fault)
    return ProtocolError("the server sent a JSON document where a stream was expected: it may not support streaming")


def provider_error(payload: object) -> LLMError:
    """Return the error for a vendor's in-band error payload."""
    return stream_error(fault_of(payload) or Fault("", ()))


def is_filled(value: object) -> bool:
    """Return whether `value` holds more than nulls, zeros and empty values."""
    return any(value.values()) if is_object(value) else bool(value)


def unknown_fields(source: Mapping[str, object], known: frozenset[str]) -> dict[str, object]:
    """Return the filled fields of `source` that are not among the `known` ones."""
    return {name: value for name, value in source.items() if name not in known and is_filled(value)}


def error_event(frame: Frame) -> LLMError:
    """Return the error of an SSE event whose name is "error", whatever its data is."""
    text = frame.data.decode("utf-8", "replace").strip()
    try:
        payload = decode(frame.data)
    except (ValueError, RecursionError):
        payload = text
    return provider_error(payload if fault_of(payload) is not None else {"message": text})


def interrupted_before(terminal: str) -> StreamInterruptedError:
    """Return the error for a stream that ended before `terminal`."""
    return StreamInterruptedError(f"the stream ended before {terminal}; the answer so far is in .partial")


BROKEN_OFF = frozenset(
    {
        *("abort", "aborted", "cancelled", "canceled", "interrupted", "disconnect", "disconnected"),
        *("network_error", "insufficient_system_resource", "time_limit", "timeout", "engine_error", "server_error"),
    }
)
"""Finish reasons, in lower case, that say that the server broke the answer off."""


def broken_off(answer: AnswerBuilder, reason: str) -> StreamInterruptedError:
    """Return the error for an answer that the server broke off for `reason`; its tool calls are not handed out."""
    answer.drop_calls()
    return StreamInterruptedError(f"the server broke the answer off ({reason}); what came of it is in .partial")


def arguments_error(name: str) -> ToolArgumentsError:
    """Return the error for a whole answer with a tool call whose arguments are not a JSON object."""
    return ToolArgumentsError(f"the arguments of the tool call {name!r} are not a JSON object")


def _read_leniently(frame: Frame, answer: AnswerBuilder | None) -> object:
    """Decode JSON that msgspec refuses: invalid UTF-8 (replaced) and halves of surrogate pairs."""
    try:
        value: object = json.loads(frame.data.decode("utf-8", "replace"))
        return value if answer is None else _encodable(value, answer)
    except (ValueError, RecursionError) as error:
        if not frame.whole:
            raise StreamInterruptedError(
                "the stream ended inside an event; the answer so far is in .partial"
            ) from error
        start = frame.data[:80].decode("utf-8", "replace")
        raise ProtocolError(f"an event is not valid JSON, it starts {start!r}") from error


def _encodable(value: object, answer: AnswerBuilder) -> object:
    """Return `value` with text that can be encoded; half a surrogate pair at the end of a text waits in `answer`."""
    if isinstance(value, str):
        if answer.high_surrogate and "\udc00" <= value[:1] <= "\udfff":
            value, answer.high_surrogate = answer.high_surrogate + value, ""
        if "\ud800" <= value[-1:] <= "\udbff":
            value, answer.high_surrogate = value[:-1], value[-1]
        return valid_text(value)
    if is_array(value):
        return [_encodable(item, answer) for item in value]
    if is_object(value):
        return {str(_encodable(key, AnswerBuilder(""))): _encodable(item, answer) for key, item in value.items()}
    return value


def _documents(text: str) -> list[dict[str, object]]:
    """Return the JSON objects that follow each other in `text`, up to a [DONE]; empty if there is anything else."""
    values: list[dict[str, object]] = []
    position = 0
    while position < len(text) and not text.startswith("[DONE]", position):
        try:
            value, position = _scan(text, position)
        except (ValueError, RecursionError):
            return []
        if not is_object(value):
            return []
        values.append(value)
        while text[position : position + 1].isspace():
            position += 1
    return values


_scan = json.JSONDecoder().raw_decode


class _Call:
    """A tool call as it grows."""

    __slots__ = ("arguments", "ended", "id", "name", "vendor")

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.arguments: list[str] = []
        self.vendor: VendorFields | None = None
        self.ended: ToolCall | None = None


class AnswerBuilder:
    """The answer as it grows.

    `id`, `model`, `usage` and `raw_finish_reason` are set by the decoder as they come.
    Parts keep the order in which they came; neighbouring pieces of a kind are one part.
    """

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        self.provider = provider
        self._endpoint = endpoint
        self.id: str | None = None
        self.model: str | None = None
        self.usage = Usage()
        self.finish_reason: FinishReason | None = None
        self.raw_finish_reason: str | None = None
        self.calls: dict[int, _Call] = {}
        self._parts: list[Part | _Call] = []
        self._kind: Literal["text", "reasoning"] | None = None
        self._pieces = StringIO()  # a list would hold about 60 bytes for each delta
        self._vendor: VendorFields | None = None
        self._reported: dict[str, object] = {}
        self.high_surrogate = ""
        """The first half of a character whose second half is still to come (see `read_object`)."""

    def text(self, piece: str) -> TextDelta:
        """Record a piece of visible text."""
        if self._kind != "text":
            self.end_part()
            self._kind = "text"
        self._pieces.write(piece)
        return TextDelta(piece)

    def reasoning(self, piece: str) -> ReasoningDelta:
        """Record a piece of reasoning."""
        if self._kind != "reasoning":
            self.end_part()
            self._kind = "reasoning"
        self._pieces.write(piece)
        return ReasoningDelta(piece)

    def sign(self, kind: Literal["text", "reasoning"], vendor: VendorFields) -> None:
        """Attach what the vendor wants sent back to the part under way, which is of `kind` (empty if need be)."""
        if self._kind != kind:
            self.end_part()
            self._kind = kind
        self._vendor = {**(self._vendor or {}), **vendor}

    def signed(self, key: str) -> Mapping[str, object]:
        """Return what has been attached under `key` to the part under way."""
        return (self._vendor or {}).get(key, {})

    def end_part(self) -> None:
        """Close the text or reasoning part under way, so that the next piece begins another."""
        if self._kind is not None:
            text = self._pieces.getvalue()
            if text or self._vendor:
                part = TextPart if self._kind == "text" else ReasoningPart
                self._parts.append(part(text, self._vendor))
        self._kind, self._pieces, self._vendor = None, StringIO(), None

    def vendor_part(self, wire: str, data: dict[str, object]) -> None:
        """Record a whole item to be carried back."""
        self.end_part()
        self._parts.append(VendorPart(wire, data))

    def vendor_events(self, source: Mapping[str, object], known: frozenset[str]) -> list[VendorEvent]:
        """Return a `VendorEvent` for each filled field of `source` that is not among the `known` ones.

        What is repeated unchanged is reported once.
        """
        events: list[VendorEvent] = []
        for name, value in unknown_fields(source, known).items():
            if self._reported.get(name) != value:
                self._reported[name] = value
                events.append(VendorEvent(name, value if is_object(value) else {name: value}))
        return events

    def start_call(self, index: int, call_id: str, name: str, vendor: VendorFields | None = None) -> ToolCallStart:
        """Record the begin of the tool call `index`."""
        self.end_part()
        name = name if self._endpoint is None else self._endpoint.tool_name(name)
        call = self.calls[index] = _Call(call_id, name)
        call.vendor = vendor
        self._parts.append(call)
        return ToolCallStart(index, call_id, name)

    def add_arguments(self, index: int, piece: str) -> ToolCallDelta:
        """Record a piece of the arguments' JSON text of the tool call `index`."""
        self.calls[index].arguments.append(piece)
        return ToolCallDelta(index, piece)

    def end_call(self, index: int, arguments: Mapping[str, object] | None = None) -> ToolCallEnd | None:
        """End the tool call `index`; None if it has ended, or its arguments are no JSON object.

        `arguments` replaces the recorded text if the wire has them parsed. Empty text and the
        text "null" mean no arguments.
        """
        call = self.calls[index]
        if call.ended is not None:
            return None
        parsed = dict(arguments) if arguments is not None else arguments_of("".join(call.arguments))
        if parsed is None:
            return None
        call.ended = ToolCall(call.id, call.name, parsed, call.vendor)
        return ToolCallEnd(index, call.ended)

    def end_calls(self) -> list[ToolCallEnd]:
        """End all tool calls still open whose arguments are whole."""
        return [end for index in self.calls if (end := self.end_call(index)) is not None]

    def unfinished_call(self) -> str | None:
        """Return the name of a tool call whose arguments never became a JSON object; None if there is none."""
        return next((call.name for call in self.calls.values() if call.ended is None), None)

    def drop_calls(self) -> None:
        """Take the tool calls out of the answer: its vendor broke it off, and they must not be run."""
        self._parts = [part for part in self._parts if not isinstance(part, _Call)]

    def finish(self, reason: FinishReason, raw: str | None) -> StreamEnd:
        """Return the terminal event, with the whole answer; without its tool calls if it was refused or filtered."""
        if reason in ("refusal", "content_filter"):
            self.drop_calls()
        self.finish_reason, self.raw_finish_reason = reason, raw
        return StreamEnd(self.response())

    def response(self) -> Response:
        """Return the answer so far."""
        parts = self._closed_parts()
        return Response(
            text="".join(part.text for part in parts if isinstance(part, TextPart)),
            reasoning="".join(part.text for part in parts if isinstance(part, ReasoningPart)),
            tool_calls=tuple(part for part in parts if isinstance(part, ToolCall)),
            finish_reason=self.finish_reason,
            raw_finish_reason=self.raw_finish_reason,
            usage=self.usage,
            id=self.id,
            model=self.model,
            provider=self.provider,
            parts=parts,
        )

    def _closed_parts(self) -> tuple[Part, ...]:
        parts: Sequence[Part | _Call] = self._parts
        if self._kind is not None and (self._pieces.tell() or self._vendor):
            part = TextPart if self._kind == "text" else ReasoningPart
            parts = [*parts, part(self._pieces.getvalue(), self._vendor)]
        closed = (part.ended if isinstance(part, _Call) else part for part in parts)
        return tuple(part for part in closed if part is not None)


class AnswerDecoder:
    """What the decoders of all wires have in common.

    Args:
        wire: The key of what goes back to the vendor, if there is no `endpoint`.
        provider: The provider's name.
        endpoint: Where the answer comes from.
    """

    def __init__(self, wire: str, provider: str, endpoint: Endpoint | None = None) -> None:
        self.finished = False
        self._key = wire if endpoint is None else endpoint.key
        self._answer = AnswerBuilder(provider, endpoint)
        self._started = False

    def partial(self) -> Response:
        """Return the answer so far."""
        return self._answer.response()


def reasons(words_of: Mapping[FinishReason, str]) -> dict[str, FinishReason]:
    """Return our reason for each of a vendor's words.

    >>> reasons({"stop": "end_turn", "length": "max_tokens max_output_tokens"})["max_tokens"]
    'length'
    """
    return {word: reason for reason, words in words_of.items() for word in words.split()}


def arguments_of(text: str) -> dict[str, object] | None:
    """Return a tool call's arguments from their JSON text; None if that is not a JSON object."""
    if not text.strip():
        return {}
    try:
        value = decode(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str) and value[:1] in ("{", "["):
        return arguments_of(value)  # some models encode the object twice
    if value is None:
        return {}
    return value if is_object(value) else None
