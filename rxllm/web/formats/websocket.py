"""What goes over a WebSocket: many streams on one connection, a JSON text message each way. No I/O here.

Server to client: {"type": "started", "stream", "request"}; then an event's line with "stream" and
"seq"; then {"type": "end" | "stopped" | "error", "stream"}; "refused" for a request that could not
be served, and "pong". Client to server: the commands below.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ..._json import encode
from .json_lines import END_LINE, STOPPED_LINE, error_facts, error_line, event_line


class Ask(msgspec.Struct, frozen=True, tag="prompt"):
    """A new prompt; `request` is the client's own name for it, `body` as of `POST /api/chat`."""

    body: dict[str, object]
    request: str = ""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Go on with a stream after the event `after`; 0 is its beginning."""

    stream: str
    after: int = 0


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop a stream: for all who watch it."""

    stream: str


class Approve(msgspec.Struct, frozen=True, tag="approve"):
    """Answer an approval request: whether the tool call `call` may run, and why not."""

    stream: str
    call: str
    approved: bool
    reason: str = ""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Whether anybody is there; answered with "pong"."""


Command: TypeAlias = Ask | Resume | Stop | Approve | Ping

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def command_of(text: str) -> Command:
    """What a client says; raises `ValueError` where it is none of the above.

    >>> command_of('{"type":"stop","stream":"s"}')
    Stop(stream='s')
    """
    return _decoder.decode(text)


def started(stream: str, request: str) -> str:
    """The prompt `request` has become a stream."""
    return encode({"type": "started", "stream": stream, "request": request}).decode()


def refused(error: Exception, *, request: str = "", stream: str = "") -> str:
    """A command could not be carried out."""
    return encode({"type": "refused", "request": request, "stream": stream, "error": error_facts(error)}).decode()


PONG = '{"type":"pong"}'


class WebSocketMessages:
    """The messages of one stream.

    >>> from rxllm.events import TextDelta
    >>> WebSocketMessages("s").event(7, TextDelta("Hi"))
    '{"type":"text_delta","text":"Hi","seq":7,"stream":"s"}'
    """

    def __init__(self, stream: str) -> None:
        self._tail = f',"stream":{encode(stream).decode()}}}'

    def event(self, number: int, event: object) -> str:
        """One event."""
        return event_line(event, number)[:-1] + self._tail

    def completed(self) -> str:
        """The end."""
        return END_LINE[:-1] + self._tail

    def stopped(self) -> str:
        """The end, where somebody stopped the stream."""
        return STOPPED_LINE[:-1] + self._tail

    def failed(self, error: Exception) -> str:
        """The end, where the stream failed."""
        return error_line(error)[:-1] + self._tail
