"""The contract of all stream formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


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

    def completed(self) -> str:
        """Return the end of a stream that completed."""
        ...

    def stopped(self) -> str:
        """Return the end of a stream that was stopped."""
        ...

    def failed(self, error: Exception) -> str:
        """Return the end of a stream that failed."""
        ...
