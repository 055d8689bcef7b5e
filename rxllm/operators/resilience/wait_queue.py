"""Streams that wait for their turn, first come, first served, whatever it is they wait for.

A `SharedLimit` is shared by many streams and safe to use from many threads. Nothing is locked per
event, and no lock is held while a stream is started, disposed, or delivers.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from ..._core.attempts import capture_context, scheduler_seconds, timer_scheduler
from ...events import TokenEvent

_SOON = 1e-6
"""Seconds that are not worth a timer: clocks that are datetimes cannot tell them."""
_SAME = 1e-3
"""Seconds that are not worth another timer."""


class SharedLimit(ABC):
    """An operator whose state is shared by all streams it is applied to."""

    def __init__(self, scheduler: abc.SchedulerBase | None) -> None:
        self.lock = threading.RLock()  # a scheduler may run what it is given at once
        self.running: set[LimitedStream] = set()
        self._scheduler = scheduler
        self._waiting: dict[LimitedStream, None] = {}
        self._admitting = False
        self._timer = SerialDisposable()
        self._due = math.inf
        """When the timer rings."""

    def __call__(self, source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """The stream, that waits for its turn when subscribed to; disposing gives the place up."""

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            turn = self._turn(StreamSubscription(source, observer, given, timer_scheduler(self._scheduler, given)))
            with self.lock:
                self._waiting[turn] = None
            self.admit()
            return turn

        return Observable(subscribe)

    def admit(self) -> None:
        """Start whoever may start now, in the order they came; look again when the next may."""
        with self.lock:
            if self._admitting:
                return  # who admits looks again after each
            self._admitting = True
        try:
            while (turn := self._next()) is not None:
                turn.start()
        except BaseException:
            with self.lock:
                self._admitting = False
            self.admit()
            raise

    def leave(self, turn: LimitedStream) -> None:
        """Its turn is over, or was never to come. `admit` is to be called then."""
        with self.lock:
            self._waiting.pop(turn, None)
            if turn in self.running:
                self.running.remove(turn)
                turn.left()

    @abstractmethod
    def _turn(self, entry: StreamSubscription) -> LimitedStream:
        """The turn of one subscription."""

    def _next(self) -> LimitedStream | None:
        """Whose turn it is, if it is anyone's; else the end of admitting, and a timer if one is needed."""
        with self.lock:
            turn = next(iter(self._waiting), None)
            wait = None if turn is None else turn.wait()
            if turn is not None and wait is not None and wait < _SOON:
                del self._waiting[turn]
                self.running.add(turn)
                turn.entered()
                return turn
            self._admitting = False
            self._look_again_after(turn, wait)
            return None

    def _look_again_after(self, turn: LimitedStream | None, wait: float | None) -> None:
        """Set the timer for the first who waits, unless it is set so already. Called with the lock held."""
        due = math.inf if turn is None or wait is None else scheduler_seconds(turn.timers) + wait
        if abs(due - self._due) < _SAME or due == self._due:
            return
        self._due = due
        slot = SingleAssignmentDisposable()
        self._timer.disposable = slot
        if turn is not None and wait is not None:
            slot.disposable = turn.timers.schedule_relative(wait, self._look_again)

    def _look_again(self, _: abc.SchedulerBase, __: object = None) -> None:
        with self.lock:
            self._due = math.inf
        self.admit()


class StreamSubscription(NamedTuple):
    """A subscription: from where to whom, on which schedulers."""

    source: Observable[TokenEvent]
    observer: abc.ObserverBase[TokenEvent]
    given: abc.SchedulerBase | None
    timers: abc.SchedulerBase


class LimitedStream(abc.DisposableBase):
    """One stream, waiting or under way."""

    def __init__(self, turnstile: SharedLimit, entry: StreamSubscription) -> None:
        self.timers = entry.timers
        self._turnstile = turnstile
        self._entry = entry
        self._emit = entry.observer.on_next
        self._subscription = SingleAssignmentDisposable()
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()

    @abstractmethod
    def wait(self) -> float | None:
        """Seconds until it may start, 0 for now, None for when another has left. Called with the lock held."""

    def entered(self) -> None:
        """It starts. Called with the lock held."""

    def left(self) -> None:
        """It is over. Called with the lock held."""

    def start(self) -> None:
        """Subscribe, in the context of who subscribed first."""
        try:
            self._in_context(self.subscribe)
        except BaseException:
            self._turnstile.leave(self)
            raise

    def subscribe(self) -> None:
        """Subscribe to the source, unless disposed."""
        if not self._subscription.is_disposed:
            self._subscription.disposable = self._entry.source.subscribe(
                self.on_next, self.on_error, self.on_completed, scheduler=self._entry.given
            )

    def dispose(self) -> None:
        """Stop the stream and give its place in the queue to the next one."""
        self._subscription.dispose()
        self._turnstile.leave(self)
        self._turnstile.admit()

    def on_next(self, event: TokenEvent) -> None:
        """Pass `event` on; a subscriber that raises has no turn any more."""
        try:
            self._emit(event)
        except BaseException:
            self._turnstile.leave(self)
            self._turnstile.admit()
            raise

    def on_error(self, error: Exception) -> None:
        """The place is free before the error is told, so that who hears it may take it."""
        self._turnstile.leave(self)
        try:
            self._entry.observer.on_error(error)
        finally:
            self._turnstile.admit()

    def on_completed(self) -> None:
        """The place is free before the end is told."""
        self._turnstile.leave(self)
        try:
            self._entry.observer.on_completed()
        finally:
            self._turnstile.admit()
