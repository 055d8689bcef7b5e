r"""Events as lines of JSON, and back: what server-sent events, NDJSON and WebSocket messages carry. No I/O here.

A line is the event's own JSON (`rxllm.event_from_json` reads it) with `seq`, the event's number. The last line of a
stream is {"type": "end"}, {"type": "stopped"} or {"type": "error", "error": {...}}.

>>> from rxllm.events import TextDelta
>>> SSE().event(7, TextDelta("Hi"))
'id: 7\ndata: {"type":"text_delta","text":"Hi","seq":7}\n\n'
>>> NDJSON().event(7, TextDelta("Hi"))
'{"type":"text_delta","text":"Hi","seq":7}\n'
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from ..._json import encode_line, object_at
from ...assistant.events import with_json_value
from ...errors import LLMError, StreamInterruptedError
from .errors import error_facts, error_from_facts
from .stream_format import MOVED, SSE_HEADERS, STOPPED, StreamFormat


def error_at_end(line: Mapping[str, object]) -> LLMError:
    """Return the error that a last line stands for to a reader that has had no `StreamEnd`."""
    if line.get("type") == "error":
        return error_from_facts(object_at(line, "error"))
    how = "was stopped at the server" if line.get("type") == "stopped" else "ended without a StreamEnd"
    return StreamInterruptedError(f"the stream {how}", transient=False)


def last_event_id(header: str | None) -> int:
    """Return the event number in a `Last-Event-ID` header; 0, the beginning, if there is none.

    >>> last_event_id("7"), last_event_id(None), last_event_id("x")
    (7, 0, 0)
    """
    return int(header) if header is not None and header.isascii() and header.isdecimal() and len(header) < 19 else 0


class LineFormat(StreamFormat):
    """Lines of JSON, from after the event `after`.

    Args:
        after: The number of the last event that the reader has seen.
    """

    def __init__(self, after: int = 0) -> None:
        self._last = after

    def event(self, number: int, event: object) -> str:
        """Return one event (a token event, or a struct of the same kind), with its number as the last field."""
        self._last = number
        line = encode_line(with_json_value(event))
        return self._framed(f'{line[:-1]},"seq":{number}}}')

    def end(self, error: Exception | None) -> str:
        """Return the last line; nothing for a stream that continues elsewhere, so that its reader does too."""
        if error is MOVED:
            return ""
        line: dict[str, object] = {"type": "end"}
        if error is not None:
            line = {"type": "stopped"} if error is STOPPED else {"type": "error", "error": error_facts(error)}
        return self._framed(encode_line(line), is_end=True)

    @abstractmethod
    def _framed(self, line: str, *, is_end: bool = False) -> str:
        """Return a line, the last one if `is_end`, as this form has it."""


class SSE(LineFormat):
    """Server-sent events, for `EventSource`, for `fetch`, and for `rxllm.web.client`.

    Each event has its number as the SSE id, so that a reader that was cut off continues after the last id it saw
    (`Last-Event-ID`). The last one is named "end". It has a number too: a reader that continues after it has seen
    everything.
    """

    def begin(self) -> str:
        """Return when to connect again, in milliseconds: it is part of the first event."""
        return "retry: 1000\n"

    def _framed(self, line: str, *, is_end: bool = False) -> str:
        """Return one event. JSON writes line ends as escapes, so there is one data line."""
        if is_end:
            return f"id: {self._last + 1}\nevent: end\ndata: {line}\n\n"
        return f"id: {self._last}\ndata: {line}\n\n"


class NDJSON(LineFormat):
    """Newline-delimited JSON: one line an event, for programs that read line by line."""

    headers: Mapping[str, str] = {**SSE_HEADERS, "content-type": "application/x-ndjson; charset=utf-8"}
    keep_alive = "\n"

    def _framed(self, line: str, *, is_end: bool = False) -> str:
        return line + "\n"
