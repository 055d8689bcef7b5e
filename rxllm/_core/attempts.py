"""Several streams for one observer: attempts one after another (`stream_attempts`), or side by side (`Race`).

Both hold back the events that come before a stream's answer (`proves_answer`) until the answer begins. So a
stream that fails before that shows nothing, and the observer sees one `StreamStart`.

Per event this costs one attribute access and one call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable, SingleAssignmentDisposable

from ..events import StreamStart, TokenEvent, proves_answer
from .awaitable import AwaitableObservable
from .scheduling import capture_context, timer_scheduler

_MAX_HELD = 1000
"""Events held back. Vendors send far fewer before an answer; a server that sends more would fill the memory."""


class Attempt(NamedTuple):
    """A stream to subscribe to after `delay` seconds. The events in `before` precede its answer."""

    stream: Observable[TokenEvent]
    delay: float = 0.0
    before: tuple[TokenEvent, ...] = ()


OnFailure: TypeAlias = Callable[[Exception, bool], Attempt | Exception]
"""Decides what follows an error: another attempt, or the error to end the stream with.

The second argument is True if the observer has received a part of an answer, from this attempt or an earlier one.
"""


def stream_attempts(
    start: Callable[[], tuple[Attempt, OnFailure]], scheduler: abc.SchedulerBase | None
) -> Observable[TokenEvent]:
    """Return the stream of the first attempt that succeeds.

    Later attempts run in a copy of the first subscriber's context, whichever thread starts them. Disposing ends a
    delay or the current attempt, and starts no other.

    Args:
        start: Called for each subscription; returns the first attempt, and what decides on the next ones.
        scheduler: Runs the delays; default: the scheduler given to subscribe(), else a thread for all delays.
    """

    def subscribe(observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None) -> abc.DisposableBase:
        first, on_failure = start()
        attempts = _Attempts(observer, on_failure, given, timer_scheduler(scheduler, given))
        attempts.start(first)
        return attempts.current

    return AwaitableObservable(subscribe)


class _Candidate:
    """The observer of one of the streams: holds back its preliminary events until its answer begins.

    `claim` is called at that moment: it emits what was held back and returns True, or False if the answer may not be
    delivered. `on_end` is called when the stream ends: with its error, or with None if it completed.
    """

    __slots__ = ("_claim", "_emit", "_on_end", "claimed", "held", "subscription")

    def __init__(
        self,
        emit: Callable[[TokenEvent], None],
        claim: Callable[[_Candidate], bool],
        on_end: Callable[[_Candidate, Exception | None], None],
    ) -> None:
        # Assigned late: a stream may fail, and the next one replace it, before its subscribe() has returned.
        self.subscription = SingleAssignmentDisposable()
        self.claimed = False
        self._emit = emit
        self._claim = claim
        self._on_end = on_end
        self.held: list[TokenEvent] = []

    def subscribe(self, stream: Observable[TokenEvent], scheduler: abc.SchedulerBase | None) -> None:
        if not self.subscription.is_disposed:
            end = partial(self._on_end, self)
            self.subscription.disposable = stream.subscribe(self.on_next, end, partial(end, None), scheduler=scheduler)

    def on_next(self, event: TokenEvent) -> None:
        """Hold events back until content proves the answer, or too many wait; pass on all once it is claimed."""
        if self.claimed:
            self._emit(event)
        elif len(self.held) < _MAX_HELD and not proves_answer(event):
            self.held.append(event)
        elif self._claim(self):
            self.claimed = True
            self.held = []
            self._emit(event)


class _Attempts:
    """The attempts of one subscription."""

    def __init__(
        self,
        observer: abc.ObserverBase[TokenEvent],
        on_failure: OnFailure,
        given: abc.SchedulerBase | None,
        timers: abc.SchedulerBase,
    ) -> None:
        self.current = SerialDisposable()
        """Disposes the delay or the attempt that runs, and those that follow."""
        self._observer = observer
        self._answered = False
        """The observer has received a part of an answer."""
        self._on_failure = on_failure
        self._given = given
        self._timers = timers
        self._before: tuple[TokenEvent, ...] = ()
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()

    def start(self, attempt: Attempt) -> None:
        self._before = attempt.before
        candidate = _Candidate(self._observer.on_next, self._claim, self._ended)
        self.current.disposable = candidate.subscription
        candidate.subscribe(attempt.stream, self._given)

    def _claim(self, candidate: _Candidate) -> bool:
        """Deliver what precedes the answer of `candidate`; only the first attempt shows its `StreamStart`."""
        answered, self._answered = self._answered, True
        for event in (*self._before, *candidate.held):
            if not (answered and isinstance(event, StreamStart)):
                self._observer.on_next(event)
        return True

    def _ended(self, candidate: _Candidate, error: Exception | None) -> None:
        """Complete; or start the next attempt, now or after its delay, or emit the error, as `on_failure` decides."""
        if error is None:
            if not candidate.claimed:
                self._claim(candidate)
            self._observer.on_completed()
            return
        try:
            decision = self._on_failure(error, self._answered)
        except Exception as raised:  # by a function of the user's
            decision = raised
        if isinstance(decision, Exception):
            self._observer.on_error(decision)
            return
        attempt = decision

        def start_next(*_: object) -> None:
            self._in_context(partial(self.start, attempt))

        if attempt.delay <= 0:
            start_next()
            return
        slot = SingleAssignmentDisposable()
        self.current.disposable = slot
        try:
            slot.disposable = self._timers.schedule_relative(attempt.delay, start_next)
        except Exception as failure:  # no thread for the timer: the stream still ends
            error.add_note(f"no further attempt: the delay could not be scheduled: {failure!r}")
            self._observer.on_error(error)


class Race(abc.DisposableBase):
    """Streams for one observer, side by side: the first one whose answer begins wins, and the others are disposed.

    Args:
        observer: Receives the winner's events and its end.
        scheduler: The scheduler given to subscribe(); the streams are subscribed with it.
        on_loss: Called when a stream ends before its answer begins, and no other has won: with its error, or None
            if it completed, and with the number of streams that have ended so. It may `start` another stream, or
            `finish` the race. Calls may come from several threads.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[TokenEvent],
        scheduler: abc.SchedulerBase | None,
        on_loss: Callable[[Race, Exception | None, int], None],
    ) -> None:
        self._observer = observer
        self._scheduler = scheduler
        self._on_loss = on_loss
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()
        self._lock = threading.Lock()
        """Guards the three fields below; not held while anything is delivered or disposed."""
        self._candidates: list[_Candidate] = []
        self._losses = 0
        self.decided = False
        """A stream has won, or the race was finished without a winner."""
        self.subscriptions = CompositeDisposable()
        """Disposed with the race; a timer of the caller's may be added."""

    def start(self, stream: Observable[TokenEvent]) -> None:
        """Subscribe to another stream, in a copy of the first subscriber's context; does nothing once decided."""
        with self._lock:
            if self.decided:
                return
            candidate = _Candidate(self._observer.on_next, self._claim, self._ended)
            self._candidates.append(candidate)
        self.subscriptions.add(candidate.subscription)
        self._in_context(lambda: candidate.subscribe(stream, self._scheduler))

    def finish(self, error: Exception | None) -> None:
        """End the race without a winner: fail with `error`, or complete; does nothing once decided."""
        if self._decide(None):
            self._end(error)

    def dispose(self) -> None:
        self.subscriptions.dispose()

    def _claim(self, candidate: _Candidate) -> bool:
        """Make `candidate` the winner and emit the events that precede its answer; return False if another has won."""
        if not self._decide(candidate):
            return False
        for event in candidate.held:
            self._observer.on_next(event)
        return True

    def _decide(self, winner: _Candidate | None) -> bool:
        """Make `winner` the winner and dispose the others; return False if the race was decided before."""
        with self._lock:
            if self.decided:
                return False
            self.decided = True
            losers = [candidate for candidate in self._candidates if candidate is not winner]
        for loser in losers:
            loser.subscription.dispose()
        return True

    def _ended(self, candidate: _Candidate, error: Exception | None) -> None:
        """Pass on the end of the winner; before there is one, remove the candidate and call `on_loss`."""
        if candidate.claimed:
            self._end(error)
            return
        with self._lock:
            if self.decided:
                return
            self._candidates.remove(candidate)
            self._losses += 1
            losses = self._losses
        self._on_loss(self, error, losses)

    def _end(self, error: Exception | None) -> None:
        if error is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(error)
