"""The contract of all stream formats, and the ends of streams that are no failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ...errors import StreamInterruptedError

STOPPED = StreamInterruptedError("the stream was stopped at the server", transient=False)
"""The error of a stream that one of its watchers has stopped."""

MOVED = StreamInterruptedError("this server is closing, and the answer continues: load the page again")
"""The end here of a stream that continues in another process."""


class StreamFormat(Protocol):
    """How the events of one stream read as text; an instance per reader."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the HTTP response."""
        ...

    @property
    def keep_alive(self) -> str:
        """What is sent after some seconds without an event; readers skip it."""
        ...

    def begin(self) -> str:
        """Return what comes before the first event."""
        ...

    def event(self, number: int, event: object) -> str:
        """Return the text of one event, or of several merged, the last of which has this number."""
        ...

    def end(self, error: Exception | None) -> str:
        """Return the end of the stream.

        Args:
            error: What the stream failed with, `STOPPED`, or `MOVED`; None if it completed.
        """
        ...
