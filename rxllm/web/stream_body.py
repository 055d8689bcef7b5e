"""A served stream as the body of an HTTP response.

A reader pulls: `take` returns all text that is ready, so that a slow reader gets fewer and longer pieces. The adapters
(`asgi`, `wsgi`) wait and send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import ConfigurationError, StreamInterruptedError
from ..events import StreamEnd
from .formats.errors import ErrorBody
from .formats.stream_format import StreamFormat
from .served_stream import ServedStream
from .stream_cursor import StreamCursor


def checked_keep_alive(seconds: float) -> float:
    """Return `seconds`; raises `ConfigurationError` if they are not above 0."""
    if not seconds > 0:
        raise ConfigurationError(f"keep_alive is above 0 seconds; got {seconds}")
    return seconds


class StreamBody(StreamCursor):
    """One client's reading of `stream`, written as `format`.

    Args:
        stream: What is read.
        format: Writes the events and the end as text.
        after: The number of the event after which reading begins; 0 is the beginning.
        headers: Headers of the HTTP response beside the format's own.
        error_body: With it, the response's head waits for the first event, so that a stream that fails before
            that is an HTTP error with this status and body.
        whole: Let the head wait for the end of the stream instead.
    """

    def __init__(
        self,
        stream: ServedStream[object],
        format: StreamFormat,  # noqa: A002 - the field's name
        *,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
        error_body: Callable[[Exception], ErrorBody] | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(stream, format, after)
        self.headers: dict[str, str] = {**format.headers, **(headers or {})}
        self.keep_alive = format.keep_alive
        self._error_body = error_body
        self.whole = whole
        self._seen = after
        """The number of the last event that came while the head waits for the end."""

    def text(self) -> str:
        """Return all text that is ready, "" if there is none; sets `ended` with the last of it."""
        return "".join(self.take())

    def is_head_ready(self) -> bool:
        """Return whether the response's head can be sent."""
        while self._error_body is not None and self.stream.state == "open":
            entries = self.stream.since(self._seen)  # which lets the producer go on
            if not entries or not self.whole:
                return bool(entries)
            self._seen = entries[-1].id
        return True

    def failure(self) -> ErrorBody | None:
        """Return the HTTP error that stands for the stream, None if it did not fail before the head was ready."""
        stream, error = self.stream, self.stream.error
        if error is None and stream.state == "cancelled":
            error = StreamInterruptedError("the stream was stopped at the server")
        elif error is None and self.whole and stream.state != "open":
            last = stream.since(stream.last - 1)
            if not last or not isinstance(last[-1].event, StreamEnd):
                error = StreamInterruptedError("the stream ended without an answer")
        if self._error_body is None or error is None or not (self.whole or not stream.since(0)):
            return None
        self.ended = True
        return self._error_body(error)
