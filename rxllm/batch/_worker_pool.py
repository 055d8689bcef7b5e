"""The interface between a run and its workers, and the workers of a batch without a cluster."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from .._core.error_format import as_exception
from .._runtime.thread_cache import workers
from ..errors import ConfigurationError
from ..operators.resilience.limits import RateLimit
from ._jobs import Job
from ._worker import Settings, Worker
from .errors import WorkerLostError
from .rows import Row
from .shared_limits import RateLimits

Outcome: TypeAlias = Sequence[Row] | Exception
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


class LocalPool(WorkerPool):
    """One `Worker` in this process; each exchange runs on a thread of all workers of this package."""

    def __init__(self, settings: Settings, limit: RateLimit | None) -> None:
        super().__init__()
        self._make_worker = partial(Worker, settings, limit)
        self._worker = self._make_worker()

    def size(self) -> int:
        """Return 1."""
        return 1

    def start_worker(self, worker: int) -> None:
        """Make the first exchange, which creates the model."""
        self.exchange(worker, [])

    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Pass jobs to the worker, on another thread. Raises `WorkerLostError` if none can be started."""
        try:
            workers.run(f"rxllm-batch-worker-{worker}", partial(self._exchange, worker, jobs))
        except RuntimeError as error:
            raise WorkerLostError(f"there is no thread for the batch: {error}") from error

    def end_worker(self, worker: int) -> None:
        """Close all connections, and replace the worker: there is one at a time."""
        self._worker.stop()
        self._worker = self._make_worker()

    def stop(self) -> None:
        """Close all connections."""
        self._worker.stop()

    def close(self) -> None:
        """Close all connections."""
        self._worker.stop()

    def _exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Exchange jobs for rows, on a thread of `workers`."""
        try:
            outcome: Outcome = self._worker.exchange(jobs)
        except BaseException as error:  # of a model of the user's
            outcome = as_exception(error)
        self.mailbox.put((worker, outcome))


_named: dict[str, tuple[RateLimits, RateLimit]] = {}
"""Limits with a name, which all runs of this process share."""
_lock = threading.Lock()


def limit_for(limits: RateLimits) -> RateLimit:
    """Return the operator that keeps `limits` in this process; one for all runs if they have a name.

    Raises:
        ConfigurationError: Other limits have the same name.
    """
    made = RateLimit(limits.requests_per_minute, limits.tokens_per_minute)
    if limits.name is None:
        return made
    with _lock:
        known, limit = _named.setdefault(limits.name, (limits, made))
    if known != limits:
        raise ConfigurationError(f"the limits named {limits.name!r} are {known!r} in this process; here {limits!r}")
    return limit
