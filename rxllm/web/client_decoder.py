"""Reads what a `Service` sends: lines of JSON to events, and how far the reading has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from .._json import decode, int_at, is_object
from .._protocol import Frame
from ..assistant.events import AssistantEvent, assistant_event_from_json
from ..errors import ProtocolError, StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent
from ..operators._response_builder import ResponseBuilder
from .formats.json_lines import error_at_end


class Position:
    """How far a client has read a stream.

    Args:
        stream: The stream's id; None until the service has given it one.
        after: The number of the last event seen; 0 for none.
    """

    def __init__(self, stream: str | None, after: int = 0) -> None:
        self.stream = stream
        self.after = after
        self.has_ended = False
        """Whether the stream has ended, also with an error: then nothing is to be resumed."""
        self.answer = ResponseBuilder()

    def read(self, data: bytes | str) -> AssistantEvent | None:
        """Return the event in a line, None for the last line; raises the `LLMError` that the stream ended with."""
        try:
            line = decode(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the server sent a line that is not JSON") from error
        if not is_object(line):
            raise ProtocolError("the server sent a line that is not a JSON object")
        kind = line.get("type")
        if kind in ("end", "stopped", "error"):
            self.has_ended = True
            if kind == "end":
                return None
            raise error_at_end(line)
        try:
            event = assistant_event_from_json(data)
        except ValueError as error:
            raise ProtocolError(f"the server sent an event that this version does not know: {kind!r}") from error
        self.after = int_at(line, "seq") or self.after
        self.has_ended = isinstance(event, StreamEnd)
        self.answer.add(cast(TokenEvent, event))
        return event


class EventDecoder:
    """A `Decoder` of the server's SSE."""

    def __init__(self, position: Position) -> None:
        self.finished = False
        self._position = position

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the event of one frame."""
        if self.finished:
            return ()
        event = self._position.read(frame.data)
        if event is None:
            self.finished = True
            raise StreamInterruptedError("the stream ended without a StreamEnd", transient=False)
        self.finished = isinstance(event, StreamEnd)
        return (cast(TokenEvent, event),)  # an assistant's events too: `token_stream` passes them on unseen

    def close(self) -> Sequence[TokenEvent]:
        """Raise `StreamInterruptedError` if the connection ended before the stream."""
        if self.finished:
            return ()
        raise StreamInterruptedError("the connection ended before the stream did")

    def partial(self) -> Response:
        """Return the answer so far."""
        return self._position.answer.response()
