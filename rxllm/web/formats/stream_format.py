"""The contract of all stream formats, and the ends of streams that are not failures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from ...errors import StreamInterruptedError
from ...providers._answer_writer import SSE_COMMENT

STOPPED = StreamInterruptedError("the stream was stopped at the server", transient=False)
"""The error of a stream that one of its watchers has stopped."""

MOVED = StreamInterruptedError("this server is closing, and the answer continues: load the page again")
"""The end here of a stream that continues in another process."""


SSE_HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would hold the stream back
}


class StreamFormat(ABC):
    """How the events of one stream read as text; an instance per reader."""

    headers: Mapping[str, str] = SSE_HEADERS
    """The headers of the HTTP response."""

    keep_alive: str = SSE_COMMENT
    """What is sent after some seconds without an event; readers skip it."""

    def begin(self) -> str:
        """Return what comes before the first event."""
        return ""

    @abstractmethod
    def event(self, number: int, event: object) -> str:
        """Return the text of one event, or of several merged, the last of which has this number."""

    def pause(self) -> str:
        """Return the end of a response after which the user must decide something; "" while that is not so."""
        return ""

    @abstractmethod
    def end(self, error: Exception | None) -> str:
        """Return the end of the stream.

        Args:
            error: What the stream failed with, `STOPPED`, or `MOVED`; None if it completed.
        """
