"""The events of a stream (`TokenEvent`, a closed union) and the values that they carry.

Grammar of every stream: ``StreamStart? (delta | usage | vendor | reset)* StreamEnd`` and then
on_completed, or on_error with an `LLMError`. An event holds what is new, never a snapshot; the
whole answer comes once, in `StreamEnd`. All values are frozen, compare by content, and convert to
JSON and back (`event_to_json`, `event_from_json`).

To add an event: write its class, add it to `TokenEvent`, and to those of the tuples below that it belongs to. The
type checkers and `tests/test_events.py` then list the places that must handle it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ._schema import decoder
from .messages import Message, Part, ToolCall

__all__ = [
    "CONTENT_EVENTS",
    "DELTA_EVENTS",
    "NEVER_DROPPED_EVENTS",
    "PRELIMINARY_EVENTS",
    "FinishReason",
    "ReasoningDelta",
    "Response",
    "StreamEnd",
    "StreamReset",
    "StreamStart",
    "TextDelta",
    "Timing",
    "TokenEvent",
    "ToolCallDelta",
    "ToolCallEnd",
    "ToolCallStart",
    "Usage",
    "UsageUpdate",
    "VendorEvent",
    "event_from_json",
    "event_to_json",
    "is_content",
    "proves_answer",
]

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one request. A count that the vendor did not report is None, never 0.

    Args:
        input_tokens: Tokens of the prompt, as the vendor counts them.
        output_tokens: Tokens of the answer, as the vendor counts them.
        total_tokens: Tokens of both.
        cached_input_tokens: Those input tokens that came from the vendor's cache.
        reasoning_tokens: Those output tokens that were reasoning.
        estimated: True if rxllm computed a count, because the stream was cut before the vendor reported it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


class Timing(msgspec.Struct, frozen=True):
    """Durations of one stream.

    Args:
        first_token: Seconds from the subscription to the first content event; None if none came.
        total: Seconds from the subscription to the end.
    """

    first_token: float | None
    total: float


class Response(msgspec.Struct, frozen=True):
    """A complete answer, or the part of one that had arrived (`LLMError.partial`).

    Args:
        text: The visible text.
        reasoning: The reasoning text, if the vendor shows it.
        tool_calls: The complete tool calls, in order.
        finish_reason: Why the answer ended; None while it is partial.
        raw_finish_reason: The vendor's own word for `finish_reason`.
        usage: Token counts.
        id: The vendor's id of the answer.
        model: The model that answered, as the vendor names it.
        provider: The provider, as `create_streaming_model` names it.
        timing: Durations, if rxllm made the request.
        parts: The answer in the order it came, with everything that its vendor wants sent back.
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
    """The server has accepted the request.

    Args:
        id: The vendor's id of the answer.
        model: The model that answers, as the vendor names it.
    """

    id: str | None = None
    model: str | None = None


class TextDelta(msgspec.Struct, frozen=True, gc=False, tag="text_delta"):
    """A piece of the answer's visible text.

    Args:
        text: The piece.
    """

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False, tag="reasoning_delta"):
    """A piece of the model's reasoning, before or between its text.

    Args:
        text: The piece.
    """

    text: str


class ToolCallStart(msgspec.Struct, frozen=True, tag="tool_call_start"):
    """A tool call begins.

    Args:
        index: The number of the call within the answer, from 0.
        id: The vendor's id of the call.
        name: The name of the tool.
    """

    index: int
    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False, tag="tool_call_delta"):
    """A piece of a tool call's arguments.

    Args:
        index: The number of the call within the answer, from 0.
        arguments: The piece of JSON text.
    """

    index: int
    arguments: str


class ToolCallEnd(msgspec.Struct, frozen=True, tag="tool_call_end"):
    """A tool call is complete.

    Args:
        index: The number of the call within the answer, from 0.
        call: The call, with its arguments parsed.
    """

    index: int
    call: ToolCall


class UsageUpdate(msgspec.Struct, frozen=True, tag="usage_update"):
    """The vendor's token counts so far.

    Args:
        usage: The counts; they replace those of an earlier update.
    """

    usage: Usage


class VendorEvent(msgspec.Struct, frozen=True, tag="vendor_event"):
    """Something on the wire that rxllm has no event for: citations, server tools, and the like.

    Keep-alive comments and pings that follow the start of the answer are ``VendorEvent("keep_alive", {})``.

    Args:
        name: The vendor's name for it.
        data: Its JSON.
    """

    name: str
    data: dict[str, object]


class StreamReset(msgspec.Struct, frozen=True, tag="stream_reset"):
    """Everything before this event is void: an opted-in retry starts the answer again.

    Args:
        reason: The message of the error that caused the retry.
    """

    reason: str


class StreamEnd(msgspec.Struct, frozen=True, tag="stream_end"):
    """The answer is complete. Comes once, last.

    Args:
        response: The complete answer.
    """

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
"""Parts of the answer. They end the wait for a first token, and reset the time limit `Timeout.idle`.

Empty deltas do not: see `is_content`.
"""

DELTA_EVENTS: frozenset[type[object]] = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})
"""The frequent events: pieces of the answer. Of all others a stream has few."""

PRELIMINARY_EVENTS = (StreamStart, UsageUpdate, VendorEvent, StreamReset)
"""Events that may come before the answer begins. Every other item proves that it has begun: see `proves_answer`."""

NEVER_DROPPED_EVENTS = (*PRELIMINARY_EVENTS, ToolCallStart, ToolCallDelta, ToolCallEnd, StreamEnd)
"""Events that are kept even if the user chose to drop events: all but text and reasoning."""


def is_content(event: TokenEvent) -> bool:
    """Return whether `event` is a part of the answer: a delta that is not empty, or the start or end of a tool call.

    Args:
        event: Any token event.

    Returns:
        True if it counts as content for `Timeout` and `Timing.first_token`.

    >>> is_content(TextDelta("Hi")), is_content(TextDelta("")), is_content(UsageUpdate(Usage()))
    (True, False, False)
    """
    if isinstance(event, TextDelta | ReasoningDelta):
        return event.text != ""
    if isinstance(event, ToolCallDelta):
        return event.arguments != ""
    return isinstance(event, CONTENT_EVENTS)


def proves_answer(event: object) -> bool:
    """Return whether `event` proves that the answer has begun: it is neither preliminary nor an empty delta.

    Args:
        event: A token event. Any other item proves it too.

    >>> proves_answer(TextDelta("Hi")), proves_answer(TextDelta("")), proves_answer(StreamStart())
    (True, False, False)
    """
    if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
        return is_content(event)
    return not isinstance(event, PRELIMINARY_EVENTS)


_decoder: msgspec.json.Decoder[TokenEvent] = decoder(TokenEvent)


def event_to_json(event: TokenEvent) -> str:
    """Return an event as one line of JSON.

    Args:
        event: Any token event.

    Returns:
        A JSON object; its field "type" names the event class.

    >>> event_to_json(TextDelta("Hi"))
    '{"type":"text_delta","text":"Hi"}'
    """
    return msgspec.json.encode(event).decode()


def event_from_json(text: str | bytes) -> TokenEvent:
    """Return the event that `event_to_json` wrote.

    Args:
        text: The JSON text.

    Raises:
        ValueError: The text is not the JSON of a token event.

    >>> event_from_json('{"type":"text_delta","text":"Hi"}')
    TextDelta(text='Hi')
    """
    return _decoder.decode(text)
