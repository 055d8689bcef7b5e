"""How `buffer` gathers: by number and by size on the producer's thread, by time on one timer beside it.

Both threads emit, one at a time; whoever comes second waits. The clock is read once per batch.
At most one timer is pending; it looks again later where its batch has gone meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.internal import DisposedException

from ...events import ReasoningDelta, TextDelta, ToolCallDelta
from .own_thread import OwnThread

T = TypeVar("T")


class Batches(abc.DisposableBase, Generic[T]):
    """One subscription that gathers until there are `count` items or `chars` characters."""

    def __init__(self, observer: abc.ObserverBase[list[T]], count: float, chars: float) -> None:
        self._observer = observer
        self._count = count
        self._chars = chars
        self._items: deque[T] = deque()
        self._chars_in = 0
        """Characters that have come; only the producer counts here."""
        self._chars_out = 0
        """Characters that have gone."""
        self._closed = False
        self._emitting = threading.RLock()
        self._upstream = SingleAssignmentDisposable()

    def start(self, source: Observable[T], scheduler: abc.SchedulerBase | None) -> Batches[T]:
        """Subscribe to `source`."""
        self._upstream.disposable = source.subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=scheduler
        )
        return self

    def dispose(self) -> None:
        """Emit nothing more."""
        self._closed = True
        self._upstream.dispose()
        self._items.clear()

    def _on_next(self, item: T) -> None:
        self._items.append(item)
        self._chars_in += length(item)
        if len(self._items) >= self._count or self._chars_in - self._chars_out >= self._chars:
            self._emit()

    def _on_error(self, error: Exception) -> None:
        self._emit()
        self._observer.on_error(error)

    def _on_completed(self) -> None:
        self._emit()
        self._observer.on_completed()

    def _emit(self) -> None:
        with self._emitting:
            items: list[T] = []
            with suppress(IndexError):  # another thread may dispose meanwhile
                for _ in range(len(self._items)):
                    items.append(self._items.popleft())
            self._chars_out += sum(map(length, items))
            if not items or self._closed:
                return
            try:
                self._observer.on_next(items)
            except BaseException:
                self.dispose()
                raise


class TimedBatches(Batches[T]):
    """Gathers likewise, for at most `seconds` from a batch's first item.

    Without a `scheduler` it has a thread of its own, which ends with it.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[list[T]],
        count: float,
        chars: float,
        seconds: float,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        super().__init__(observer, count, chars)
        self._own = OwnThread()
        self._scheduler = scheduler or self._own
        self._seconds = timedelta(seconds=seconds)
        self._due: datetime | None = None
        """When what gathers is to go; None where nothing has come since the last batch."""
        self._armed = False
        self._arming = threading.Lock()
        self._timer: abc.DisposableBase = Disposable()

    def dispose(self) -> None:
        """Stop: emit nothing more and dispose the source. Thread-safe, may be repeated."""
        super().dispose()
        self._timer.dispose()
        self._own.dispose()

    def _on_next(self, item: T) -> None:
        super()._on_next(item)
        if self._due is None and self._items:
            self._arm()

    def _emit(self) -> None:
        self._due = None
        super()._emit()

    def _arm(self) -> None:
        now = self._scheduler.now
        due = self._due = self._due or now + self._seconds
        with self._arming:
            if self._armed or self._closed:
                return
            self._armed = True
        try:
            self._timer = self._scheduler.schedule_relative(max(due - now, timedelta()), self._tick)
        except DisposedException:
            if not self._closed:
                raise

    def _tick(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        with self._emitting:
            if self._due is not None and self._due <= self._scheduler.now and not self._closed:
                self._emit()
        self._armed = False
        # What came meanwhile has found the timer armed, so it is looked after here.
        if self._items:
            self._arm()


def length(item: object) -> int:
    """How many characters `item` brings: of text, of reasoning, or of a tool call's arguments."""
    if isinstance(item, TextDelta | ReasoningDelta):
        return len(item.text)
    if isinstance(item, ToolCallDelta):
        return len(item.arguments)
    return len(item) if isinstance(item, str) else 0
