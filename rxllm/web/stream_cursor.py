"""How far one reader is with one served stream: the state machine behind HTTP bodies and WebSocket messages."""

from __future__ import annotations

from .._core.event_log import Entry
from .formats.stream_format import StreamFormat
from .served_stream import ServedStream


class StreamCursor:
    """One reader's position in `stream`. One thread at a time.

    Args:
        stream: What is read.
        format: Writes the events and the end as text.
        after: The number of the event after which reading begins; 0 is the beginning.
    """

    def __init__(self, stream: ServedStream[object], format: StreamFormat, after: int = 0) -> None:  # noqa: A002 - the field's name
        self.stream = stream
        self.after = after
        """The number of the last event that was taken."""
        self.ended = False
        """Whether the last piece has been taken: no other follows."""
        self._format = format
        self._begun = False

    @property
    def is_behind(self) -> bool:
        """Whether there is more to take at once, without waiting for a notification."""
        return not self.ended and self.after < self.stream.last

    def take(self) -> list[str]:
        """Return the pieces of text that are ready; sets `ended` with the last of them."""
        state = self.stream.state  # before the entries: what is appended after them is taken next time
        entries = self.stream.since(self.after)
        pieces: list[str] = []
        if not self._begun and (entries or state != "open"):
            self._begun = True
            pieces.append(self._format.begin())
        pieces.extend(map(self._piece, entries))
        if self.after < self.stream.last:
            return pieces
        if state != "open":
            self.ended = True
            pieces.append(self._end())
        elif self.stream.is_released:
            self.ended = True  # without an end: the reader sees that there is more, elsewhere
        return pieces

    def _piece(self, entry: Entry[object]) -> str:
        self.after = entry.id
        return self._format.event(entry.id, entry.event)

    def _end(self) -> str:
        error = self.stream.error
        if self.stream.state == "cancelled":
            return self._format.stopped()
        return self._format.completed() if error is None else self._format.failed(error)
