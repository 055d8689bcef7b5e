"""What goes over a WebSocket: many streams on one connection, a JSON text message each way. No I/O here.

Server to client: {"type": "started", "stream", "request"}; then an event's line with "stream" and
"seq"; then {"type": "end" | "stopped" | "error", "stream"}; "refused" for a request that could not
be served, and "pong". Client to server: the commands below.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from ..._json import encode
from ..._schema import decoder
from ...errors import ConfigurationError
from .json_lines import LineFormat

MAX_CALL_ID = 1000
"""Characters in the id of a tool call that a client answers for."""


class Ask(msgspec.Struct, frozen=True, tag="prompt"):
    """Ask: `request` is the client's own name for it, `body` is as for `POST /api/chat`."""

    body: dict[str, object]
    request: str = ""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Continue a stream after the event `after`; 0 is its beginning."""

    stream: str
    after: int = 0


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop a stream for all its watchers."""

    stream: str


class Approve(msgspec.Struct, frozen=True, tag="approve"):
    """Answer an approval request: whether the tool call `call` may run, and why not."""

    stream: str
    call: Annotated[str, msgspec.Meta(max_length=MAX_CALL_ID)]
    approved: bool
    reason: str = ""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Ask for a "pong"."""


Command: TypeAlias = Ask | Resume | Stop | Approve | Ping

_decoder: msgspec.json.Decoder[Command] = decoder(Command)


def command_of(text: str | bytes) -> Command:
    """Return the command in a client's message; raises `ConfigurationError` if it is none of the above.

    >>> command_of('{"type":"stop","stream":"s"}')
    Stop(stream='s')
    """
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("unknown command") from error


class WebSocketMessages(LineFormat):
    """The messages of one stream: a `StreamFormat`, one text per message.

    >>> from rxllm.events import TextDelta
    >>> WebSocketMessages("s").event(7, TextDelta("Hi"))
    '{"type":"text_delta","text":"Hi","seq":7,"stream":"s"}'
    """

    def __init__(self, stream: str) -> None:
        super().__init__()
        self._tail = f',"stream":{encode(stream).decode()}}}'

    def _framed(self, line: str, *, is_end: bool = False) -> str:
        return line[:-1] + self._tail
