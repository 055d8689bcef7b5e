"""A queue to another scheduler that needs no lock, timer, wake-up or thread per event.

The producer appends to the queue and makes sure that one wake-up is pending or running on the scheduler. The wake-up
delivers what is queued; the end of the stream follows the queued events. Subclasses decide what happens to an event
when the queue is full, and how much one wake-up delivers.

No lock guards the queue, because one thread appends and one thread takes, at opposite ends. Waking needs no lock
either: each side writes its own mark first and then reads the other's. The producer appends and then checks whether a
wake-up is pending; the consumer clears that mark and then checks the queue.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from reactivex import abc
from reactivex.disposable import Disposable
from reactivex.internal import DisposedException

from ..._core.scheduling import scheduler_seconds
from .._operator import Subscription

T = TypeVar("T")


class DeliveryQueue(Subscription[T, T]):
    """One subscription whose events are delivered on `scheduler`, at least `interval` seconds between two wake-ups.

    A subscriber that raises ends the subscription: the upstream is disposed and the scheduler reports the exception.
    """

    def __init__(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int, interval: float = 0.0
    ) -> None:
        super().__init__(observer)
        self._scheduler = scheduler
        self._size = size
        self._interval = interval
        self._delivered_at: float | None = None
        """When the last wake-up ended, in the scheduler's seconds."""
        self._queue: deque[T] = deque()
        self._end: Callable[[], None] | None = None
        """Delivers the end of the stream. Nothing is queued once it is set."""
        self._closed = False
        self._thread: int | None = None
        """The thread of the last wake-up."""
        self._wake_up_pending = False
        """A wake-up is scheduled or running."""
        self._is_delayed = False
        """The pending wake-up waits for the interval to pass; the end of the stream does not wait for it."""
        self._delivering = False
        self._lock = threading.Lock()
        """Guards the three marks above, once per wake-up."""
        self._action: abc.DisposableBase = Disposable()
        """The scheduled wake-up."""

    def on_next(self, item: T, /) -> None:
        """Queue `item`. Called on the producer's thread."""
        if len(self._queue) < self._size:
            self._queue.append(item)
        else:
            self._append_to_full_queue(item)
        if not self._wake_up_pending:
            self._wake_up()

    def on_error(self, error: Exception) -> None:
        """Queue the failure. Called on the producer's thread."""
        self._end = partial(self._observer.on_error, error)
        self._wake_up()

    def on_completed(self) -> None:
        """Queue the completion. Called on the producer's thread."""
        self._end = self._observer.on_completed
        self._wake_up()

    def dispose(self) -> None:
        """Stop: dispose the source and deliver nothing more. Thread-safe, may be repeated."""
        self._closed = True
        super().dispose()
        self._action.dispose()
        self._queue = deque()  # not cleared: the producer may be looking through it

    @abstractmethod
    def _append_to_full_queue(self, item: T) -> None:
        """Find a place for `item`. Called on the producer's thread."""

    @abstractmethod
    def _deliver(self) -> None:
        """Deliver what is queued; stop when closed."""

    def _is_waiting(self) -> bool:
        """Return whether an item has not been delivered."""
        return bool(self._queue)

    def _deliver_exclusively(self, *, woken: bool) -> None:
        """Deliver, unless another call is delivering: that call checks the queue again when it is done."""
        with self._lock:
            if self._delivering:
                self._wake_up_pending = self._wake_up_pending and not woken
                return
            self._delivering = True
        end = self._end  # read before the queue: then everything queued before the end is seen
        try:
            self._deliver()
            if end is not None and not (self._closed or self._is_waiting()):
                self._closed = True
                end()
        except BaseException:
            self.dispose()
            raise
        finally:
            if self._interval:
                self._delivered_at = scheduler_seconds(self._scheduler)
            with self._lock:
                self._delivering = False
                self._wake_up_pending = self._wake_up_pending and not woken
        if not self._wake_up_pending and (self._end is not None or self._is_waiting()):
            self._wake_up()

    def _wake_up(self) -> None:
        """Schedule a wake-up if none is pending: now if the stream has ended, else when the interval has passed."""
        with self._lock:
            urgent = self._end is not None
            if self._closed or (self._wake_up_pending and not (urgent and self._is_delayed)):
                return
            wait = 0.0 if urgent else self._interval - self._seconds_since_wake_up()
            self._wake_up_pending, self._is_delayed = True, wait > 0
        if urgent:
            self._action.dispose()
        # The stream may end while another thread is just scheduling here: then one of two wake-ups finds nothing to do.
        scheduler = self._scheduler
        try:
            self._action = scheduler.schedule_relative(wait, self._run) if wait > 0 else scheduler.schedule(self._run)
        except DisposedException:  # of the scheduler
            if not self._closed:
                raise

    def _run(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        if self._closed:
            return
        self._thread = threading.get_ident()
        self._is_delayed = False
        self._deliver_exclusively(woken=True)

    def _seconds_since_wake_up(self) -> float:
        """Return the seconds since the last wake-up ended; before the first one, the interval."""
        if not self._interval or self._delivered_at is None:
            return self._interval
        return scheduler_seconds(self._scheduler) - self._delivered_at
