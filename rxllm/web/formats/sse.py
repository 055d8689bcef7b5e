r"""Streams as server-sent events, for `EventSource`, for `fetch`, and for `rxllm.web.client`.

Each event is one line of JSON with its number as the SSE id, so that a reader that was cut off
goes on after the last id it saw (`Last-Event-ID`). The last one is named "end" and says how the
stream ended: its type is "end", "stopped" or "error". No I/O here.

>>> from rxllm.events import TextDelta
>>> SSE().event(7, TextDelta("Hi"))
'id: 7\ndata: {"type":"text_delta","text":"Hi","seq":7}\n\n'
"""

from __future__ import annotations

from collections.abc import Mapping

from .json_lines import END_LINE, STOPPED_LINE, error_line, event_line

SSE_HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would hold the stream back
}

SSE_COMMENT = ": keep-alive\n\n"
"""What is sent into a silence: readers skip it, proxies see that the connection lives."""

RETRY_MILLISECONDS = 1000


def sse(data: str, *, event: str | None = None, id: int | None = None, retry: int | None = None) -> str:  # noqa: A002 - the field's name
    r"""One server-sent event; `data` may have several lines. `retry` is in milliseconds.

    >>> sse("a\nb", event="note", id=3)
    'id: 3\nevent: note\ndata: a\ndata: b\n\n'
    """
    fields = [] if retry is None else [f"retry: {retry}\n"]
    if id is not None:
        fields.append(f"id: {id}\n")
    if event is not None:
        fields.append(f"event: {event}\n")
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    fields.extend(f"data: {line}\n" for line in lines)
    return "".join(fields) + "\n"


def last_event_id(header: str | None) -> int:
    """The number to go on after, from a `Last-Event-ID` header; 0, the beginning, where it holds none.

    >>> last_event_id("7"), last_event_id(None), last_event_id("x")
    (7, 0, 0)
    """
    return int(header) if header is not None and header.isascii() and header.isdecimal() and len(header) < 19 else 0


class SSE:
    """The events of one stream as SSE, from after the event `after`.

    The end has a number too: whoever asks to go on after that has seen it all.
    """

    headers = SSE_HEADERS
    silence = SSE_COMMENT

    def __init__(self, after: int = 0) -> None:
        self._last = after

    def begin(self) -> str:
        """How soon a browser asks again."""
        return f"retry: {RETRY_MILLISECONDS}\n\n"

    def event(self, number: int, event: object) -> str:
        """One event; the line holds no line end, as JSON writes those as escapes."""
        self._last = number
        return f"id: {number}\ndata: {event_line(event, number)}\n\n"

    def completed(self) -> str:
        """The end."""
        return self._end(END_LINE)

    def stopped(self) -> str:
        """The end, where somebody stopped the stream."""
        return self._end(STOPPED_LINE)

    def failed(self, error: Exception) -> str:
        """The end, where the stream failed."""
        return self._end(error_line(error))

    def _end(self, line: str) -> str:
        return sse(line, event="end", id=self._last + 1)
