"""A circuit breaker: while a provider is down, streams fail at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
from reactivex.subject import BehaviorSubject

from ..._arguments import check_arguments
from ..._core.attempts import scheduler_seconds
from ..._core.scheduling import timer_scheduler
from ...errors import APIConnectionError, ConfigurationError
from ...events import TokenEvent, proves_answer
from .fallback import is_worth_another

CircuitState: TypeAlias = Literal["closed", "open", "half_open"]

_Outcome: TypeAlias = Literal["success", "failure", "nothing"]
"""What the end of a stream says about the provider."""


class CircuitBreaker:
    """Fail streams at once while a provider is down, instead of waiting for it to fail again.

    Construct one for each provider and apply the same object to every stream that asks there. Thread-safe.

    - closed: streams pass. `failure_threshold` failures in a row open it.
    - open: streams fail at once with an `APIConnectionError` whose `retry_after` is the rest of the cooldown; after
      the cooldown it is half open.
    - half open: at most `success_threshold` streams at a time pass on trial, the others fail as before. As many
      successes close it, one failure opens it again.

    A stream succeeds if it completes, or is disposed after its first content event. It fails if `counts` returns True
    for its error. A stream that is disposed before content, or whose error does not count, changes nothing.

    Args:
        failure_threshold: Failures in a row that open it, 1 or more.
        success_threshold: Successes on trial that close it, 1 or more.
        cooldown: Seconds that it stays open.
        counts: Returns whether an error is a failure of the provider; default: errors of the classes "retry" and
            "next" of `error_class`.
        scheduler: Runs the cooldown; default: the scheduler given to subscribe(), else a thread for all delays.

    Raises:
        ConfigurationError: A threshold is below 1.

    Example::

        breaker = CircuitBreaker(failure_threshold=2)
        breaker.state.subscribe(print)
        answer = model.stream("Hi").pipe(breaker, fallback_to(other_stream))
    """

    @check_arguments
    def __init__(
        self,
        failure_threshold: int = 5,
        success_threshold: int = 2,
        cooldown: float = 60.0,
        *,
        counts: Callable[[Exception], bool] = is_worth_another,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        for name, value in (("failure_threshold", failure_threshold), ("success_threshold", success_threshold)):
            if value < 1:
                raise ConfigurationError(f"CircuitBreaker({name}=...) takes 1 or more; got {value!r}")
        self._failure_threshold = failure_threshold
        self._success_threshold = success_threshold
        self._cooldown = cooldown
        self._counts = counts
        self._scheduler = scheduler
        self._states: BehaviorSubject[CircuitState] = BehaviorSubject("closed")
        self._lock = threading.Lock()
        self._current: CircuitState = "closed"
        self._failures = 0
        self._successes = 0
        self._trials: set[_Guarded] = set()
        self._half_opens_at = 0.0
        self._timer = SerialDisposable()

    @property
    def state(self) -> Observable[CircuitState]:
        """An Observable of the current state and all later ones."""
        return self._states.pipe(rx_ops.as_observable())

    @property
    def current_state(self) -> CircuitState:
        """The current state."""
        return self._current

    def fresh(self) -> CircuitBreaker:
        """Return another circuit breaker with the same settings, closed."""
        return CircuitBreaker(
            self._failure_threshold,
            self._success_threshold,
            self._cooldown,
            counts=self._counts,
            scheduler=self._scheduler,
        )

    def __call__(self, source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream that the breaker lets through or fails when it is subscribed to.

        Args:
            source: The stream.
        """

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            """Start the stream, or fail it if the breaker is open."""
            guarded = _Guarded(self, observer, timer_scheduler(self._scheduler, given), self._counts)
            refusal = self._refusal(guarded)
            if refusal is not None:
                observer.on_error(refusal)
                return guarded
            return guarded.start(source, given)

        return Observable(subscribe)

    def count(self, guarded: _Guarded, outcome: _Outcome) -> None:
        """Count the outcome of a stream that was let through.

        Args:
            guarded: The subscription.
            outcome: How it ended.
        """
        with self._lock:
            on_trial = guarded in self._trials
            self._trials.discard(guarded)
            state = self._after(outcome, on_trial)
            if state is None:
                return
            self._enter(state)
            self._half_opens_at = scheduler_seconds(guarded.timers) + self._cooldown
        slot = SingleAssignmentDisposable()  # filled after the fact: the scheduler may run the timer at once
        self._timer.disposable = slot
        self._states.on_next(state)
        if state == "open":
            slot.disposable = guarded.timers.schedule_relative(self._cooldown, self._half_open)

    def _refusal(self, guarded: _Guarded) -> APIConnectionError | None:
        """Return the error for a stream that must not start; None if it may."""
        now = scheduler_seconds(guarded.timers)
        if self._current == "open" and now >= self._half_opens_at:
            self._half_open()
        with self._lock:
            if self._current == "closed":
                return None
            if self._current == "half_open" and len(self._trials) + self._successes < self._success_threshold:
                self._trials.add(guarded)
                return None
            rest = max(0.0, self._half_opens_at - now)
        return APIConnectionError(
            f"the circuit breaker is {_WORDS[self._current]}: this provider failed "
            f"{self._failure_threshold} times in a row; the next trial is in {rest:.3g} s",
            retry_after=rest,
        )

    def _after(self, outcome: _Outcome, on_trial: bool) -> CircuitState | None:
        """Return the state that follows `outcome`; None if the state does not change. Must hold the lock."""
        if self._current == "closed" and outcome != "nothing":
            self._failures = self._failures + 1 if outcome == "failure" else 0
            return "open" if self._failures >= self._failure_threshold else None
        if self._current == "half_open" and on_trial and outcome == "failure":
            return "open"
        if self._current == "half_open" and on_trial and outcome == "success":
            self._successes += 1
            return "closed" if self._successes >= self._success_threshold else None
        return None

    def _half_open(self, _: object = None, __: object = None) -> None:
        """Enter the state "half_open" if the breaker is open; also called by the timer of the cooldown."""
        with self._lock:
            if self._current != "open":
                return
            self._enter("half_open")
        self._states.on_next("half_open")

    def _enter(self, state: CircuitState) -> None:
        """Enter `state`. Must hold the lock."""
        self._current = state
        self._failures = self._successes = 0
        self._trials.clear()


