"""Crossing to another scheduler without a lock, timer, wake-up or thread per event.

The producer appends to a queue and sees to it that one wake-up is pending or running; the
wake-up, on the scheduler, delivers what has gathered. The ending waits its turn behind the
events. Subclasses say how an event finds its place in a full queue, and how much is delivered
at a time.

No lock guards the queue: one thread appends and one takes, at its two ends. None is needed for
waking either, as each side first writes its own mark and then looks at the other's: the producer
appends, then looks whether the consumer is awake; the consumer marks itself asleep, then looks
for what has been appended.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.internal import DisposedException

T = TypeVar("T")


class Hop(abc.DisposableBase, Generic[T]):
    """One subscription on its way to `scheduler`; at least `rest` seconds lie between two deliveries.

    A subscriber that raises ends the hop: the upstream is disposed, and the exception is the scheduler's to report.
    """

    def __init__(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int, rest: float = 0.0
    ) -> None:
        self._observer = observer
        self._scheduler = scheduler
        self._size = size
        self._rest = rest
        self._rested_at: datetime | None = None
        self._queue: deque[T] = deque()
        self._end: Callable[[], None] | None = None
        """How the stream ended upstream; nothing is queued once it is set."""
        self._closed = False
        self._thread: int | None = None
        """Where the scheduler ran the last wake-up."""
        self._awake = False
        """A wake-up is pending or running."""
        self._resting = False
        """The pending wake-up is a timed one."""
        self._delivering = False
        self._lock = threading.Lock()
        """Guards the three marks above, once per wake-up."""
        self._wakeup: abc.DisposableBase = Disposable()
        self._upstream = SingleAssignmentDisposable()

    def start(self, source: Observable[T], scheduler: abc.SchedulerBase | None) -> Hop[T]:
        """Subscribe to `source`."""
        self._upstream.disposable = source.subscribe(
            self.on_next, self.on_error, self.on_completed, scheduler=scheduler
        )
        return self

    def on_next(self, item: T) -> None:
        """From the producer."""
        if len(self._queue) < self._size:
            self._queue.append(item)
        else:
            self._put_at_bound(item)
        if not self._awake:
            self._wake()

    def on_error(self, error: Exception) -> None:
        """From the producer."""
        self._end_with(partial(self._observer.on_error, error))

    def on_completed(self) -> None:
        """From the producer."""
        self._end_with(self._observer.on_completed)

    def dispose(self) -> None:
        """Deliver nothing more; from any thread, any number of times."""
        self._closed = True
        self._upstream.dispose()
        self._wakeup.dispose()
        self._queue.clear()

    @abstractmethod
    def _put_at_bound(self, item: T) -> None:
        """On the producer's thread: find a place for `item` in the full queue."""

    @abstractmethod
    def _deliver(self) -> None:
        """Deliver what is there, then the end if it has come; stop when closed.

        The end is to be read before the queue: what was queued before it is then sure to be seen.
        """

    def _deliver_in_turn(self, *, woken: bool) -> None:
        """Deliver, unless that is being done: whoever does it looks again when through."""
        with self._lock:
            if self._delivering:
                self._awake = self._awake and not woken
                return
            self._delivering = True
        try:
            self._deliver()
        except BaseException:
            self.dispose()
            raise
        finally:
            if self._rest:
                self._rested_at = self._scheduler.now
            with self._lock:
                self._delivering = False
                self._awake = self._awake and not woken
        if not self._awake and self._has_more():
            self._wake()

    def _has_more(self) -> bool:
        return bool(self._queue) or self._end is not None

    def _finish(self, end: Callable[[], None]) -> None:
        self._closed = True
        end()

    def _end_with(self, end: Callable[[], None]) -> None:
        if self._end is None:
            self._end = end
            self._wake()

    def _wake(self) -> None:
        """See to it that a wake-up is pending: now if the end has come, else when the rest is over."""
        with self._lock:
            urgent = self._end is not None
            if self._closed or (self._awake and not (urgent and self._resting)):
                return
            wait = 0.0 if urgent else self._rest_left()
            self._awake, self._resting = True, wait > 0
        if urgent:
            self._wakeup.dispose()
        # Two threads may get here at once, and then one wake-up finds nothing to do.
        scheduler = self._scheduler
        try:
            self._wakeup = scheduler.schedule_relative(wait, self._run) if wait > 0 else scheduler.schedule(self._run)
        except DisposedException:
            if not self._closed:
                raise

    def _run(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        if self._closed:
            return
        self._thread = threading.get_ident()
        self._resting = False
        self._deliver_in_turn(woken=True)

    def _rest_left(self) -> float:
        if self._rested_at is None:
            return 0.0
        passed = (self._scheduler.now - self._rested_at).total_seconds()
        return min(self._rest - passed, self._rest)
