"""An error as data: to JSON and back, with keys taken out of its message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from .. import errors
from .._schema import converter
from ..errors import APITimeoutError, LLMError, OutputParsingError, StreamError, TimeoutPhase
from ..events import Response

_NAMED_KEY = re.compile(r"""((?:bearer|basic)\s+|api[-_ ]?key["']?\s*[:=]\s*["']?)[^\s"',;&]{6,}""", re.IGNORECASE)
_KEY_SHAPE = re.compile(r"(?<![A-Za-z0-9])(?:(?:sk|rk|gsk|xai|pplx|fw|csk|nvapi|hf|r8)[-_]|AIza)[\w*-]{8,}")
_COPIED = ("provider", "model", "status_code", "request_id", "retry_after", "transient")


def redacted(text: str) -> str:
    """Return `text` without what looks like a key, judged by what precedes it or by its own shape.

    >>> redacted("Incorrect API key provided: sk-proj-12345678. Sent: Authorization: Bearer abcdef123")
    'Incorrect API key provided: [redacted]. Sent: Authorization: Bearer [redacted]'
    """
    return _KEY_SHAPE.sub("[redacted]", _NAMED_KEY.sub(r"\1[redacted]", text))


def error_text(error: BaseException) -> str:
    """Return the class and the message of any error, also if its `__str__` raises; of a group with those of its errors.

    >>> error_text(KeyError("city")), error_text(TimeoutError())
    ("KeyError: 'city'", 'TimeoutError')
    >>> error_text(ExceptionGroup("in tasks", [KeyError("city")]))
    "ExceptionGroup: in tasks (1 sub-exception): KeyError: 'city'"
    """
    name = type(error).__name__
    text = _message_of(error)
    if text is None:
        text = "(its message cannot be read)"
    elif isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        text = f"{text}: {'; '.join(map(error_text, inner))}"
    return f"{name}: {text}" if text else name


def as_exception(error: BaseException) -> Exception:
    """Return an error of user code; a `StreamError` if it is not an `Exception`, or its message cannot be read."""
    if isinstance(error, Exception) and _message_of(error) is not None:
        return error
    return StreamError(error_text(error))


def _message_of(error: BaseException) -> str | None:
    """Return the message of an error; None if its `__str__` raises."""
    try:
        return str(error)
    except BaseException:
        return None


class ErrorRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an error.

    `kind` is the name of its class, or of the nearest base class in `rxllm.errors`; `text` is the text that an
    `OutputParsingError` could not parse. The other fields are those of `LLMError`.

    >>> record = ErrorRecord.of(errors.RateLimitError("slow down", status_code=429))
    >>> record.kind, record.to_error().status_code
    ('RateLimitError', 429)
    """

    kind: str
    message: str
    provider: str | None = None
    model: str | None = None
    status_code: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    transient: bool = False
    phase: TimeoutPhase | None = None
    text: str | None = None
    partial: Response | None = None

    @classmethod
    def of(cls, error: Exception) -> ErrorRecord:
        """Return the data of `error`."""
        message = redacted(str(error))
        if not isinstance(error, LLMError):
            return cls(type(error).__name__, message)
        known = (base.__name__ for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
        return cls(
            next(known),
            message,
            **{name: getattr(error, name) for name in _COPIED},
            phase=error.phase if isinstance(error, APITimeoutError) else None,
            text=error.text if isinstance(error, OutputParsingError) else None,
            partial=error.partial,
        )

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> ErrorRecord:
        """Return the record in a JSON object that another program wrote; what is missing or wrong is left out."""
        for known in (fields, {name: fields[name] for name in ("kind", "message") if name in fields}):
            try:
                return converter(cls)({"kind": "StreamError", "message": "the server reported an error", **known})
            except msgspec.ValidationError:
                continue
        return cls("StreamError", "the server reported an error")

    def to_error(self) -> LLMError:
        """Return the error; a `StreamError` if its class is not one of `rxllm.errors`."""
        kind = getattr(errors, self.kind, None)
        error: LLMError
        if not (isinstance(kind, type) and issubclass(kind, LLMError)):
            error = StreamError(f"{self.kind}: {self.message}")
        elif issubclass(kind, APITimeoutError):
            error = kind(self.message, phase=self.phase or "idle")
        elif issubclass(kind, OutputParsingError):
            error = kind(self.message, text=self.text or "")
        else:
            error = kind(self.message)
        for name in (*_COPIED, "partial"):
            setattr(error, name, getattr(self, name))
        return error
