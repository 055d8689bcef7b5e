"""What a run needs of the machines it has: workers to hire, and a mailbox. Ray is one; a test has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from ..errors import LLMError
from ._work import Job
from ._worker import Reply


class Ready(msgspec.Struct, frozen=True):
    """A worker stands; with an error where it has no model, as then none will."""

    error: LLMError | None = None


class Lost(msgspec.Struct, frozen=True):
    """A worker is gone, and why."""

    reason: str


class Rows(msgspec.Struct, frozen=True):
    """What a worker gives back of an exchange."""

    replies: Sequence[Reply]


class Broken(msgspec.Struct, frozen=True):
    """A worker lives and cannot work: the fault is in the program, and any other would have it."""

    error: Exception


Outcome: TypeAlias = Ready | Rows | Lost | Broken


class Crew(Protocol):
    """Workers by their numbers. What each does comes through `next`; all but `next` return at once."""

    def open(self) -> int:
        """Reach the machines, which may block for as long as that takes; the number of workers to hire."""
        ...

    def hire(self, worker: int) -> None:
        """Start a worker: `Ready` follows, or `Lost`."""
        ...

    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Give it jobs: `Rows` follow, or `Lost`. One at a time for each worker."""
        ...

    def fire(self, worker: int) -> None:
        """End a worker; nothing more comes of it."""
        ...

    def stop(self) -> None:
        """Close all connections to the vendor; `Rows` still come. From any thread."""
        ...

    def next(self, timeout: float) -> tuple[int, Outcome] | None:
        """What came first of what has come; None after `timeout` seconds, or when woken."""
        ...

    def wake(self) -> None:
        """Have `next` return. From any thread."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...
