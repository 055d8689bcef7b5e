"""The file format of recorded streams: lines of JSON, each with its time in seconds from the subscription.

::

    {"at":0.42,"event":{"type":"text_delta","text":"Hi"}}
    {"at":0.61,"end":"completed"}

The last line says how the stream ended: "completed", "disposed", or with an "error". A file
without such a line is incomplete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from reactivex import abc

from .._schema import decoder
from ..events import TokenEvent
from .error_format import ErrorRecord

Ending: TypeAlias = Literal["completed", "disposed"]


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: an event, or the end of the stream."""

    at: float
    event: TokenEvent | None = None
    end: Ending | None = None
    error: ErrorRecord | None = None


class RecordingWriter(abc.DisposableBase):
    """Writes one recording. Disposing it ends the recording, if it has not ended yet. Thread-safe."""

    def __init__(self, path: str | Path, now: Callable[[], float]) -> None:
        # Not buffered: each line is in the file at once, and survives the end of the process.
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed with the stream
        self._now = now
        self._closing = threading.RLock()  # reentrant: the garbage collector may dispose
        self._is_ended = False
        self._encode = msgspec.json.Encoder().encode

    def event(self, event: TokenEvent) -> None:
        """Write an event. It costs as few calls as possible: there is one per token."""
        try:
            self._file.write(self._encode(Line(int(self._now() * 1e6) / 1e6, event)) + b"\n")
        except ValueError:
            if not self._file.closed:  # otherwise another thread has ended the recording
                raise

    def end(self, ending: Ending) -> None:
        """Write how the stream ended, and close the file."""
        self._close(Line(self._time(), end=ending))

    def failure(self, error: Exception) -> None:
        """Write the error that ended the stream, and close the file. An error of the file becomes a note of `error`."""
        try:
            self._close(Line(self._time(), error=ErrorRecord.of(error)))
        except OSError as fault:
            error.add_note(f"the recording is incomplete: {fault}")

    def dispose(self) -> None:
        """Close the file. Safe to call from any thread, any number of times. Raises nothing."""
        with suppress(OSError):  # the recording then has no last line, as if it were cut
            self.end("disposed")

    def _close(self, line: Line) -> None:
        """Write the last line and close the file, or wait until another thread has."""
        with self._closing:
            if not self._is_ended:
                self._is_ended = True
                with self._file:
                    self._file.write(self._encode(line) + b"\n")

    def _time(self) -> float:
        return int(self._now() * 1e6) / 1e6  # microseconds; round() takes longer than the rest of a line


def read_recording(path: str | Path) -> Iterator[Line]:
    """Yield the lines of a recording; a last line that was cut off is left out.

    Raises:
        ValueError: A line is not of this format; the message names its number.
    """
    decode = decoder(Line).decode
    with Path(path).open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                yield decode(text)
            except ValueError as error:
                if not text.endswith(b"\n"):
                    return  # the process ended while it wrote this line
                raise ValueError(f"{path}, line {number}: not a line of a recording: {error}") from error
