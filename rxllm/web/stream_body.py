"""A stream on its way to one reader, as text: what to send when there is something, and at its end.

A reader pulls: `take` gives all that is ready, in one piece, so that a slow one gets fewer and
longer pieces. How it is waited for is the adapters' (`asgi`, `wsgi`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .._json import encode
from ..errors import StreamInterruptedError
from .formats.openai_chat import openai_error
from .served_stream import ServedStream


class Format(Protocol):
    """How a stream reads as text; one instance for each stream. See `rxllm.sinks`."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's."""
        ...

    @property
    def silence(self) -> str:
        """What is sent when nothing was for a while."""
        ...

    def begin(self) -> str:
        """What comes before the first event."""
        ...

    def event(self, number: int, event: object) -> str:
        """One event, or several joined, the last of which has this number."""
        ...

    def completed(self) -> str:
        """The end."""
        ...

    def stopped(self) -> str:
        """The end, where somebody stopped the stream."""
        ...

    def failed(self, error: Exception) -> str:
        """The end, where the stream failed."""
        ...


class StreamBody:
    """One reader's way through `stream`, from after the event `after`, as `format`.

    With `status_of`, the answer's head waits for the first event (of a `whole` one, for the end), so
    that a stream that fails before it can be told by the HTTP status that `status_of` has for the error.
    """

    def __init__(
        self,
        stream: ServedStream[object],
        format: Format,  # noqa: A002 - the field's name
        *,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
        status_of: Callable[[Exception], int] | None = None,
        whole: bool = False,
    ) -> None:
        self.stream = stream
        self.headers: dict[str, str] = {**format.headers, "x-rxllm-stream": stream.id, **(headers or {})}
        self.silence = format.silence
        self.ended = False
        self._format = format
        self._status_of = status_of
        self._whole = whole
        self.after = after
        """The number of the last event that was taken."""
        self._begun = False

    def take(self) -> str:
        """What is ready now, "" where nothing is; `ended` is set with the last of it.

        One that `is_behind` then is to take again, and need not be rung for.
        """
        state = self.stream.state  # before the events: what comes after it is taken next time
        entries = self.stream.since(self.after)
        pieces: list[str] = []
        if not self._begun and (entries or state != "open"):
            self._begun = True
            pieces.append(self._format.begin())
        for entry in entries:
            pieces.append(self._format.event(entry.id, entry.event))
            self.after = entry.id
        if self.is_behind:
            return "".join(pieces)
        if state != "open":
            self.ended = True
            pieces.append(self._end())
        elif self.stream.is_released:
            self.ended = True  # without an end: the reader sees that there is more, and where it is
        return "".join(pieces)

    @property
    def is_behind(self) -> bool:
        """Whether there is more to take at once."""
        return self.after < self.stream.last

    def ready(self) -> bool:
        """Whether the answer's head can be sent."""
        if self._status_of is None or self.stream.state != "open":
            return True
        return not self._whole and bool(self.stream.since(self.after))

    def failure(self) -> tuple[int, str] | None:
        """The HTTP status and body of a stream that failed in time for it; None of any other. Asked once `ready`."""
        stream = self.stream
        error = stream.error
        if error is None and stream.state == "cancelled":
            error = StreamInterruptedError("the stream was stopped at the server")
        if self._status_of is None or error is None or not (self._whole or not stream.since(0)):
            return None
        self.ended = True
        return self._status_of(error), encode({"error": openai_error(error)}).decode()

    def _end(self) -> str:
        match self.stream.state:
            case "cancelled":
                return self._format.stopped()
            case "failed" if self.stream.error is not None:
                return self._format.failed(self.stream.error)
            case _:
                return self._format.completed()
