"""What a scripted server or model answers, the same for every protocol.

A `Reply` is written in the protocol of its request. A fault (`Stall`, `Drop`, `Reset`, `Truncate`,
`Fail`, `KeepAlive`) interrupts it after a number of pieces. `RawReply` sends bytes as they are,
`ErrorReply` an HTTP error, `Hang` nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal, TypeAlias

from ..events import FinishReason, Usage
from ..messages import ToolCall
from .gates import Gate

HttpFraming: TypeAlias = Literal["chunked", "length", "close", "bare"]
"""How a response marks the end of its body: HTTP chunks, Content-Length, or closing the connection.

"bare" sends the body alone: it must hold the status line and the headers itself.
"""


Ending: TypeAlias = Literal["whole", "stall", "drop", "reset"]
"""How a response ends: as HTTP requires, or broken off in one of three ways."""


@dataclass(frozen=True)
class _Interruption:
    """What all faults have: how many pieces are sent before them, and how the response ends."""

    ending: ClassVar[Ending] = "whole"
    after: int | None = None


class Stall(_Interruption):
    """The server falls silent and leaves the connection open.

    Args:
        after: how many pieces are sent before it; None: all, and the last event.
    """

    ending = "stall"


class Drop(_Interruption):
    """The server closes the connection, and the body is unfinished.

    Args:
        after: how many pieces are sent before it; None: all, and the last event.
    """

    ending = "drop"


class Reset(_Interruption):
    """The server resets the TCP connection.

    Args:
        after: how many pieces are sent before it; None: all, and the last event.
    """

    ending = "reset"


class Truncate(_Interruption):
    """The body ends as HTTP requires, without the terminal event of the protocol.

    Args:
        after: how many pieces are sent before it; None: all.
    """


@dataclass(frozen=True)
class Fail(_Interruption):
    """The vendor's own error inside the stream, and then the end.

    Args:
        after: how many pieces are sent before it; None: all.
        message: the error's message.
        kind: the vendor's word, such as "overloaded_error" or "rate_limit_exceeded"; Ollama has none.
    """

    message: str = "the model broke down"
    kind: str = "server_error"


@dataclass(frozen=True)
class KeepAlive(_Interruption):
    """The server sends only keep-alives, without end.

    Args:
        after: how many pieces are sent before it; None: all.
        every: seconds between two keep-alives.
    """

    every: float = 0.02


Fault: TypeAlias = Stall | Drop | Reset | Truncate | Fail | KeepAlive


@dataclass(frozen=True)
class Reply:
    """An answer in the protocol of the request: first reasoning, then text, then tool calls.

    Args:
        text: the text; it is sent word by word.
        pieces: sent instead of `text`, one delta each; may be an endless iterable.
        reasoning: the reasoning, sent word by word, or its pieces.
        tool_calls: the tool calls.
        finish_reason: default: "tool_calls" if there are any, else "stop".
        usage: the token counts; "counted" counts words of the prompt and pieces of the answer,
            None sends none.
        id: the answer's id; default: a fixed one.
        model: the model that answers; default: the one that the request asks for.
        delay: seconds between two pieces.
        gate: holds each piece back until the test releases it.
        fault: interrupts the answer; it counts pieces of reasoning, of text and of tool arguments.
        headers: further HTTP headers.
        framing: how the end of the body is marked.
    """

    text: str = ""
    _: KW_ONLY
    pieces: Iterable[str] | None = None
    reasoning: str | Sequence[str] = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | Literal["counted"] | None = "counted"
    id: str = ""
    model: str = ""
    delay: float = 0.0
    gate: Gate | None = None
    fault: Fault | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    framing: HttpFraming = "chunked"


@dataclass(frozen=True)
class RawReply:
    """Bytes as they are, for example a recorded stream.

    Args:
        body: the body of the response.
        content_type: default: that of the request's protocol.
        status: the HTTP status.
        headers: further HTTP headers.
        cuts: the size of each piece in bytes, or one size for all; a piece is one write and one
            HTTP chunk. None sends one piece.
        framing: how the end of the body is marked.
        delay: seconds between two pieces.
        gate: holds each piece back until the test releases it.
        fault: interrupts the body after a number of pieces.
    """

    body: bytes
    _: KW_ONLY
    content_type: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cuts: int | Sequence[int] | None = None
    framing: HttpFraming = "chunked"
    delay: float = 0.0
    gate: Gate | None = None
    fault: Stall | Drop | Reset | Truncate | None = None


@dataclass(frozen=True)
class ErrorReply:
    """An HTTP error.

    Args:
        status: the HTTP status.
        body: a message, which is sent in the vendor's form; or bytes, which are sent as they are.
        kind: the vendor's word for the error.
        headers: further HTTP headers.

    Example:
        >>> ErrorReply(429, "slow down", headers={"retry-after": "1"}).status
        429
    """

    status: int
    body: str | bytes = "the request failed"
    _: KW_ONLY
    kind: str = "error"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Hang:
    """The server reads the request and never answers."""


Answer: TypeAlias = Reply | RawReply | ErrorReply | Hang
