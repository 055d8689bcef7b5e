"""HTTP as plain values, whichever server carries it: a request, a response, and a stream as the body of one.

A reader of a stream pulls: `take` returns all text that is ready, so that a slow reader gets fewer and longer pieces.
The adapters (`asgi`, `wsgi`) wait and send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .._json import encode, object_in
from ..errors import ConfigurationError, StreamInterruptedError
from ..events import StreamEnd
from .formats.stream_format import MOVED, StreamFormat
from .served_stream import ServedStream

MAX_BODY_BYTES = 16 * 1024 * 1024

TOO_DEEP = "the request's JSON is nested too deeply"


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request.

    Args:
        method: GET, POST and so on.
        path: The decoded path, without the prefix under which the service is mounted.
        query: The parameters after "?".
        headers: Names in lower case.
        body: The whole body, b"" before it has been read.
        client: The address of the client.
        user: Who asks, as `Service(authenticate=...)` returned it; "" on a server without it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str
    user: str = ""

    @property
    def account(self) -> str:
        """For whom limits count the request: its user, or else its address."""
        return f"user {self.user}" if self.user else self.client

    def json(self) -> dict[str, object]:
        """Return the JSON object in the body; raises `ConfigurationError` if there is none."""
        value = object_in(self.body)
        if value is None:
            raise ConfigurationError("the request's body is not a JSON object")
        return value


@dataclass(frozen=True)
class HttpResponse:
    """One HTTP response.

    Args:
        status: The status code.
        headers: Names in lower case. A `StreamBody` has more.
        body: Bytes, or a stream.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | StreamBody = b""

    def with_headers(self, headers: Mapping[str, str]) -> HttpResponse:
        """Return this response with further headers."""
        return replace(self, headers={**self.headers, **headers})


def json_response(value: object, status: int = 200) -> HttpResponse:
    """Return `value` as a JSON response."""
    return HttpResponse(status, {"content-type": "application/json", "cache-control": "no-store"}, encode(value))


def checked_keep_alive(seconds: float) -> float:
    """Return `seconds`; raises `ConfigurationError` if they are not above 0."""
    if not seconds > 0:
        raise ConfigurationError(f"keep_alive is above 0 seconds; got {seconds}")
    return seconds


class StreamBody:
    """One client's reading of `stream`, written as `format`. One thread at a time.

    Args:
        stream: What is read.
        format: Writes the events and the end as text.
        after: The number of the event after which reading begins; 0 is the beginning.
        error_response: With it, the response's head waits for the first event, so that a stream that fails before
            that is this HTTP error.
        whole: Let the head wait for the end of the stream instead.
    """

    def __init__(
        self,
        stream: ServedStream,
        format: StreamFormat,  # noqa: A002 - the field's name
        *,
        after: int = 0,
        error_response: Callable[[Exception], HttpResponse] | None = None,
        whole: bool = False,
    ) -> None:
        self.stream = stream
        self.format = format
        self.after = after
        """The number of the last event that was taken."""
        self.ended = False
        """Whether the last piece has been taken: no other follows."""
        self.whole = whole
        self._begun = False
        self._error_response = error_response
        self._seen = after
        """The number of the last event that came while the head waits for the end."""

    @property
    def is_behind(self) -> bool:
        """Whether there is more to take at once, without waiting for a notification."""
        return not self.ended and self.after < self.stream.last

    def text(self) -> str:
        """Return all text that is ready, "" if there is none; sets `ended` with the last of it."""
        return "".join(self.take())

    def take(self) -> list[str]:
        """Return the pieces of text that are ready; sets `ended` with the last of them."""
        has_ended = self.stream.state != "open"  # before the entries: what is appended after them is taken next time
        entries = self.stream.since(self.after)
        pieces: list[str] = []
        if not self._begun and (entries or has_ended):
            self._begun = True
            pieces.append(self.format.begin())
        for entry in entries:
            self.after = entry.id
            pieces.append(self.format.event(entry.id, entry.event))
        if self.after >= self.stream.last and (has_ended or self.stream.is_released):
            self.ended = True
            pieces.append(self.format.end(self.stream.error if has_ended else MOVED))
        elif pause := self.format.pause():
            self.ended = True
            self.stream.paused_after = self.after
            pieces.append(pause)
        return pieces

    def is_head_ready(self) -> bool:
        """Return whether the response's head can be sent."""
        while self._error_response is not None and self.stream.state == "open":
            entries = self.stream.since(self._seen)  # which lets the producer go on
            if not entries or not self.whole:
                return bool(entries)
            self._seen = entries[-1].id
        return True

    def failure(self) -> HttpResponse | None:
        """Return the HTTP error that stands for the stream, None if it did not fail before the head was ready."""
        stream, error = self.stream, self.stream.error
        if error is None and self.whole and stream.state != "open":
            last = stream.since(stream.last - 1)
            if not last or not isinstance(last[-1].event, StreamEnd):
                error = StreamInterruptedError("the stream ended without an answer")
        if self._error_response is None or error is None or not (self.whole or not stream.since(0)):
            return None
        self.ended = True
        return self._error_response(error)
