"""What a stream says: the closed union of token events, and the values they carry.

Grammar of every stream: ``StreamStart? (delta | usage | vendor | reset)* StreamEnd`` and then
on_completed, or on_error with an `LLMError`. Events hold what is new, never a snapshot; the
whole answer comes once, in `StreamEnd`. All values are frozen, compare by content, and go to
JSON and back (`event_to_json`, `event_from_json`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .messages import Message, Part, ToolCall

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. What the vendor did not say is None, never 0.

    `input_tokens` and `output_tokens` are the vendor's own plain counts; `estimated` marks
    counts that were worked out here because the stream was cut before the vendor gave any.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


class Timing(msgspec.Struct, frozen=True):
    """Seconds from the subscription to the first content event, and to the end."""

    first_token: float | None
    total: float


class Response(msgspec.Struct, frozen=True):
    """A whole answer, or as much of one as had arrived (`LLMError.partial`).

    `parts` holds the answer in the order it came, with all that its vendor wants sent back.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    usage: Usage = Usage()
    id: str | None = None
    model: str | None = None
    provider: str | None = None
    timing: Timing | None = None
    parts: tuple[Part, ...] = ()

    @property
    def message(self) -> Message:
        """The answer as the assistant's message, to continue the conversation with."""
        return Message("assistant", self.parts)


class StreamStart(msgspec.Struct, frozen=True, tag="stream_start"):
    """The answer begins."""

    id: str | None = None
    model: str | None = None


class TextDelta(msgspec.Struct, frozen=True, gc=False, tag="text_delta"):
    """A piece of the answer's visible text."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False, tag="reasoning_delta"):
    """A piece of what the model thinks before or between its text."""

    text: str


class ToolCallStart(msgspec.Struct, frozen=True, tag="tool_call_start"):
    """The model begins a tool call; `index` tells the calls of one answer apart."""

    index: int
    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False, tag="tool_call_delta"):
    """A piece of a tool call's arguments, as JSON text."""

    index: int
    arguments: str


class ToolCallEnd(msgspec.Struct, frozen=True, tag="tool_call_end"):
    """A tool call is complete, its arguments parsed."""

    index: int
    call: ToolCall


class UsageUpdate(msgspec.Struct, frozen=True, tag="usage_update"):
    """The vendor's count so far; each one replaces the one before."""

    usage: Usage


class VendorEvent(msgspec.Struct, frozen=True, tag="vendor_event"):
    """What the wire carried and this package does not model: citations, server tools, and the like.

    Keep-alive comments and pings between events are told as ``VendorEvent("keep_alive", {})``.
    """

    name: str
    data: dict[str, object]


class StreamReset(msgspec.Struct, frozen=True, tag="stream_reset"):
    """What came before is void: an opted-in retry starts the answer again."""

    reason: str


class StreamEnd(msgspec.Struct, frozen=True, tag="stream_end"):
    """The answer is complete; comes once, last, and holds everything."""

    response: Response


TokenEvent: TypeAlias = (
    StreamStart
    | TextDelta
    | ReasoningDelta
    | ToolCallStart
    | ToolCallDelta
    | ToolCallEnd
    | UsageUpdate
    | VendorEvent
    | StreamReset
    | StreamEnd
)

CONTENT_EVENTS = (TextDelta, ReasoningDelta, ToolCallStart, ToolCallDelta, ToolCallEnd)
"""The events that are part of the answer itself: the first of them ends the wait for a first token."""

_decoder: msgspec.json.Decoder[TokenEvent] = msgspec.json.Decoder(TokenEvent)


def event_to_json(event: TokenEvent) -> str:
    """One event as one line of JSON; its "type" field names its kind.

    >>> event_to_json(TextDelta("Hi"))
    '{"type":"text_delta","text":"Hi"}'
    """
    return msgspec.json.encode(event).decode()


def event_from_json(text: str | bytes) -> TokenEvent:
    """The event that `event_to_json` wrote; raises `ValueError` on other JSON.

    >>> event_from_json('{"type":"text_delta","text":"Hi"}')
    TextDelta(text='Hi')
    """
    return _decoder.decode(text)
