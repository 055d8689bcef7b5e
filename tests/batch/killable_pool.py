"""A pool of real workers in this process, which can be killed at will: for what Ray cannot be made to do on time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rxllm.batch._jobs import Job
from rxllm.batch._worker import Settings, Worker
from rxllm.batch._worker_pool import Outcome, WorkerPool
from rxllm.batch.errors import WorkerLostError


class KillablePool(WorkerPool):
    """Workers on threads. `on_exchange` hears of each exchange before it is made; `kill` is what a crash is."""

    def __init__(
        self,
        settings: Settings,
        workers: int = 2,
        *,
        on_exchange: Callable[[KillablePool, int, Sequence[Job]], None] = lambda pool, worker, jobs: None,
        starts: Callable[[int], bool] = lambda worker: True,
    ) -> None:
        super().__init__()
        self.exchanges: list[tuple[int, list[object]]] = []
        """Who was given which keys."""
        self.closed = threading.Event()
        self.hired = 0
        self._settings = settings
        self._workers = workers
        self._on_exchange = on_exchange
        self._starts = starts
        self._alive: dict[int, Worker] = {}
        self._lock = threading.Lock()

    def size(self) -> int:
        return self._workers

    def start_worker(self, worker: int) -> None:
        self.hired += 1
        if not self._starts(worker):
            self.mailbox.put((worker, WorkerLostError("it does not start")))
            return
        made = Worker(self._settings)
        with self._lock:
            self._alive[worker] = made
        self._exchange(worker, made, [])

    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        self.exchanges.append((worker, [job.key for job in jobs]))
        with self._lock:
            alive = self._alive.get(worker)
        if alive is None:
            return  # it died a moment ago: the letter that says so is in the mailbox
        self._on_exchange(self, worker, jobs)  # first: a worker that is killed must not have answered before
        threading.Thread(target=self._exchange, args=(worker, alive, jobs), daemon=True).start()

    def kill(self, worker: int) -> None:
        """The worker is gone in the middle of whatever it did."""
        with self._lock:
            dead = self._alive.pop(worker, None)
        if dead is not None:
            dead.stop()
            self.mailbox.put((worker, WorkerLostError("killed")))

    def forget(self, worker: int) -> None:
        """Whatever the worker says, nobody hears it: it is cut off."""
        with self._lock:
            self._alive.pop(worker).stop()

    def end_worker(self, worker: int) -> None:
        with self._lock:
            dead = self._alive.pop(worker, None)
        if dead is not None:
            dead.stop()

    def stop(self) -> None:
        with self._lock:
            alive = list(self._alive.values())
        for worker in alive:
            worker.stop()

    def close(self) -> None:
        for worker in list(self._alive):
            self.end_worker(worker)
        self.closed.set()

    def _exchange(self, number: int, worker: Worker, jobs: Sequence[Job]) -> None:
        try:
            outcome: Outcome = worker.exchange(jobs)
        except Exception as error:
            outcome = error
        with self._lock:
            alive = self._alive.get(number) is worker
        if alive:
            self.mailbox.put((number, outcome))
