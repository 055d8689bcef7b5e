r"""Streams as newline-delimited JSON: one line an event, for programs that read line by line.

The last line's type is "end", "stopped" or "error". No I/O here.

>>> from rxllm.events import TextDelta
>>> NDJSON().event(7, TextDelta("Hi"))
'{"type":"text_delta","text":"Hi","seq":7}\n'
"""

from __future__ import annotations

from collections.abc import Mapping

from .json_lines import LineFormat, event_line

NDJSON_HEADERS: Mapping[str, str] = {
    "content-type": "application/x-ndjson; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class NDJSON(LineFormat):
    """The events of one stream as lines."""

    headers = NDJSON_HEADERS
    keep_alive = "\n"

    def event(self, number: int, event: object) -> str:
        """Return one event."""
        return event_line(event, number) + "\n"

    def _end(self, line: str) -> str:
        return line + "\n"
