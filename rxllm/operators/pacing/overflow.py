"""The hops of `bounded`: one event at a time, and one class for each thing to do at the bound."""

from __future__ import annotations

import threading
from functools import partial
from typing import Literal, TypeAlias, TypeVar, cast, get_args

from reactivex import abc

from ..._core.delta_merge import DeltaRun, append_merged
from ...errors import StreamError
from ...events import NEVER_DROPPED_EVENTS
from .hop import Hop

T = TypeVar("T")

Overflow: TypeAlias = Literal["block", "drop_oldest", "coalesce", "error"]
OVERFLOWS: tuple[Overflow, ...] = get_args(Overflow)

_TURN = 1024
"""Deliveries in a row, before the scheduler's other work has its turn."""


def hop_with(overflow: Overflow, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int) -> Hop[T]:
    """A hop that does `overflow` when `size` events wait."""
    match overflow:
        case "block":
            return _Blocking(observer, scheduler, size)
        case "coalesce":
            return _Coalescing(observer, scheduler, size)
        case "drop_oldest":
            return _Dropping(observer, scheduler, size)
        case "error":
            return _Failing(observer, scheduler, size)


class _OneByOne(Hop[T]):
    """Delivers event by event, each taken from the queue when its turn comes."""

    def _deliver(self) -> None:
        emit = self._observer.on_next
        for _ in range(_TURN):
            end = self._end
            try:
                item = self._take()
            except IndexError:
                if end is not None and not self._closed:
                    self._finish(end)
                return
            emit(cast(T, item.merged()) if isinstance(item, DeltaRun) else item)
            if self._closed:
                return

    def _take(self) -> T:
        return self._queue.popleft()


class _Blocking(_OneByOne[T]):
    """The producer waits for room."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int) -> None:
        super().__init__(observer, scheduler, size)
        self._room_at = size // 2
        self._room = threading.Condition()
        self._blocked = False

    def dispose(self) -> None:
        super().dispose()
        self._make_room()

    def _put_at_bound(self, item: T) -> None:
        if self._thread is None:
            # The scheduler has not run yet: for all we know it waits for this very thread.
            append_merged(self._queue, item)
            return
        if self._thread == threading.get_ident():
            self._deliver_in_turn(woken=False)
        else:
            self._wait_for_room()
        if not self._closed:
            self._queue.append(item)

    def _wait_for_room(self) -> None:
        with self._room:
            self._blocked = True
            self._room.wait_for(lambda: self._closed or len(self._queue) < self._size)
            self._blocked = False

    def _take(self) -> T:
        item = self._queue.popleft()
        if self._blocked and len(self._queue) <= self._room_at:
            self._make_room()
        return item

    def _make_room(self) -> None:
        with self._room:
            self._room.notify()


class _Coalescing(_OneByOne[T]):
    """The newest event takes in the deltas that follow it."""

    def _put_at_bound(self, item: T) -> None:
        append_merged(self._queue, item)


class _Dropping(_OneByOne[T]):
    """The oldest event that may be dropped makes room."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, size: int) -> None:
        super().__init__(observer, scheduler, size)
        self._taking = threading.Lock()

    def _put_at_bound(self, item: T) -> None:
        with self._taking:
            for at, waiting in enumerate(self._queue):
                if not isinstance(waiting, NEVER_DROPPED_EVENTS):
                    del self._queue[at]
                    break
            self._queue.append(item)

    def _take(self) -> T:
        with self._taking:
            return self._queue.popleft()


class _Failing(_OneByOne[T]):
    """The stream ends with an error, after what is queued."""

    def _put_at_bound(self, item: T) -> None:
        if self._end is None:
            error = StreamError(f"the subscriber fell behind: {self._size} events wait, and overflow is 'error'")
            self._end = partial(self._observer.on_error, error)
            self._size = 0  # so that whatever an upstream still pushes comes to this place, and nowhere
            self._upstream.dispose()
