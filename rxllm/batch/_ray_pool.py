"""Workers on a Ray cluster: each is an actor, the permit server is one, and their results go into a mailbox.

The only file that imports Ray. Ray's own retries and restarts are off, because the run gives the prompts of a lost
worker to others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from .._lazy_imports import needed
from ..errors import ConfigurationError
from ._jobs import Job
from ._worker import Settings, Worker
from ._worker_pool import Outcome, WorkerPool
from .errors import WorkerLostError
from .rows import Row
from .shared_limits import Lease, LeasedLimit, LeaseRequest, PermitServer, RateLimits

ray = needed("ray", "cluster=True", "rxllm[ray]")  # the border: what comes from it is given its type here
theirs = needed("ray.exceptions", "cluster=True", "rxllm[ray]")

_NAMESPACE = "rxllm"
_SHUT_DOWN = "Ray was shut down while the batch ran"
_THREADS = 3
"""Threads of an actor: one for `exchange`, one for `stop`, one spare."""
_PERMIT_SECONDS = 10.0
"""How long a worker waits for an answer of the permit server before it asks again."""


class RayPool(WorkerPool):
    """Workers on the Ray cluster of this process, else on the one that `ray.init(address)` finds or starts."""

    def __init__(
        self,
        settings: Settings,
        workers: int | None,
        limits: RateLimits | None,
        options: Mapping[str, object],
        address: str | None = None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._workers = workers
        self._limits = limits
        self._options = options
        self._address = address
        self._handles: dict[int, Any] = {}
        self._server: Any = None

    def open(self) -> None:
        """Connect to the cluster."""
        if not ray.is_initialized():
            _start_ray(self._address)
        if self._limits is not None:
            self._server = _server_for(self._limits)

    def size(self) -> int:
        """Return the number of workers that was given, else the number of CPUs in the cluster now; 0 without Ray."""
        if self._workers is not None or not ray.is_initialized():
            return self._workers or 0
        resources = cast("dict[str, float]", ray.cluster_resources())
        return max(1, int(resources.get("CPU", 1)))

    def start_worker(self, worker: int) -> None:
        """Start an actor, in its own process."""
        if not ray.is_initialized():  # a call would start another cluster
            raise WorkerLostError(_SHUT_DOWN)
        options = {"max_concurrency": _THREADS, "scheduling_strategy": "SPREAD", **self._options}
        handle = _actor(_RayWorker, {**options, "max_restarts": 0}).remote(self._settings, self._server)
        self._handles[worker] = handle
        self.exchange(worker, [])

    def exchange(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send jobs; the rows arrive in the mailbox."""
        future = cast("Future[Sequence[Row]]", self._handles[worker].exchange.remote(jobs).future())
        future.add_done_callback(partial(self._arrived, worker))

    def end_worker(self, worker: int) -> None:
        """Kill the actor's process."""
        handle = self._handles.pop(worker, None)
        if handle is not None and ray.is_initialized():
            ray.kill(handle)

    def stop(self) -> None:
        """Make all actors close their connections."""
        if ray.is_initialized():
            for handle in list(self._handles.values()):  # a copy: the run's thread may start or end workers
                handle.stop.remote()

    def next(self, timeout: float) -> tuple[int, Outcome] | None:
        """Return the next outcome; raise after Ray was shut down, because nothing arrives from workers then."""
        outcome = super().next(timeout)
        if outcome is None and not ray.is_initialized():
            raise WorkerLostError(_SHUT_DOWN)
        return outcome

    def close(self) -> None:
        """Kill all actors. The cluster keeps running."""
        for worker in list(self._handles):
            self.end_worker(worker)
        if self._server is not None and self._limits is not None and self._limits.name is None and ray.is_initialized():
            ray.kill(self._server)

    def _arrived(self, worker: int, future: Future[Sequence[Row]]) -> None:
        """Put the outcome into the mailbox; called on a thread of Ray."""
        try:
            outcome: Outcome = future.result()
        except theirs.RayTaskError as error:
            cause = error.cause
            outcome = cause if isinstance(cause, Exception) else error
        except theirs.RayError as error:
            outcome = WorkerLostError(" ".join(str(error).split()))
        except Exception as error:  # the result cannot be unpickled
            outcome = error
        self.mailbox.put((worker, outcome))


class _RayWorker(Worker):
    """A worker that leases its permits from the actor of the permit server, if there is one."""

    def __init__(self, settings: Settings, server: Any) -> None:
        super().__init__(settings, None if server is None else LeasedLimit(partial(_lease_from, server)))


class _RayPermitServer:
    """The permit server, as an actor."""

    def __init__(self, limits: RateLimits) -> None:
        restarted = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._server = PermitServer(limits, time.monotonic(), blank=not restarted)

    def lease(self, request: LeaseRequest) -> Lease:
        """Return a lease; see `PermitServer`."""
        return self._server.lease(request, time.monotonic())

    def limits(self) -> RateLimits:
        """Return the limits that it keeps."""
        return self._server.limits


def _start_ray(address: str | None) -> None:
    """Call `ray.init()` on a thread that stays: the processes that it starts end with the thread that started them."""
    started: Future[None] = Future()

    def start() -> None:
        """Start Ray, report whether that worked, and stay."""
        try:
            ray.init(address)
        except Exception as error:
            started.set_exception(error)
        else:
            started.set_result(None)
            threading.Event().wait()

    threading.Thread(target=start, name="rxllm-batch-ray", daemon=True).start()
    started.result()


def _server_for(limits: RateLimits) -> Any:
    """Return the actor that keeps `limits`; one for the whole cluster if they have a name."""
    options: dict[str, object] = {"num_cpus": 0, "max_restarts": -1}
    if limits.name is None:
        return _actor(_RayPermitServer, options).remote(limits)
    named = {"name": f"rxllm-limits-{limits.name}", "namespace": _NAMESPACE, "lifetime": "detached"}
    server = _actor(_RayPermitServer, {**options, **named, "get_if_exists": True}).remote(limits)
    known: RateLimits = ray.get(server.limits.remote())
    if known != limits:
        raise ConfigurationError(f"the limits named {limits.name!r} are {known!r} in this cluster; here {limits!r}")
    return server


def _lease_from(server: Any, request: LeaseRequest) -> Lease:
    lease: Lease = ray.get(server.lease.remote(request), timeout=_PERMIT_SECONDS)
    return lease


def _actor(kind: type, options: Mapping[str, object]) -> Any:
    try:
        return ray.remote(kind).options(**options)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"Ray takes no such options for a worker: {error}") from error
