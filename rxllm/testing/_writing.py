"""What all protocol writers share: their contract, and the framing of their events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from .._json import encode
from ..events import FinishReason, Usage
from ..messages import ToolCall
from .recorded import RecordedRequest

ANSWER_ID = "reply_1"


class Writer(Protocol):
    """The bytes of one answer in one protocol."""

    content_type: str

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None: ...

    def begin(self) -> bytes:
        """What comes before the first piece."""
        ...

    def reasoning(self, piece: str) -> bytes:
        """A piece of reasoning."""
        ...

    def text(self, piece: str) -> bytes:
        """A piece of text."""
        ...

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        """A whole tool call, in as many pieces as this wire makes of one."""
        ...

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        """The last events."""
        ...

    def error(self, message: str, kind: str) -> bytes:
        """The vendor's error inside the stream."""
        ...

    def keep_alive(self) -> bytes:
        """What says nothing but that the connection lives."""
        ...


def sse(payload: Mapping[str, object], event: str = "") -> bytes:
    """One SSE event of this name, or of none."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + encode(payload) + b"\n\n"


def sse_event(kind: str, **fields: object) -> bytes:
    """One SSE event that bears its name in its payload too."""
    return sse({"type": kind, **fields}, kind)


def argument_pieces(call: ToolCall) -> list[str]:
    """The arguments' JSON text in two pieces, cut in the middle."""
    text = encode(call.arguments).decode()
    middle = len(text) // 2
    return [text[:middle], text[middle:]]


def known(**counts: object) -> dict[str, object]:
    """The counts that are known."""
    return {name: count for name, count in counts.items() if count is not None}
