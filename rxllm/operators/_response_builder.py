"""Builds the response of a stream from its events."""

from __future__ import annotations

from ..events import (
    FinishReason,
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
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
from ..messages import Part, ReasoningPart, TextPart, ToolCall
from .text.growing_text import GrowingText


class ResponseBuilder:
    """Collects token events; `response()` is cheap enough to be called after each event.

    Adjacent deltas of a kind are one part. A tool call is in the response once it is complete.
    """

    __slots__ = ("_calls", "_end", "_id", "_kind", "_model", "_part", "_parts", "_reasoning", "_text", "_usage")

    def __init__(self) -> None:
        self._reset()
        self._id: str | None = None
        self._model: str | None = None

    def _reset(self) -> None:
        """Forget the answer so far: the start, or a `StreamReset`."""
        self._text = GrowingText()
        self._reasoning = GrowingText()
        self._kind: type[TextPart | ReasoningPart] | None = None
        self._part = GrowingText()
        self._parts: list[Part] = []
        self._calls: tuple[ToolCall, ...] = ()
        self._usage = Usage()
        self._end: Response | None = None

    def add(self, event: TokenEvent) -> bool:
        """Add `event`. Return whether it changed the response."""
        if type(event) is TextDelta:
            self._extend(self._text, TextPart, event.text)
        elif type(event) is ReasoningDelta:
            self._extend(self._reasoning, ReasoningPart, event.text)
        else:
            return self._add_other(event)
        return True

    def _add_other(self, event: TokenEvent) -> bool:
        """Add an event other than text; return whether the answer has changed."""
        match event:
            case ToolCallEnd(call=call):
                self._close_part()
                self._parts.append(call)
                self._calls = (*self._calls, call)
            case UsageUpdate(usage):
                self._usage = usage
            case StreamStart(id=name, model=model):
                self._id, self._model = name, model
            case StreamReset():
                self._reset()
            case StreamEnd(response):
                self._end = response
            case TextDelta() | ReasoningDelta() | ToolCallStart() | ToolCallDelta() | VendorEvent():
                return False
        return True

    def response(self, finish_reason: FinishReason | None = None) -> Response:
        """Return the response so far; after `StreamEnd`, the one in it."""
        if self._end is not None:
            return self._end
        parts = self._parts if self._kind is None else [*self._parts, self._kind(self._part.latest)]
        return Response(
            text=self._text.latest,
            reasoning=self._reasoning.latest,
            tool_calls=self._calls,
            finish_reason=finish_reason,
            usage=self._usage,
            id=self._id,
            model=self._model,
            parts=tuple(parts),
        )

    def _extend(self, whole: GrowingText, kind: type[TextPart | ReasoningPart], text: str) -> None:
        """Extend the whole text of a kind, and the open part; the first part of its kind is the whole text."""
        if self._kind is not kind:
            self._close_part()
            self._kind = kind
            self._part = GrowingText() if whole.latest else whole
        whole.add(text)
        if self._part is not whole:
            self._part.add(text)

    def _close_part(self) -> None:
        if self._kind is not None:
            self._parts.append(self._kind(self._part.latest))
            self._kind = None
