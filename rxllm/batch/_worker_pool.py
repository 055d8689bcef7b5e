"""What a run needs of the machines it has: workers to hire, and a mailbox. Ray is one; a test has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from ..errors import LLMError
from ._jobs import Job
from ._worker import EncodedRow


class WorkerReady(msgspec.Struct, frozen=True):
    """A worker stands; with an error where it has no model, as then none will."""

    error: LLMError | None = None


class WorkerLost(msgspec.Struct, frozen=True):
    """A worker is gone, and why."""

    reason: str


class RowsReceived(msgspec.Struct, frozen=True):
    """What a worker gives back of an exchange."""

    rows: Sequence[EncodedRow]


class WorkerFailed(msgspec.Struct, frozen=True):
    """A worker lives and cannot work: the fault is in the program, and any other would have it."""

    error: Exception


Outcome: TypeAlias = WorkerReady | RowsReceived | WorkerLost | WorkerFailed


class WorkerPool(Protocol):
    """Workers by their numbers. What each does comes through `next`; all but `next` return at once."""

    def open(self) -> int:
        """Reach the machines, which may block for as long as that takes; the number of workers to hire."""
        ...

    def start_worker(self, worker: int) -> None:
        """Start a worker: `WorkerReady` follows, or `WorkerLost`."""
        ...

    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Give it jobs: `RowsReceived` follow, or `WorkerLost`. One at a time for each worker."""
        ...

    def end_worker(self, worker: int) -> None:
        """End a worker; nothing more comes of it."""
        ...

    def stop(self) -> None:
        """Close all connections to the vendor; `RowsReceived` still come. From any thread."""
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
