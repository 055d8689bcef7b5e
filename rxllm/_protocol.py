"""The types between the protocols (pure) and the transport (I/O).

An encoder returns a `WireRequest`; the transport turns the answer's bytes into `Frame`s; a `Decoder` turns those into
token events. A decoder uses no socket, thread, clock or Rx, so it is tested by feeding it recorded bytes. Each
subscription has its own decoder.
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
    """One HTTP request for one streamed answer. Its repr shows no header values, because they contain keys.

    `if_refused` is advice for the error if no server listens at the address.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    framing: Framing = "sse"
    if_refused: str = ""

    def __repr__(self) -> str:
        names = ", ".join(sorted(self.headers))
        return f"WireRequest(url={self.url.partition('?')[0]!r}, headers=[{names}], body=<{len(self.body)} bytes>)"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One SSE event or one NDJSON line.

    `data` is the payload, UTF-8. `event` is the SSE event name, "" if there is none. `whole` is False for a last
    frame that the stream ended before its blank line: it counts if it parses, else the stream was truncated. A frame
    without data is a comment, which servers send to keep a connection alive; decoders never receive it. `is_document`
    marks a JSON document in an SSE body without `data:`; some servers end a broken stream that way.
    """

    data: bytes
    event: str = ""
    whole: bool = True
    is_document: bool = False


class Decoder(Protocol):
    """Turns the frames of one answer into events; pure.

    Any `LLMError` raised by `feed` or `close` ends the stream with it; nothing else is raised.
    """

    finished: bool
    """The terminal event has arrived and `StreamEnd` was returned: nothing more needs to be read."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events in `frame`, in order; none for frames after the terminal one."""
        ...

    def close(self) -> Sequence[TokenEvent]:
        """Return the last events, including `StreamEnd`, after the body has ended.

        Raises:
            StreamInterruptedError: The answer had not reached its terminal event.
        """
        ...

    def partial(self) -> Response:
        """Return the answer so far. May be called at any time."""
        ...


class Wire(Protocol):
    """One vendor protocol: encodes requests and decodes answers. Does no I/O."""

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Return the request for one streamed answer.

        Raises:
            ConfigurationError: The provider does not support an option or a message part; the message names it.
        """
        ...

    def decoder(self) -> Decoder:
        """Return a new decoder for one answer."""
        ...


JsonObject: TypeAlias = Mapping[str, object]

response_headers_listener: ContextVar[Callable[[Mapping[str, str]], None] | None] = ContextVar(
    "response_headers_listener", default=None
)
"""Called with the headers of each HTTP response, also of errors, on the producing thread; names in lower case.

Each request runs in a copy of its subscriber's context: a listener that is set during a `subscribe` receives the
headers of that request and of its retries.
"""
