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

from ...providers._writer import SSE_COMMENT
from .json_lines import LineFormat, event_line

SSE_HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would hold the stream back
}


def last_event_id(header: str | None) -> int:
    """Return the event number in a `Last-Event-ID` header; 0, the beginning, if there is none.

    >>> last_event_id("7"), last_event_id(None), last_event_id("x")
    (7, 0, 0)
    """
    return int(header) if header is not None and header.isascii() and header.isdecimal() and len(header) < 19 else 0


class SSE(LineFormat):
    """The events of one stream as SSE, from after the event `after`.

    The end has a number too: a reader that continues after it has seen everything.
    """

    headers = SSE_HEADERS
    keep_alive = SSE_COMMENT

    def __init__(self, after: int = 0) -> None:
        self._last = after
        self._retry = "retry: 1000\n"  # milliseconds

    def event(self, number: int, event: object) -> str:
        """Return one event. JSON writes line ends as escapes, so there is one data line."""
        self._last = number
        retry, self._retry = self._retry, ""
        return f"{retry}id: {number}\ndata: {event_line(event, number)}\n\n"

    def _end(self, line: str) -> str:
        return f"id: {self._last + 1}\nevent: end\ndata: {line}\n\n"
