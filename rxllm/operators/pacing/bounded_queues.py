"""The queues of `bounded`: they deliver event by event, one class for each thing to do when the queue is full."""

from __future__ import annotations

import threading
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

from reactivex import abc

from ..._core.delta_merge import DeltaRun, append_merged
from ...events import NEVER_DROPPED_EVENTS
from .delivery_queue import DeliveryQueue

T = TypeVar("T")

Overflow: TypeAlias = Literal["block", "drop_oldest", "coalesce"]

_MAX_IN_A_ROW = 1024
"""Deliveries in one wake-up. Then the scheduler runs its other work."""


class _OneByOneQueue(DeliveryQueue[T]):
    """Takes an event from the queue only when it delivers it."""

    def _deliver(self) -> None:
        """Emit queued items, a limited number in a row."""
        emit = self._emit
        for _ in range(_MAX_IN_A_ROW):
            try:
                item = self._take()
            except IndexError:
                return
            emit(cast(T, item.merged()) if isinstance(item, DeltaRun) else item)
            if self._closed:
                return

    def _take(self) -> T:
        return self._queue.popleft()


class _BlockingQueue(_OneByOneQueue[T]):
    """Blocks the producer until there is room."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int) -> None:
        super().__init__(observer, scheduler, size)
        self._unblock_at = size // 2
        self._room = threading.Condition()
        self._blocked = False

    def dispose(self) -> None:
        super().dispose()
        self._unblock()

    def _append_to_full_queue(self, item: T) -> None:
        """Wait for room; deliver instead if this is the scheduler's own thread."""
        if self._thread is None:
            # The scheduler has not run yet: it may be waiting for this very thread.
            append_merged(self._queue, item)
            return
        if self._thread == threading.get_ident():
            self._deliver_exclusively(woken=False)  # does nothing within a delivery: the queue outgrows `size`
        else:
            with self._room:
                self._blocked = True
                self._room.wait_for(lambda: self._closed or len(self._queue) < self._size)
                self._blocked = False
        if not self._closed:
            self._queue.append(item)

    def _take(self) -> T:
        item = self._queue.popleft()
        if self._blocked and len(self._queue) <= self._unblock_at:
            self._unblock()
        return item

    def _unblock(self) -> None:
        with self._room:
            self._room.notify()


class _CoalescingQueue(_OneByOneQueue[T]):
    """Merges deltas into the newest event."""

    def _append_to_full_queue(self, item: T) -> None:
        append_merged(self._queue, item)


class _DroppingQueue(_OneByOneQueue[T]):
    """Drops the oldest event that may be dropped."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int) -> None:
        super().__init__(observer, scheduler, size)
        self._taking = threading.Lock()

    def _append_to_full_queue(self, item: T) -> None:
        queue = self._queue
        with self._taking:
            for at, waiting in enumerate(queue):
                if not isinstance(waiting, NEVER_DROPPED_EVENTS):
                    del queue[at]
                    break
            queue.append(item)

    def _take(self) -> T:
        with self._taking:
            return self._queue.popleft()


QUEUES: Final[dict[Overflow, type[DeliveryQueue[Any]]]] = {
    "block": _BlockingQueue,
    "drop_oldest": _DroppingQueue,
    "coalesce": _CoalescingQueue,
}
