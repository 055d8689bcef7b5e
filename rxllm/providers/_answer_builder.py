"""`AnswerBuilder`, the answer as it grows, and `AnswerDecoder`, what the decoders of all wires have in common.

The builder's methods record a piece and return the event for it, so that what is emitted and what `StreamEnd` holds
cannot differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import ClassVar, Literal

import msgspec

from .._json import Json, decode, encode, is_object, text_at
from .._protocol import Frame
from ..errors import ProtocolError, StreamInterruptedError
from ..events import (
    FinishReason,
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from ..messages import Part, ReasoningPart, TextPart, ToolCall, VendorFields, VendorPart
from ._endpoint import Endpoint
from ._frame_reader import FrameReader, arguments_error, error_event, interrupted_before, unknown_fields
from ._vendor_terms import WORDS

BROKEN_OFF = frozenset(
    {
        *("abort", "aborted", "cancelled", "canceled", "interrupted", "disconnect", "disconnected", "error"),
        *("network_error", "insufficient_system_resource", "time_limit", "timeout", "engine_error", "server_error"),
    }
)
"""Finish reasons, in lower case, that say that the server broke the answer off."""


class _Call(msgspec.Struct):
    """A tool call as it grows."""

    id: str
    name: str
    vendor: VendorFields | None
    arguments: list[str] = []
    ended: ToolCall | None = None


class AnswerBuilder:
    """The answer as it grows.

    `id`, `model`, `usage` and `raw_finish_reason` are set by the decoder as they come.
    Parts keep the order in which they came; neighbouring pieces of a kind are one part.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.id: str | None = None
        self.model: str | None = None
        self.usage = Usage()
        self.finish_reason: FinishReason | None = None
        self.raw_finish_reason: str | None = None
        self.calls: dict[int, _Call] = {}
        self.has_other_calls = False
        """Calls came that are not modelled, such as those of custom tools, whose input is free text."""
        self._parts: list[Part | _Call] = []
        self._kind: Literal["text", "reasoning"] | None = None
        self._pieces = StringIO()  # a list would hold about 60 bytes for each delta
        self._own: Json | None = None
        """What the vendor wants sent back with the part under way."""
        self._reported: Json = {}

    def text(self, piece: str) -> TextDelta:
        """Record a piece of visible text."""
        if self._kind != "text":
            self.end_part("text")
        self._pieces.write(piece)
        return TextDelta(piece)

    def reasoning(self, piece: str) -> ReasoningDelta:
        """Record a piece of reasoning."""
        if self._kind != "reasoning":
            self.end_part("reasoning")
        self._pieces.write(piece)
        return ReasoningDelta(piece)

    def sign(self, kind: Literal["text", "reasoning"], own: Json) -> None:
        """Attach what the vendor wants sent back to the part under way, which is of `kind` (empty if need be)."""
        if self._kind != kind:
            self.end_part(kind)
        self._own = own if self._own is None else {**self._own, **own}

    def sign_thought(self, own: Json) -> None:
        """As `sign`, for the last thought, also if other parts have begun behind it; not for one that is signed."""
        thoughts = [(at, part) for at, part in enumerate(self._parts) if isinstance(part, ReasoningPart)]
        at, last = thoughts[-1] if thoughts else (0, ReasoningPart(""))
        before = self._endpoint.fields(last.vendor)
        if self._kind == "reasoning" or not last.text or before.get("signature"):
            self.sign("reasoning", own)
        else:
            self._parts[at] = ReasoningPart(last.text, {self._endpoint.key: {**before, **own}})

    def end_part(self, following: Literal["text", "reasoning"] | None = None) -> None:
        """Close the text or reasoning part under way; the next piece begins another one, of the kind `following`."""
        self._parts += self._part_under_way()
        self._kind, self._pieces, self._own = following, StringIO(), None

    def vendor_part(self, data: Json) -> None:
        """Record a whole item to be carried back."""
        self.end_part()
        self._parts.append(VendorPart(self._endpoint.key, data))

    def vendor_events(self, source: Mapping[str, object], known: frozenset[str]) -> Iterator[VendorEvent]:
        """Yield a `VendorEvent` for each filled field of `source` that is not among the `known` ones.

        What is repeated unchanged is reported once.
        """
        for name, value in unknown_fields(source, known).items():
            if self._reported.get(name) != value:
                self._reported[name] = value
                yield VendorEvent(name, value if is_object(value) else {name: value})

    def use(self, usage: Usage) -> list[UsageUpdate]:
        """Record the usage so far; return an event if it has changed."""
        changed = usage != self.usage
        self.usage = usage
        return [UsageUpdate(usage)] if changed else []

    def start_call(self, index: int, call_id: str, name: str, own: Json | None = None) -> ToolCallStart:
        """Record the begin of the tool call `index`; its `own` fields go back to the vendor with it."""
        self.end_part()
        vendor = {self._endpoint.key: own} if own else None
        call = self.calls[index] = _Call(call_id, self._endpoint.tool_name(name), vendor)
        self._parts.append(call)
        return ToolCallStart(index, call_id, call.name)

    def is_call(self, index: int, name: str) -> bool:
        """Return whether the tool call `index` is one of the function that the vendor calls `name`."""
        return self.calls[index].name == self._endpoint.tool_name(name)

    def sign_call(self, index: int, own: Json) -> None:
        """Attach what the vendor wants sent back with the tool call `index`, which may have ended."""
        call = self.calls[index]
        if own:
            call.vendor = {self._endpoint.key: {**self._endpoint.fields(call.vendor), **own}}
            call.ended = call.ended and msgspec.structs.replace(call.ended, vendor=call.vendor)

    def add_arguments(self, index: int, piece: str) -> ToolCallDelta:
        """Record a piece of the arguments' JSON text of the tool call `index`."""
        self.calls[index].arguments.append(piece)
        return ToolCallDelta(index, piece)

    def end_call(self, index: int, arguments: Mapping[str, object] | None = None) -> list[TokenEvent]:
        """End the tool call `index`; nothing if it has ended, or its arguments are not a JSON object.

        `arguments` replaces the recorded text if the wire has them parsed. Empty text and the
        text "null" mean no arguments.
        """
        call = self.calls[index]
        if call.ended is not None:
            return []
        parsed = dict(arguments) if arguments is not None else arguments_of("".join(call.arguments))
        if parsed is None:
            return []
        call.ended = ToolCall(call.id, call.name, parsed, call.vendor)
        return [ToolCallEnd(index, call.ended)]

    def end_call_with(self, index: int, arguments: object) -> list[TokenEvent]:
        """Add the whole arguments of a call and end it; some servers send JSON text in place of an object."""
        text = arguments if isinstance(arguments, str) else encode(arguments or {}).decode()
        added: list[TokenEvent] = [self.add_arguments(index, text)] if text else []
        return added + self.end_call(index)

    def unfinished_call(self) -> str | None:
        """Return the name of a tool call whose arguments never became a JSON object; None if there is none."""
        return next((call.name for call in self.calls.values() if call.ended is None), None)

    def drop_calls(self) -> None:
        """Take the tool calls out of the answer: its vendor broke it off, and they must not be run."""
        self._parts = [part for part in self._parts if not isinstance(part, _Call)]

    def finish(self, reason: FinishReason, raw: str | None) -> StreamEnd:
        """Return the terminal event, with the whole answer; without its tool calls if it was refused or filtered.

        A plain stop after tool calls is "tool_calls", and "tool_calls" after mere text is a plain stop: not all servers
        say so. Raises `StreamInterruptedError` if the vendor says that it broke the answer off, or announces tool
        calls and sends nothing (https://github.com/earendil-works/pi/issues/9681); `ToolArgumentsError` if it calls
        an answer whole of which a call is not.
        """
        if raw is not None and raw.lower() in BROKEN_OFF:
            self.drop_calls()
            raise StreamInterruptedError(f"the server broke the answer off ({raw}); what came of it is in .partial")
        unfinished = self.unfinished_call()
        if unfinished is not None and reason in ("stop", "tool_calls"):
            raise arguments_error(unfinished)
        if reason == "tool_calls" and not (self.calls or self.has_other_calls):
            parts = self._closed_parts()
            if not parts:
                raise interrupted_before("the tool calls that its end announces")
            reason = "stop" if all(isinstance(part, TextPart | ReasoningPart) for part in parts) else reason
        if reason in ("refusal", "content_filter"):
            self.drop_calls()
        elif reason == "stop" and self.calls:
            reason = "tool_calls"
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
            provider=self._endpoint.provider,
            parts=parts,
        )

    def _closed_parts(self) -> tuple[Part, ...]:
        parts = [*self._parts, *self._part_under_way()]
        closed = (part.ended if isinstance(part, _Call) else part for part in parts)
        return tuple(part for part in closed if part is not None)

    def _part_under_way(self) -> list[Part]:
        """Return the text or reasoning part that still grows; none if nothing has come of it."""
        if self._kind is None or not (self._pieces.tell() or self._own):
            return []
        vendor = {self._endpoint.key: self._own} if self._own else None
        part = TextPart if self._kind == "text" else ReasoningPart
        return [part(self._pieces.getvalue(), vendor)]


