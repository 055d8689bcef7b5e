"""How `buffer` collects items into lists: by number and size on the producer's thread, by time on one timer.

Both threads emit, one at a time; the second one waits for the first. At most one timer is pending. If its list has
been emitted meanwhile, the timer starts again for the list that is open then.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.internal import DisposedException

from ..._core.attempts import scheduler_seconds
from ...events import ReasoningDelta, TextDelta, ToolCallDelta
from .timer_thread import TimerThread

T = TypeVar("T")

_LONGEST_WAIT = 1e8
"""Seconds that every clock can add; a longer wait is several."""


class ListBuffer(abc.DisposableBase, Generic[T]):
    """One subscription that emits a list at `count` items, at `chars` characters, or `seconds` after its first item.

    Without a `scheduler`, a thread of its own runs the timer.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[list[T]],
        count: float,
        chars: float,
        seconds: float | None,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        self._observer = observer
        self._count = count
        self._chars = chars
        self._seconds = seconds
        self._own_thread = TimerThread()
        self._scheduler = scheduler or self._own_thread
        self._items: deque[T] = deque()
        self._chars_in = 0
        """Characters received. Only the producer writes it."""
        self._chars_out = 0
        """Characters emitted."""
        self._closed = False
        self._emitting = threading.RLock()
        self._due: float | None = None
        """When the open list must be emitted, in the scheduler's seconds; None if no list is open."""
        self._timer_pending = False
        self._setting_timer = threading.Lock()
        self._timer: abc.DisposableBase = Disposable()
        self._upstream = SingleAssignmentDisposable()

    def start(self, source: Observable[T], scheduler: abc.SchedulerBase | None) -> ListBuffer[T]:
        """Subscribe to `source`."""
        self._upstream.disposable = source.subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=scheduler
        )
        return self

    def dispose(self) -> None:
        """Stop: dispose the source and the timer, and emit nothing more. Thread-safe, may be repeated."""
        self._closed = True
        self._upstream.dispose()
        self._items.clear()
        self._timer.dispose()
        self._own_thread.dispose()

    def _on_next(self, item: T) -> None:
        self._items.append(item)
        if self._chars < math.inf:
            self._chars_in += length(item)
        if len(self._items) >= self._count or self._chars_in - self._chars_out >= self._chars:
            self._emit()
        elif self._seconds is not None and self._due is None and self._items:
            self._set_timer(self._seconds)

    def _on_error(self, error: Exception) -> None:
        self._emit()
        self._observer.on_error(error)

    def _on_completed(self) -> None:
        self._emit()
        self._observer.on_completed()

    def _emit(self) -> None:
        """Emit all items as one list; another thread that emits is waited for."""
        self._due = None
        with self._emitting:
            items: list[T] = []
            with suppress(IndexError):  # another thread may dispose meanwhile
                for _ in range(len(self._items)):
                    items.append(self._items.popleft())
            if self._chars < math.inf:
                self._chars_out += sum(map(length, items))
            if not items or self._closed:
                return
            try:
                self._observer.on_next(items)
            except BaseException:
                self.dispose()
                raise

    def _set_timer(self, seconds: float) -> None:
        """Start the timer for the open list, unless one is pending: that one starts it again when it fires."""
        now = scheduler_seconds(self._scheduler)
        due = self._due = self._due or now + seconds
        with self._setting_timer:
            if self._timer_pending or self._closed:
                return
            self._timer_pending = True
        try:
            self._timer = self._scheduler.schedule_relative(min(max(due - now, 0.0), _LONGEST_WAIT), self._on_timer)
        except DisposedException:
            if not self._closed:
                raise

    def _on_timer(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        """Emit the list if it is due; set the timer again if another list has opened meanwhile."""
        with self._emitting:
            # Clocks that are datetimes have microseconds.
            if self._due is not None and self._due <= scheduler_seconds(self._scheduler) + 1e-6 and not self._closed:
                self._emit()
        self._timer_pending = False
        # An item that came meanwhile found the timer pending, so it has set none.
        if self._items and self._seconds is not None:
            self._set_timer(self._seconds)


def length(item: object) -> int:
    """Return the number of characters in `item`: of text, of reasoning, or of a tool call's arguments."""
    if isinstance(item, TextDelta | ReasoningDelta):
        return len(item.text)
    if isinstance(item, ToolCallDelta):
        return len(item.arguments)
    return len(item) if isinstance(item, str) else 0