_WORDS = {"open": "open", "half_open": "half open, and other streams are on trial"}


class _Guarded(abc.DisposableBase):
    """The subscription to a stream behind the breaker."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        observer: abc.ObserverBase[TokenEvent],
        timers: abc.SchedulerBase,
        counts: Callable[[Exception], bool],
    ) -> None:
        self.timers = timers
        self._breaker = breaker
        self._observer = observer
        self._emit = observer.on_next
        self._counts = counts
        self._has_content = False
        self._ended = False
        self._subscription = SingleAssignmentDisposable()

    def start(self, source: Observable[TokenEvent], given: abc.SchedulerBase | None) -> _Guarded:
        """Subscribe to `source`; if that raises, this stream does not count."""
        try:
            self._subscription.disposable = source.subscribe(
                self.on_next, self.on_error, self.on_completed, scheduler=given
            )
        except BaseException:
            self._end("nothing")
            raise
        return self

    def dispose(self) -> None:
        self._subscription.dispose()
        self._end("success" if self._has_content else "nothing")

    def on_next(self, event: TokenEvent) -> None:
        """Pass the event on; the first content is proof that the provider is up."""
        if not self._has_content and proves_answer(event):
            self._has_content = True
        try:
            self._emit(event)
        except BaseException:
            self._end("success")  # the subscriber failed, not the provider
            raise

    def on_error(self, error: Exception) -> None:
        """Count the error, if it counts, and pass it on."""
        try:
            outcome: _Outcome = "failure" if self._counts(error) else "nothing"
        except Exception as raised:  # by a function of the user's
            outcome, error = "nothing", raised
        self._end(outcome)
        self._observer.on_error(error)

    def on_completed(self) -> None:
        self._end("success")
        self._observer.on_completed()

    def _end(self, outcome: _Outcome) -> None:
        if not self._ended:
            self._ended = True
            self._breaker.count(self, outcome)
