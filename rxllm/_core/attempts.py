"""Streams that are tried one after another for one observer.

What is decided when one fails (`Decide`) is the operator's business; this file sees to the rest:

- events before a try's first content event are held back until it comes, so that a try which
  fails before that shows nothing; of all tries only the first `StreamStart` shown goes out;
- waits run on a scheduler; disposing ends a wait or the try under way, and starts nothing more;
- later tries run in a copy of the first subscriber's context, whichever thread starts them.

Per event this costs one attribute and one call.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import TimeoutScheduler

from ..events import StreamReset, StreamStart, TokenEvent, UsageUpdate, VendorEvent

T = TypeVar("T")

SILENT = (StreamStart, UsageUpdate, VendorEvent, StreamReset)
"""The events that are no part of an answer; any other one, the end included, says that there is one."""


class Try(NamedTuple):
    """A stream to try after `delay` seconds; `before` goes out ahead of its first content event."""

    stream: Observable[TokenEvent]
    delay: float = 0.0
    before: tuple[TokenEvent, ...] = ()


Decide: TypeAlias = Callable[[Exception, bool], Try | Exception]
"""What follows an error: another try, or the error that ends it all.

The second argument says whether content has been shown, by this try or an earlier one.
"""


def in_succession(
    start: Callable[[], tuple[Try, Decide]], scheduler: abc.SchedulerBase | None
) -> Observable[TokenEvent]:
    """The first of the tries that ends well. `start` is called for each subscription.

    Waits run on `scheduler`, else on the one given to subscribe, else on timer threads.
    """

    def subscribe(observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        first, decide = start()
        succession = _Succession(observer, decide, given, timers_of(scheduler, given))
        succession.subscribe(first)
        return succession

    return Observable(subscribe)


def timers_of(scheduler: abc.SchedulerBase | None, given: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """Where an operator waits: its own scheduler, the subscription's, or a timer thread for each wait."""
    return scheduler or given or TimeoutScheduler.singleton()


def now_of(scheduler: abc.SchedulerBase) -> float:
    """The scheduler's time in seconds since the epoch."""
    return scheduler.to_seconds(scheduler.now)


def keep_context() -> Callable[[Callable[[], T]], T]:
    """What runs a function in a copy of the context of this moment, from any thread, any number of times."""
    context = contextvars.copy_context()

    def run(work: Callable[[], T]) -> T:
        return context.copy().run(work)

    return run


class _Succession(abc.DisposableBase):
    """The tries of one subscription."""

    def __init__(
        self,
        observer: abc.ObserverBase[TokenEvent],
        decide: Decide,
        given: abc.SchedulerBase | None,
        timers: abc.SchedulerBase,
    ) -> None:
        self.observer = observer
        self.answered = False
        """Content has gone out."""
        self._decide = decide
        self._given = given
        self._timers = timers
        self._disposed = False
        self._current = SerialDisposable()
        self._waiting = SerialDisposable()
        self._in_context: Callable[[Callable[[], None]], None] = keep_context()

    def dispose(self) -> None:
        self._disposed = True
        self._waiting.dispose()
        self._current.dispose()

    def subscribe(self, trial: Try) -> None:
        if self._disposed:
            return
        attempt = _Attempt(self, trial.before)
        # Filled after the fact: a stream may fail, and the next be in its place, before subscribe() has returned.
        slot = SingleAssignmentDisposable()
        self._current.disposable = slot
        slot.disposable = trial.stream.subscribe(
            attempt.on_next, attempt.on_error, attempt.on_completed, scheduler=self._given
        )

    def failed(self, error: Exception) -> None:
        """What the operator decides follows `error`."""
        try:
            decision = self._decide(error, self.answered)
        except Exception as raised:  # by a function of the user's
            decision = raised
        if isinstance(decision, Exception):
            self.observer.on_error(decision)
            return
        trial = decision
        if trial.delay <= 0:
            self._in_context(lambda: self.subscribe(trial))
            return

        def wake(_: abc.SchedulerBase, __: object = None) -> None:
            self._in_context(lambda: self.subscribe(trial))

        slot = SingleAssignmentDisposable()
        self._waiting.disposable = slot
        slot.disposable = self._timers.schedule_relative(trial.delay, wake)


class _Attempt:
    """The observer of one try."""

    __slots__ = ("_before", "_emit", "_held", "_speaking", "_succession")

    def __init__(self, succession: _Succession, before: tuple[TokenEvent, ...]) -> None:
        self._succession = succession
        self._before = before
        self._emit = succession.observer.on_next
        self._held: list[TokenEvent] = []
        self._speaking = False

    def on_next(self, event: TokenEvent) -> None:
        if self._speaking:
            self._emit(event)
        elif isinstance(event, SILENT):
            self._held.append(event)
        else:
            self._speak()
            self._emit(event)

    def on_error(self, error: Exception) -> None:
        self._succession.failed(error)

    def on_completed(self) -> None:
        if not self._speaking:
            self._speak()
        self._succession.observer.on_completed()

    def _speak(self) -> None:
        """Let out what was held back."""
        answered, self._succession.answered = self._succession.answered, True
        self._speaking = True
        for event in (*self._before, *self._held):
            if not (answered and isinstance(event, StreamStart)):
                self._emit(event)
        self._held.clear()
