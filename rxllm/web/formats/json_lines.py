"""Events as lines of JSON, and back: the one form that SSE, NDJSON and WebSocket messages carry.

A line is the event's own JSON (`rxllm.event_from_json` reads it) with `seq`, the event's number. The last line of a
stream is {"type": "end"}, {"type": "stopped"} or {"type": "error", "error": {...}}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from ..._json import encode, object_at
from ...assistant.events import with_json_value
from ...errors import LLMError, StreamInterruptedError
from .errors import error_facts, error_from_facts

END_LINE = '{"type":"end"}'
STOPPED_LINE = '{"type":"stopped"}'


def event_line(event: object, seq: int | None = None) -> str:
    """Return one event (a token event, or a struct of the same kind) as a line, with its number `seq`.

    Example:
        >>> from rxllm.events import TextDelta
        >>> event_line(TextDelta("Hi"), 7)
        '{"type":"text_delta","text":"Hi","seq":7}'
    """
    line = encode(with_json_value(event)).decode()
    return line if seq is None else f'{line[:-1]},"seq":{seq}}}'


def error_line(error: Exception) -> str:
    """Return the last line of a stream that failed."""
    return encode({"type": "error", "error": error_facts(error)}).decode()


def error_at_end(line: Mapping[str, object]) -> LLMError:
    """Return the error that a last line stands for: an "error" line's own, or that the stream was stopped."""
    if line.get("type") == "error":
        return error_from_facts(object_at(line, "error"))
    return StreamInterruptedError("the stream was stopped at the server", transient=False)


class LineFormat(ABC):
    """The part of a `StreamFormat` that all forms of these lines share."""

    def begin(self) -> str:
        """Return nothing: the first event is the beginning."""
        return ""

    def completed(self) -> str:
        """Return the end."""
        return self._end(END_LINE)

    def stopped(self) -> str:
        """Return the end of a stream that was stopped."""
        return self._end(STOPPED_LINE)

    def failed(self, error: Exception) -> str:
        """Return the end of a stream that failed."""
        return self._end(error_line(error))

    @abstractmethod
    def _end(self, line: str) -> str:
        """Return the last line as this form has it."""
