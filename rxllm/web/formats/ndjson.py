r"""Streams as newline-delimited JSON: one line an event, for programs that read line by line.

The last line's type is "end", "stopped" or "error". No I/O here.

>>> from rxllm.events import TextDelta
>>> NDJSON().event(7, TextDelta("Hi"))
'{"type":"text_delta","text":"Hi","seq":7}\n'
"""

from __future__ import annotations

from collections.abc import Mapping

from .json_lines import END_LINE, STOPPED_LINE, error_line, event_line

NDJSON_HEADERS: Mapping[str, str] = {
    "content-type": "application/x-ndjson; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class NDJSON:
    """The events of one stream as lines."""

    headers = NDJSON_HEADERS
    keep_alive = "\n"

    def begin(self) -> str:
        """Return nothing."""
        return ""

    def event(self, number: int, event: object) -> str:
        """Return one event."""
        return event_line(event, number) + "\n"

    def completed(self) -> str:
        """Return the end."""
        return END_LINE + "\n"

    def stopped(self) -> str:
        """Return the end of a stream that was stopped."""
        return STOPPED_LINE + "\n"

    def failed(self, error: Exception) -> str:
        """Return the end of a stream that failed."""
        return error_line(error) + "\n"
