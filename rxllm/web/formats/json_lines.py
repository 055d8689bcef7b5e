"""Events as lines of JSON for readers elsewhere, and back: the one form that SSE, NDJSON and WebSockets carry.

A line is the event's own JSON (`event_from_json` reads it) with `seq`, the number to go on after. A
stream ends in one line more: {"type": "end"}, {"type": "stopped"}, or {"type": "error"} with what
the reader may know of it: an exception of our own tree is described with keys removed, any other
only by the fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from ... import errors
from ..._core.error_format import ErrorRecord
from ..._json import encode, object_at
from ...errors import LLMError, StreamError, StreamInterruptedError

INTERNAL = "the server failed; its log says how"

END_LINE = '{"type":"end"}'
STOPPED_LINE = '{"type":"stopped"}'


def event_line(event: object, seq: int | None = None) -> str:
    """One event (a token event, or a struct of the same kind) as a line.

    >>> from rxllm.events import TextDelta
    >>> event_line(TextDelta("Hi"), 7)
    '{"type":"text_delta","text":"Hi","seq":7}'
    """
    line = msgspec.json.encode(event, enc_hook=str).decode()
    return line if seq is None else f'{line[:-1]},"seq":{seq}}}'


def error_line(error: Exception) -> str:
    """How a stream failed, as its last line."""
    return encode({"type": "error", "error": error_facts(error)}).decode()


def error_facts(error: Exception) -> dict[str, object]:
    """What a client may know of `error`: its kind, its message without keys, whether and when to try again.

    >>> error_facts(ValueError("the password is hunter2"))
    {'kind': 'InternalError', 'message': 'the server failed; its log says how'}
    """
    if not isinstance(error, LLMError):
        return {"kind": "InternalError", "message": INTERNAL}
    record = msgspec.structs.replace(ErrorRecord.of(error), request_id=None, text=None, partial=None)
    return cast("dict[str, object]", msgspec.to_builtins(record))


def error_from_facts(facts: Mapping[str, object]) -> LLMError:
    """Return the error that `error_facts` described; a `StreamError` where its class is not one of ours."""
    record = ErrorRecord.read(facts)
    return record.to_error() if hasattr(errors, record.kind) else StreamError(record.message)


def error_at_end(line: Mapping[str, object]) -> LLMError:
    """The error that a last line stands for: an "error" line's own, or that somebody stopped the stream."""
    if line.get("type") == "error":
        return error_from_facts(object_at(line, "error"))
    return StreamInterruptedError("the stream was stopped at the server", transient=False)
