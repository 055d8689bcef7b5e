"""Streams as a vendor's API writes them, for that vendor's clients: a stream format around an answer writer.

Tool calls are written only for a client that brought tools: those of an assistant run here. These wires cannot take
anything back, so a `StreamReset` after the first content ends the answer with an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from ... import events
from ..._json import encode
from ...errors import StreamInterruptedError
from ...providers._answer_writer import AnswerWriter
from .errors import ErrorDialect, error_facts
from .stream_format import StreamFormat


class VendorStream(StreamFormat):
    """A streamed answer. Keep-alives are comments: a vendor's own events may not come before the first one.

    Args:
        writer: Writes the events.
        errors: How the vendor's clients read errors.
        tools: Whether the client brought tools of its own, and so gets tool calls.
    """

    def __init__(self, writer: AnswerWriter, errors: ErrorDialect, *, tools: bool = False) -> None:
        self._writer = writer
        self._errors = errors
        self._tools = tools
        self._has_content = False
        self._ended = False

    def begin(self) -> str:
        """Return the beginning of the answer."""
        return self._writer.begin()

    def event(self, number: int, event: object) -> str:
        """Return the text of one event."""
        if self._ended:
            return ""
        match event:
            case events.TextDelta() | events.ReasoningDelta():
                self._has_content = True
                return self._writer.event(event)
            case events.ToolCallStart() | events.ToolCallDelta() | events.ToolCallEnd() if self._tools:
                self._has_content = True
                return self._writer.event(cast("events.TokenEvent", event))
            case events.StreamReset() if self._has_content:
                return self.end(StreamInterruptedError("the answer broke off and began again"))
            case events.StreamEnd(response):
                self._ended = True
                return self._writer.end(response)
            case _:
                return ""

    def end(self, error: Exception | None) -> str:
        """Return the error, so that half an answer never looks whole; without one and a StreamEnd, a plain end."""
        if self._ended:
            return ""
        self._ended = True
        if error is None:
            return self._writer.end(events.Response(finish_reason="stop"))
        return self._writer.error(error_facts(error).message, self._errors.type_of(error))


class VendorDocument(StreamFormat):
    """A whole answer as one JSON document: nothing but white space is sent before it is complete.

    Args:
        writer: Writes the document.
        tools: Whether the client brought tools of its own, and so gets tool calls.
    """

    headers: Mapping[str, str] = {"content-type": "application/json", "cache-control": "no-store"}
    keep_alive = "\n"

    def __init__(self, writer: AnswerWriter, *, tools: bool = False) -> None:
        self._writer = writer
        self._tools = tools

    def event(self, number: int, event: object) -> str:
        """Return the document when the answer is complete."""
        if not isinstance(event, events.StreamEnd):
            return ""
        response = event.response if self._tools else msgspec.structs.replace(event.response, tool_calls=())
        return encode(self._writer.document(response)).decode()

    def end(self, error: Exception | None) -> str:
        """Break the connection after an error: clients would take a document with the status 200 for an answer."""
        if error is not None:
            raise StreamInterruptedError("the answer broke off") from error
        return ""
