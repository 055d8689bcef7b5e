"""Events as lines of JSON for readers elsewhere, and back: the one form that SSE, NDJSON and WebSockets carry.

A line is the event's own JSON (`event_from_json` reads it) with `seq`, the number to go on after. A
stream ends in one line more: {"type": "end"}, {"type": "stopped"}, or {"type": "error"} with what
the reader may know of it: an exception of our own tree is described with keys removed, any other
only by the fact.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ... import errors
from ..._core.recording_format import redacted
from ..._json import encode, int_at, object_at, text_at
from ...errors import APITimeoutError, LLMError, OutputParsingError, StreamError, StreamInterruptedError

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
    known = (kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    facts: dict[str, object] = {
        "kind": next(known),
        "message": redacted(str(error)),
        "provider": error.provider,
        "model": error.model,
        "status_code": error.status_code,
        "retry_after": error.retry_after,
        "transient": error.transient,
    }
    return {name: value for name, value in facts.items() if value is not None}


def error_from_facts(facts: Mapping[str, object]) -> LLMError:
    """Return the error that `error_facts` described, of the same class where that is one of ours."""
    kind = getattr(errors, text_at(facts, "kind") or "", StreamError)
    if not (isinstance(kind, type) and issubclass(kind, LLMError)) or kind in (APITimeoutError, OutputParsingError):
        kind = StreamError
    retry_after = facts.get("retry_after")
    return kind(
        text_at(facts, "message") or "the server reported an error",
        provider=text_at(facts, "provider"),
        model=text_at(facts, "model"),
        status_code=int_at(facts, "status_code"),
        retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
        transient=bool(facts.get("transient")),
    )


def error_at_end(line: Mapping[str, object]) -> LLMError:
    """The error that a last line stands for: an "error" line's own, or that somebody stopped the stream."""
    if line.get("type") == "error":
        return error_from_facts(object_at(line, "error"))
    return StreamInterruptedError("the stream was stopped at the server", transient=False)
