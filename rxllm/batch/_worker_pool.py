"""The interface between a run and its workers, which are in this process, on Ray, or made by the tests."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from ..errors import LLMError
from ._jobs import Job
from ._worker import EncodedRow


class WorkerReady(msgspec.Struct, frozen=True):
    """A worker has started; `error` is set if it could not create the model: then no other worker can."""

    error: LLMError | None = None


class WorkerLost(msgspec.Struct, frozen=True):
    """A worker has ended."""

    reason: str


class RowsReceived(msgspec.Struct, frozen=True):
    """The rows that one `exchange` returned."""

    rows: Sequence[EncodedRow]


class WorkerFailed(msgspec.Struct, frozen=True):
    """A worker is alive but cannot work, because of an error in the program: every other worker would have it."""

    error: Exception


Outcome: TypeAlias = WorkerReady | RowsReceived | WorkerLost | WorkerFailed


class WorkerPool(ABC):
    """Workers, each with a number. What they do arrives in a mailbox. Only `open` and `next` block."""

    def __init__(self) -> None:
        self._mailbox: queue.SimpleQueue[tuple[int, Outcome] | None] = queue.SimpleQueue()

    def open(self) -> None:  # noqa: B027  most need nothing
        """Connect to the machines. Blocks for as long as that takes."""

    @abstractmethod
    def size(self) -> int:
        """Return the number of workers that there should be; it changes when machines join or leave."""

    @abstractmethod
    def start_worker(self, worker: int) -> None:
        """Start a worker: `WorkerReady` or `WorkerLost` follows."""

    @abstractmethod
    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send jobs to a worker: `RowsReceived` or `WorkerLost` follows. One exchange at a time for each worker."""

    @abstractmethod
    def end_worker(self, worker: int) -> None:
        """End a worker; nothing more arrives from it."""

    @abstractmethod
    def stop(self) -> None:
        """Close all connections to the vendor; `RowsReceived` still arrive. Thread-safe."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def next(self, timeout: float) -> tuple[int, Outcome] | None:
        """Return the next outcome and its worker; None after `timeout` seconds, or after `wake`."""
        try:
            return self._mailbox.get(timeout=timeout) if timeout > 0 else self._mailbox.get_nowait()
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Make `next` return. Thread-safe."""
        self._mailbox.put(None)
