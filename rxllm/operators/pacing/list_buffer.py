"""How `buffer` collects items into lists: by number and size on the producer's thread, by time on one timer.

Both threads emit, one at a time; the second one waits for the first. At most one timer is pending. If its list has
been emitted meanwhile, the timer starts again for the list that is open then.
"""

from __future__ import annotations

import math
import threading
from typing import TypeVar

from reactivex import abc
from reactivex.disposable import SerialDisposable

from ..._core.delta_merge import delta_text
from ..._core.scheduling import scheduler_seconds
from ...events import ReasoningDelta, TextDelta, ToolCallDelta
from .._operator import Subscription

T = TypeVar("T")

_LONGEST_WAIT = 1e8
"""Seconds that every clock can add; a longer wait is several."""

_ROUNDING = 1e-6
"""Seconds: clocks that are datetimes have microseconds."""


class ListBuffer(Subscription[T, list[T]]):
    """One subscription that emits a list at `count` items, at `chars` characters, or `seconds` after its first item."""

    def __init__(
        self,
        observer: abc.ObserverBase[list[T]],
        count: float,
        chars: float,
        seconds: float | None,
        scheduler: abc.SchedulerBase,
    ) -> None:
        super().__init__(observer)
        self._count = count
        self._chars = chars
        self._seconds = seconds
        self._scheduler = scheduler
        self._lock = threading.RLock()
        """Guards the attributes below. Held while a list is emitted."""
        self._items: list[T] = []
        self._chars_left = chars
        self._due = math.inf
        """When the open list must be emitted, in the scheduler's seconds."""
        self._timer_pending = False
        self._timer = SerialDisposable()

    def on_next(self, item: T, /) -> None:
        """Add `item` to the open list; emit the list if it is full."""
        with self._lock:
            self._items.append(item)
            if self._chars < math.inf:
                self._chars_left -= length(item)
            if len(self._items) >= self._count or self._chars_left <= 0:
                self._emit_list()
            elif self._seconds is not None and len(self._items) == 1:
                try:
                    self._due = scheduler_seconds(self._scheduler) + self._seconds
                    self._set_timer(self._seconds)
                except Exception as error:
                    if self._upstream.is_disposed:  # the subscriber has raised it, inside the scheduler
                        raise
                    self.on_error(error)

    def on_error(self, error: Exception) -> None:
        """Emit the open list, then the error."""
        with self._lock:
            self._emit_list()
            self._observer.on_error(error)

    def on_completed(self) -> None:
        """Emit the open list, then complete."""
        with self._lock:
            self._emit_list()
            self._observer.on_completed()

    def dispose(self) -> None:
        """Stop: dispose the source and the timer, and emit nothing more. Thread-safe, may be repeated."""
        super().dispose()
        self._timer.dispose()

    def _emit_list(self) -> None:
        """Emit the open list and begin a new one. Must hold the lock."""
        items, self._items, self._chars_left = self._items, [], self._chars
        if not items or self._upstream.is_disposed:
            return
        try:
            self._emit(items)
        except BaseException:
            self.dispose()
            raise

    def _set_timer(self, seconds: float) -> None:
        """Start the timer, unless it is pending: then it starts again when it fires. Must hold the lock."""
        if not self._timer_pending:
            self._timer_pending = True
            self._timer.disposable = self._scheduler.schedule_relative(min(seconds, _LONGEST_WAIT), self._on_timer)

    def _on_timer(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        """Emit the open list if it is due; start the timer again if it is due later."""
        with self._lock:
            self._timer_pending = False
            wait = self._due - scheduler_seconds(self._scheduler)
            if self._items and wait > _ROUNDING:
                self._set_timer(wait)
            else:
                self._emit_list()


def length(item: object) -> int:
    """Return the number of characters in `item`: of text, of reasoning, or of a tool call's arguments."""
    if isinstance(item, TextDelta | ReasoningDelta | ToolCallDelta):
        return len(delta_text(item))
    return len(item) if isinstance(item, str) else 0
