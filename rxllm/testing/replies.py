"""What a scripted server answers: values that say it, for every protocol alike.

A `Reply` is spoken in whichever protocol the request came in. A fault (`Stall`, `Drop`, `Reset`,
`Truncate`, `Fail`, `KeepAlive`) goes wrong after so many pieces of it. `RawReply` sends bytes as
they are, `ErrorReply` an HTTP error, `Hang` nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, TypeAlias

from ..events import FinishReason, Usage
from ..messages import ToolCall
from .gates import Gate

HttpFraming: TypeAlias = Literal["chunked", "length", "close", "bare"]
"""How the end of a body is told: by chunks, by Content-Length, by closing the connection.

"bare" sends the body alone: status line, headers and framing are its own business.
"""


@dataclass(frozen=True)
class Stall:
    """Silence after `after` pieces (None: after the last event), the connection left open."""

    after: int | None = None


@dataclass(frozen=True)
class Drop:
    """The connection ends after `after` pieces (None: after the last event), the body unfinished."""

    after: int | None = None


@dataclass(frozen=True)
class Reset:
    """A TCP reset after `after` pieces (None: after the last event)."""

    after: int | None = None


@dataclass(frozen=True)
class Truncate:
    """The body ends as HTTP wants it after `after` pieces (None: after all), without the last events."""

    after: int | None = None


@dataclass(frozen=True)
class Fail:
    """The vendor's own error inside the stream after `after` pieces, and then the end.

    `kind` is the vendor's word for it, such as "overloaded_error" or "rate_limit_exceeded"; Ollama has none.
    """

    after: int | None = None
    message: str = "the model broke down"
    kind: str = "server_error"


@dataclass(frozen=True)
class KeepAlive:
    """Nothing but keep-alives after `after` pieces, one every `every` seconds, without end."""

    after: int | None = None
    every: float = 0.02


Fault: TypeAlias = Stall | Drop | Reset | Truncate | Fail | KeepAlive


@dataclass(frozen=True)
class Reply:
    """An answer, told in the protocol of the request.

    `text` is cut into pieces at its words; `pieces` are sent as given, one event each, and may
    be an endless iterable. Reasoning comes first, then text, then tool calls. `usage` is counted
    (words of the prompt, pieces of the answer) unless given; None leaves it out. `delay` is in
    seconds between pieces, and `gate` holds each piece back until the test releases it. A fault
    counts all pieces: of reasoning, of text, of tool arguments.
    """

    text: str = ""
    _: KW_ONLY
    pieces: Iterable[str] | None = None
    reasoning: str | Sequence[str] = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: FinishReason | None = None
    """"tool_calls" where there are any, else "stop"."""
    usage: Usage | Literal["counted"] | None = "counted"
    id: str = ""
    model: str = ""
    """The model the request asked for, unless given."""
    delay: float = 0.0
    gate: Gate | None = None
    fault: Fault | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    framing: HttpFraming = "chunked"


@dataclass(frozen=True)
class RawReply:
    """Bytes as they are, for instance a recorded stream.

    `cuts` says how the body is cut into pieces, each one write (and one HTTP chunk): a size for
    all of them, or the size of each, the rest being one more. None sends one piece. Without a
    `content_type` it is the one of the request's protocol.
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
    """An HTTP error. A `body` of text becomes an error document in the vendor's form; bytes stay as they are.

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
    """The request is read, and nothing is ever answered."""


Answer: TypeAlias = Reply | RawReply | ErrorReply | Hang
