"""A second request where the first is slow to speak."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from ..._core.attempts import capture_context, timer_scheduler
from ...events import PRELIMINARY_EVENTS, TokenEvent
from .._operator import Operator
from .fallback import error_class, stream_of


def hedge(
    after_seconds: float,
    make_stream: Callable[[], Observable[TokenEvent]],
    *,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[TokenEvent, TokenEvent]:
    """Where no content has come after `after_seconds`, make a second request too; who speaks first is kept.

    The other is disposed at that moment. A first request that fails before then does not wait for
    its time to be over: the second starts at once, unless the error would be the same anywhere
    (class "raise" of `error_class`). Where both fail, the error is the first one's. The wait runs
    on `scheduler`, else on the one given to subscribe, else on a timer thread. Both requests cost:
    a good `after_seconds` is one that nine in ten answers keep.

    ::

        -------------------(too late)
        ....S--a--b--|              after_seconds=4
        [ hedge(4, make_stream) ]
        -------Sa--b--|
    """

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def subscribe(
            observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            race = _Race(observer, stream_of(make_stream), given)
            race.start(source, after_seconds, timer_scheduler(scheduler, given))
            return race

        return Observable(subscribe)

    return operator


class _Race(abc.DisposableBase):
    """Two requests for one observer."""

    def __init__(
        self, observer: abc.ObserverBase[TokenEvent], second: Observable[TokenEvent], given: abc.SchedulerBase | None
    ) -> None:
        self.observer = observer
        self.winner: _Runner | None = None
        """Who is heard from now on: the first to speak, or to end it all."""
        self._second: Observable[TokenEvent] | None = second
        self._given = given
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()
        self._lock = threading.Lock()
        """Guards who runs and who has won; not held while anything is delivered or disposed."""
        self._running: list[_Runner] = []
        self._error: Exception | None = None
        self._timer = SingleAssignmentDisposable()
        self._disposables = CompositeDisposable(self._timer)

    def start(self, first: Observable[TokenEvent], after_seconds: float, timers: abc.SchedulerBase) -> None:
        def too_late(_: abc.SchedulerBase, __: object = None) -> None:
            self._start_second()

        runner = _Runner(self)
        self._running.append(runner)
        self._run(runner, first)
        if not self._timer.is_disposed:
            self._timer.disposable = timers.schedule_relative(after_seconds, too_late)

    def dispose(self) -> None:
        self._disposables.dispose()

    def won_by(self, runner: _Runner) -> bool:
        """Whether `runner` is the one to be heard; the first to ask is, and the others are let go."""
        with self._lock:
            if self.winner is not None:
                return self.winner is runner
            self.winner = runner
            losers = [other for other in self._running if other is not runner]
        self._timer.dispose()
        for loser in losers:
            loser.subscription.dispose()
        return True

    def failed(self, runner: _Runner, error: Exception) -> None:
        with self._lock:
            spoke = self.winner is runner
            self._running = [other for other in self._running if other is not runner]
            self._error = self._error or error
            waits = bool(self._running) or self._second is not None
        if spoke or error_class(error) == "raise":
            self._end(runner, error)
        elif not waits:
            self._end(runner, self._error)
        else:
            self._start_second()

    def _end(self, runner: _Runner, error: Exception) -> None:
        if self.won_by(runner):
            self.observer.on_error(error)

    def _start_second(self) -> None:
        with self._lock:
            second, self._second = self._second, None
            if second is None or self.winner is not None:
                return
            runner = _Runner(self)
            self._running.append(runner)
        self._timer.dispose()
        self._in_context(lambda: self._run(runner, second))

    def _run(self, runner: _Runner, stream: Observable[TokenEvent]) -> None:
        self._disposables.add(runner.subscription)
        if not runner.subscription.is_disposed:
            runner.subscription.disposable = stream.subscribe(
                runner.on_next, runner.on_error, runner.on_completed, scheduler=self._given
            )


class _Runner:
    """The observer of one of the two: what comes before content is held back until it has won."""

    __slots__ = ("_emit", "_held", "_race", "_speaking", "subscription")

    def __init__(self, race: _Race) -> None:
        self.subscription = SingleAssignmentDisposable()
        self._race = race
        self._emit = race.observer.on_next
        self._held: list[TokenEvent] = []
        self._speaking = False

    def on_next(self, event: TokenEvent) -> None:
        if self._speaking:
            self._emit(event)
        elif isinstance(event, PRELIMINARY_EVENTS):
            self._held.append(event)
        elif self._speak():
            self._emit(event)

    def on_error(self, error: Exception) -> None:
        self._race.failed(self, error)

    def on_completed(self) -> None:
        if self._speaking or self._speak():
            self._race.observer.on_completed()

    def _speak(self) -> bool:
        self._speaking = self._race.won_by(self)
        if self._speaking:
            for event in self._held:
                self._emit(event)
        self._held.clear()
        return self._speaking
