"""A recorded stream of events: lines of JSON, each with its time in seconds from the subscription.

::

    {"at":0.42,"event":{"type":"text_delta","text":"Hi"}}
    {"at":0.61,"end":"completed"}

The last line tells how the stream ended: "completed", "disposed", or with an "error". A file
without one was cut off.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from reactivex import abc

from .. import errors
from ..errors import APITimeoutError, LLMError, StreamError, TimeoutPhase
from ..events import Response, TokenEvent

Ending: TypeAlias = Literal["completed", "disposed"]

_NAMED = re.compile(r"""((?:bearer|basic)\s+|api[-_ ]?key["']?\s*[:=]\s*["']?)[^\s"',;&]{6,}""", re.IGNORECASE)
_SHAPED = re.compile(r"\b(?:(?:sk|rk|gsk|xai|pplx|fw|csk|nvapi|hf|r8)[-_]|AIza)[\w*-]{8,}")


def redacted(text: str) -> str:
    """`text` without what looks like a key: by what stands before it, or by its own shape.

    >>> redacted("Incorrect API key provided: sk-proj-12345678. Sent: Authorization: Bearer abcdef123")
    'Incorrect API key provided: [redacted]. Sent: Authorization: Bearer [redacted]'
    """
    return _SHAPED.sub("[redacted]", _NAMED.sub(r"\1[redacted]", text))


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it is written down."""

    kind: str
    message: str
    provider: str | None = None
    model: str | None = None
    status_code: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    transient: bool = False
    phase: TimeoutPhase | None = None
    partial: Response | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What there is to write down of `error`; its message has keys taken out."""
        kind, message = type(error).__name__, redacted(str(error))
        if not isinstance(error, LLMError):
            return cls(kind, message)
        return cls(
            kind,
            message,
            provider=error.provider,
            model=error.model,
            status_code=error.status_code,
            request_id=error.request_id,
            retry_after=error.retry_after,
            transient=error.transient,
            phase=error.phase if isinstance(error, APITimeoutError) else None,
            partial=error.partial,
        )

    def error(self) -> LLMError:
        """The error that was written down; a `StreamError` where it was none of ours."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, APITimeoutError):
            error: LLMError = kind(self.message, phase=self.phase or "idle", partial=self.partial)
        elif isinstance(kind, type) and issubclass(kind, LLMError):
            error = kind(self.message, partial=self.partial)
        else:
            error = StreamError(f"{self.kind}: {self.message}")
        for name in ("provider", "model", "status_code", "request_id", "retry_after", "transient"):
            setattr(error, name, getattr(self, name))
        return error


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: an event, or the end."""

    at: float
    event: TokenEvent | None = None
    end: Ending | None = None
    error: Failure | None = None


class RecordingWriter(abc.DisposableBase):
    """Writes one recording; disposing it ends it, if nothing else has."""

    def __init__(self, path: str | Path, now: Callable[[], float]) -> None:
        self._file = Path(path).open("wb")  # noqa: SIM115 - closed with the stream, by the end or by dispose
        self._now = now
        self._closing = threading.Lock()
        self._encode = msgspec.json.Encoder().encode

    def event(self, event: TokenEvent) -> None:
        """Write down an event."""
        self._write(Line(self._time(), event))

    def end(self, ending: Ending) -> None:
        """Write down the end, and close the file."""
        self._close(Line(self._time(), end=ending))

    def failure(self, error: Exception) -> None:
        """Write down the error that ended the stream, and close the file."""
        self._close(Line(self._time(), error=Failure.of(error)))

    def dispose(self) -> None:
        """Close the file; from any thread, any number of times."""
        self.end("disposed")

    def _write(self, line: Line) -> None:
        try:
            self._file.write(self._encode(line) + b"\n")
        except ValueError:
            if not self._file.closed:  # else it was closed from another thread, and nobody waits for this line
                raise

    def _close(self, line: Line) -> None:
        with self._closing:
            if not self._file.closed:
                self._write(line)
                self._file.close()

    def _time(self) -> float:
        return round(self._now(), 6)


def read_recording(path: str | Path) -> Iterator[Line]:
    """The lines of a recording; raises `ValueError`, with the line's number, where one is no such line."""
    decode = msgspec.json.Decoder(Line).decode
    with Path(path).open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                yield decode(text)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not a line of a recording: {error}") from error
