"""The queues that deliver once per UI frame: everything queued (`observe_on_ui`), or an even number of characters.

Between two frames the queue keeps events as they came, up to a bound. Above it, deltas are merged. A producer that
reaches the bound does not wait for the consumer, but sleeps once for a moment: otherwise it would hold the GIL for a
full switch interval each time that Qt or Tk returns to Python, which they do dozens of times to paint one window.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TypeVar, cast

import msgspec
from reactivex import abc

from ..._core.delta_merge import merge_deltas
from ...events import ReasoningDelta, StreamEnd, TextDelta
from .delivery_queue import DeliveryQueue

T = TypeVar("T")

_MAX_UNMERGED = 256
"""Events in the queue before deltas are merged."""

_GIL_RELEASE = 1e-5
"""Seconds that the producer sleeps. With 0 it would get the GIL back before another thread has taken it."""


class UiFrames(DeliveryQueue[T]):
    """Delivers everything queued since the last frame, with adjacent deltas merged."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, frame: float) -> None:
        super().__init__(observer, scheduler, _MAX_UNMERGED, frame)

    def _append_to_full_queue(self, item: T) -> None:
        """Merge the deltas that wait, with `item` behind them; then sleep for a moment."""
        queue = self._queue
        waiting = [item]
        with suppress(IndexError):  # the scheduler's thread takes from the other end meanwhile
            while True:
                waiting.append(queue.pop())
        queue.extend(merge_deltas(reversed(waiting)))
        self._size = max(_MAX_UNMERGED, 2 * len(queue))
        time.sleep(_GIL_RELEASE)

    def _deliver(self) -> None:
        self._emit_all(self._take_all())

    def _emit_all(self, items: list[T]) -> None:
        emit = self._emit
        for item in items:
            if self._closed:
                return
            emit(item)

    def _take_all(self) -> list[T]:
        taken: list[T] = []
        with suppress(IndexError):  # the producer may merge, or another thread dispose, meanwhile
            for _ in range(len(self._queue)):
                taken.append(self._queue.popleft())
        return merge_deltas(taken)


class SmoothFrames(UiFrames[T]):
    """Delivers an even number of characters per frame. Events without text keep their place in the order.

    The pace is `rate` characters per second, or the one that empties the queue in `catch_up` seconds, whichever is
    faster. The end of the answer delivers everything.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[T],
        scheduler: abc.SchedulerBase,
        frame: float,
        rate: float,
        catch_up: float,
    ) -> None:
        super().__init__(observer, scheduler, frame)
        self._rate = rate
        self._catch_up = catch_up
        self._held: list[T] = []
        """Taken from the queue and not delivered yet."""
        self._allowed_chars = 0.0
        """Characters that may be delivered now."""

    def _deliver(self) -> None:
        """Emit what is due now, or all that waits if the answer has ended."""
        ends = self._end is not None
        seconds = max(0.0, self._seconds_since_wake_up()) if self._held else self._interval
        self._held = merge_deltas([*self._held, *self._take_all()])
        if ends or (self._held and isinstance(self._held[-1], StreamEnd)):
            due, self._held = self._held, []
        else:
            due = self._due(seconds)
        self._emit_all(due)

    def _is_waiting(self) -> bool:
        return bool(self._held) or super()._is_waiting()

    def _due(self, seconds: float) -> list[T]:
        """Remove from `_held`, and return, what may be delivered `seconds` after the last frame."""
        waiting = sum(map(_length, self._held))
        self._allowed_chars += seconds * max(self._rate, waiting / self._catch_up)
        if not self._rate:
            self._allowed_chars = max(self._allowed_chars, 1.0)
        due: list[T] = []
        for at, item in enumerate(self._held):
            length = _length(item)
            if length > self._allowed_chars:
                shown = int(self._allowed_chars)
                self._allowed_chars -= shown
                head, tail = _cut(item, shown)
                self._held = [tail, *self._held[at + 1 :]]
                return [*due, head] if shown else due
            self._allowed_chars -= length
            due.append(item)
        self._held = []
        self._allowed_chars = 0.0  # time without text does not make the next burst faster
        return due


def _length(item: object) -> int:
    """Return the characters of `item` that take time: those of text and reasoning."""
    if isinstance(item, TextDelta | ReasoningDelta):
        return len(item.text)
    return len(item) if isinstance(item, str) else 0


def _cut(item: T, at: int) -> tuple[T, T]:
    """Return the first `at` characters of a string or delta, and the rest, as two items of its kind."""
    if isinstance(item, str):
        return cast(tuple[T, T], (item[:at], item[at:]))
    delta = cast(TextDelta, item)
    head, tail = (msgspec.structs.replace(delta, text=text) for text in (delta.text[:at], delta.text[at:]))
    return cast(tuple[T, T], (head, tail))
