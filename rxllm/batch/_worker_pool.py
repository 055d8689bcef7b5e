"""The interface between a run and its workers, which are in this process, on Ray, or made by the tests."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from ._jobs import Job
from ._worker import EncodedRow

Outcome: TypeAlias = Sequence[EncodedRow] | Exception
"""What one `exchange` returned; none after a start. `WorkerLostError`: the worker has ended. Any other error is one of
the program, which all workers would have."""


class WorkerPool(ABC):
    """Workers, each with a number. Their outcomes arrive in a mailbox. Only `open` and `next` block."""

    def __init__(self) -> None:
        self.mailbox: queue.SimpleQueue[tuple[int, Outcome] | None] = queue.SimpleQueue()
        """Outcomes and their workers. None only makes `next` return."""

    def open(self) -> None:  # noqa: B027  most need nothing
        """Connect to the machines. Blocks for as long as that takes."""

    @abstractmethod
    def size(self) -> int:
        """Return the number of workers that there should be; it changes when machines join or leave."""

    @abstractmethod
    def start_worker(self, worker: int) -> None:
        """Start a worker; an outcome follows."""

    @abstractmethod
    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send jobs to a worker; an outcome follows. One exchange at a time for each worker."""

    @abstractmethod
    def end_worker(self, worker: int) -> None:
        """End a worker; nothing more arrives from it."""

    @abstractmethod
    def stop(self) -> None:
        """Close all connections to the vendor; outcomes still arrive. Thread-safe."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def next(self, timeout: float) -> tuple[int, Outcome] | None:
        """Return the next outcome and its worker; None after `timeout` seconds, or for a None in the mailbox."""
        try:
            return self.mailbox.get(timeout=timeout)
        except queue.Empty:
            return None