class AnswerDecoder(ABC):
    """A `Decoder` whose wire defines what the JSON objects in its frames mean.

    Args:
        provider: The provider's name.
        endpoint: Where the answer comes from; default: any address of the wire.
    """

    wire: ClassVar[str]
    """The wire's name."""
    terminal: ClassVar[str]
    """What ends a complete answer, for the error of an incomplete one."""

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        self.finished = False
        self._answer = AnswerBuilder(endpoint or Endpoint(self.wire, provider))
        self._reader = FrameReader()
        self._words = WORDS[self.wire]
        self._is_open = False
        """The answer has begun, and not ended: a `feed` may read plain deltas the fast way, without `_read`."""
        self._early: list[TokenEvent] | None = []
        """Events that came before StreamStart, which waits for the id or the model; None once it was returned."""

    @abstractmethod
    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one frame."""

    def close(self) -> Sequence[TokenEvent]:
        """End the body: raise `StreamInterruptedError` if the answer is not complete."""
        return () if self.finished else self._with_start(self._last_events())

    def _last_events(self) -> Sequence[TokenEvent]:
        """Return the last events if the end of the body may end the answer."""
        raise interrupted_before(self.terminal)

    def partial(self) -> Response:
        """Return the answer so far."""
        return self._answer.response()

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """Return the events of a frame of any form; none after the end, and for frames that say nothing."""
        if self.finished or frame.data.strip() in (b"", b"[DONE]"):
            return ()
        if frame.event == "error":
            raise error_event(frame)
        events: list[TokenEvent] = []
        try:
            for payload in self._reader.objects(frame):
                events += self._payload(text_at(payload, "type") or frame.event, payload)
        except RecursionError as error:
            raise ProtocolError("an event is nested too deep") from error
        return self._with_start(events)

    def _with_start(self, events: Sequence[TokenEvent]) -> Sequence[TokenEvent]:
        """Return StreamStart and the first events; keep them until the id, the model or the answer itself comes."""
        if self._early is None:
            return events
        early = self._early = [*self._early, *events]
        identity = (self._answer.id, self._answer.model)
        if identity == (None, None) and all(isinstance(event, VendorEvent | UsageUpdate) for event in early):
            return ()
        self._early, self._is_open = None, not self.finished
        return early if identity == (None, None) else [StreamStart(*identity), *early]

    def _finish(self, reason: FinishReason, raw: str | None) -> StreamEnd:
        """Return the terminal event; nothing is read any more."""
        end = self._answer.finish(reason, raw)
        self.finished, self._is_open = True, False
        return end

    @abstractmethod
    def _payload(self, kind: str, payload: Json) -> Iterable[TokenEvent]:
        """Return the events of one JSON object, which is of the type `kind` ("" if the wire has no types)."""


def arguments_of(text: str) -> Json | None:
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
