"""What crosses the border between the protocols (pure) and the transport (I/O).

An encoder makes a `WireRequest`; the transport makes `Frame`s of what comes back; a `Decoder`
makes token events of those. A decoder knows no socket, thread, clock or Rx: it is tested by
feeding it recorded bytes. Each subscription has a decoder of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Literal, Protocol, TypeAlias

import msgspec

from .events import Response, TokenEvent
from .messages import Message
from .options import Options

Framing: TypeAlias = Literal["sse", "ndjson"]


class WireRequest(msgspec.Struct, frozen=True):
    """One HTTP request for one streamed answer. Its repr shows no header values: they hold keys."""

    url: str
    headers: dict[str, str]
    body: bytes
    framing: Framing = "sse"

    def __repr__(self) -> str:
        names = ", ".join(sorted(self.headers))
        return f"WireRequest(url={self.url.partition('?')[0]!r}, headers=[{names}], body=<{len(self.body)} bytes>)"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One SSE event or one NDJSON line.

    `data` is its payload, UTF-8. `event` is the SSE event name, "" where none was given.
    `whole` is False for a last frame that the end of the stream cut off before its blank line:
    it counts if it parses, and is a truncation if not. A frame without data is a comment, which
    servers send to keep a connection alive: decoders never see it. `bare` marks a JSON document that
    stood in an SSE body without `data:`: some servers end a broken stream so.
    """

    data: bytes
    event: str = ""
    whole: bool = True
    bare: bool = False


class Decoder(Protocol):
    """Turns the frames of one answer into events; pure.

    Any `LLMError` raised by `feed` or `close` ends the stream with it; nothing else is raised.
    """

    finished: bool
    """The terminal event has come, and `StreamEnd` was given out: nothing more needs reading."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """The events that `frame` brings, in order; frames after the terminal one bring none."""
        ...

    def close(self) -> Sequence[TokenEvent]:
        """The body has ended well: the last events, `StreamEnd` included.

        Raises `StreamInterruptedError` where the answer had not reached its terminal event.
        """
        ...

    def partial(self) -> Response:
        """The answer so far, at any moment."""
        ...


class Wire(Protocol):
    """One protocol: how to ask, and how to read the answer. Holds no I/O."""

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """The request for one streamed answer.

        Raises `ConfigurationError` naming the option or part that this provider cannot take.
        """
        ...

    def decoder(self) -> Decoder:
        """A fresh decoder for one answer."""
        ...


JsonObject: TypeAlias = Mapping[str, object]

headers_listener: ContextVar[Callable[[Mapping[str, str]], None] | None] = ContextVar("headers_listener", default=None)
"""Who hears the headers of an answer, be it an error: once, on the producing thread, names in lower case.

Each request runs in a copy of its subscriber's context: a listener that is set around a `subscribe`
hears the answer to that one, and to its retries.
"""
