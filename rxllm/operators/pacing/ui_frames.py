"""The hops that deliver by the frame: all that has come since the last one, or as much as keeps an even pace.

Between two frames the queue holds events as they came, up to a bound, and joins deltas above it. A producer that gets
there never waits for anything, and then gives way for once: otherwise it would hold the GIL for as long as it may each
time that a user interface comes back to Python, which Qt and Tk do dozens of times to paint a window.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TypeVar, cast

import msgspec
from reactivex import abc

from ..._core.delta_merge import merge_deltas
from ...events import ReasoningDelta, StreamEnd, TextDelta
from .hop import Hop
from .own_thread import OwnThread

T = TypeVar("T")

_QUEUED = 256

_MOMENT = 1e-5
"""Seconds; the system makes some more of it. After 0 seconds a thread has the GIL back before another has seen it."""


class Frames(Hop[T]):
    """Delivers all that has come since the last frame, neighbouring deltas joined."""

    def __init__(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase, frame: float) -> None:
        super().__init__(observer, scheduler, _QUEUED, frame)

    def _put_at_bound(self, item: T) -> None:
        queue = self._queue
        waiting = [item]
        with suppress(IndexError):  # the scheduler takes from the other end meanwhile
            while True:
                waiting.append(queue.pop())
        queue.extend(merge_deltas(reversed(waiting)))
        self._size = max(_QUEUED, 2 * len(queue))
        time.sleep(_MOMENT)

    def _deliver(self) -> None:
        end = self._end
        self._emit(self._take_all())
        if end is not None and not self._closed:
            self._finish(end)

    def _emit(self, items: list[T]) -> None:
        emit = self._observer.on_next
        for item in items:
            if self._closed:
                return
            emit(item)

    def _take_all(self) -> list[T]:
        taken: list[T] = []
        with suppress(IndexError):  # the producer joins what waits meanwhile, or another thread disposes
            for _ in range(len(self._queue)):
                taken.append(self._queue.popleft())
        return merge_deltas(taken)


class EvenFrames(Frames[T]):
    """Delivers as many characters a frame as keep an even pace; everything else goes along in its place.

    The pace is `rate` characters a second, or the one at which all that waits would be out after
    `catch_up` seconds, whichever is faster. The end of the answer flushes. Without a `scheduler`
    the hop has a thread of its own, which ends with it.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[T],
        scheduler: abc.SchedulerBase | None,
        frame: float,
        rate: float,
        catch_up: float,
    ) -> None:
        own = OwnThread()
        super().__init__(observer, scheduler or own, frame)
        self._own = own
        self._rate = rate
        self._catch_up = catch_up
        self._held: list[T] = []
        self._credit = 0.0

    def _deliver(self) -> None:
        end = self._end
        seconds = self._seconds_since_last() if self._held else self._rest
        self._held = merge_deltas([*self._held, *self._take_all()])
        if end is not None or (self._held and isinstance(self._held[-1], StreamEnd)):
            due, self._held = self._held, []
        else:
            due = self._due(seconds)
        self._emit(due)
        if end is not None and not self._closed:
            self._finish(end)

    def _has_more(self) -> bool:
        return bool(self._held) or super()._has_more()

    def dispose(self) -> None:
        """Stop: emit nothing more and dispose the source. Thread-safe, may be repeated."""
        super().dispose()
        self._own.dispose()
        self._held = []

    def _due(self, seconds: float) -> list[T]:
        """What may be shown after another `seconds`; it leaves `_held`."""
        waiting = sum(map(_length, self._held))
        self._credit += seconds * max(self._rate, waiting / self._catch_up)
        if not self._rate:
            self._credit = max(self._credit, 1.0)
        due: list[T] = []
        for at, item in enumerate(self._held):
            length = _length(item)
            if length > self._credit:
                shown = int(self._credit)
                self._credit -= shown
                head, tail = _cut(item, shown)
                self._held = [tail, *self._held[at + 1 :]]
                return [*due, head] if shown else due
            self._credit -= length
            due.append(item)
        self._held = []
        self._credit = 0.0  # nobody saves up while there is nothing to say
        return due

    def _seconds_since_last(self) -> float:
        if self._rested_at is None:
            return self._rest
        return max(0.0, (self._scheduler.now - self._rested_at).total_seconds())


def _length(item: object) -> int:
    if isinstance(item, TextDelta | ReasoningDelta):
        return len(item.text)
    return len(item) if isinstance(item, str) else 0


def _cut(item: T, at: int) -> tuple[T, T]:
    if isinstance(item, str):
        return cast(tuple[T, T], (item[:at], item[at:]))
    delta = cast(TextDelta, item)
    head, tail = (msgspec.structs.replace(delta, text=text) for text in (delta.text[:at], delta.text[at:]))
    return cast(tuple[T, T], (head, tail))
