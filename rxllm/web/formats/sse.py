r"""Streams as server-sent events, for `EventSource`, for `fetch`, and for `rxllm.web.client`.

Each event is one line of JSON with its number as the SSE id, so that a reader that was cut off
continues after the last id it saw (`Last-Event-ID`). The last one is named "end" and says how the
stream ended: its type is "end", "stopped" or "error". No I/O here.

>>> from rxllm.events import TextDelta
>>> SSE().event(7, TextDelta("Hi"))
'retry: 1000\nid: 7\ndata: {"type":"text_delta","text":"Hi","seq":7}\n\n'
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
"""Readers skip it; proxies see that the connection lives."""

RETRY_MILLISECONDS = 1000


def sse(data: str, *, event: str | None = None, id: int | None = None, retry: int | None = None) -> str:  # noqa: A002 - the field's name
    r"""Return one server-sent event; `data` may have several lines, `retry` is in milliseconds.

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
    """Return the event number in a `Last-Event-ID` header; 0, the beginning, if there is none.

    >>> last_event_id("7"), last_event_id(None), last_event_id("x")
    (7, 0, 0)
    """
    return int(header) if header is not None and header.isascii() and header.isdecimal() and len(header) < 19 else 0


class SSE:
    """The events of one stream as SSE, from after the event `after`.

    The end has a number too: a reader that continues after it has seen everything.
    """

    headers = SSE_HEADERS
    keep_alive = SSE_COMMENT

    def __init__(self, after: int = 0) -> None:
        self._last = after
        self._retry = f"retry: {RETRY_MILLISECONDS}\n"

    def begin(self) -> str:
        """Return nothing: the first event has the delay before a browser reconnects."""
        return ""

    def event(self, number: int, event: object) -> str:
        """Return one event. JSON writes line ends as escapes, so there is one data line."""
        self._last = number
        retry, self._retry = self._retry, ""
        return f"{retry}id: {number}\ndata: {event_line(event, number)}\n\n"

    def completed(self) -> str:
        """Return the end."""
        return self._end(END_LINE)

    def stopped(self) -> str:
        """Return the end of a stream that was stopped."""
        return self._end(STOPPED_LINE)

    def failed(self, error: Exception) -> str:
        """Return the end of a stream that failed."""
        return self._end(error_line(error))

    def _end(self, line: str) -> str:
        return sse(line, event="end", id=self._last + 1)
