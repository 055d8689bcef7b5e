"""A circuit breaker: while a provider is down, streams fail at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import Disposable, SerialDisposable
from reactivex.subject import BehaviorSubject

from ..._arguments import check_arguments
from ..._core.scheduling import scheduler_seconds, timer_scheduler
from ..._runtime.platform import reset_in_children
from ...errors import APIConnectionError
from ...events import TokenEvent, proves_answer
from .._operator import Outcome, WatchedStream, check_number
from .fallback import is_worth_another

CircuitState: TypeAlias = Literal["closed", "open", "half_open"]

_WORDS: dict[CircuitState, str] = {"open": "open", "half_open": "half open, and other streams are on trial"}


class CircuitBreaker:
    """Fail streams at once while a provider is down, instead of waiting for it to fail again.

    Construct one for each provider and apply the same object to every stream that asks there. Thread-safe.

    - closed: streams pass. `failure_threshold` failures in a row open it.
    - open: streams fail at once with an `APIConnectionError` whose `retry_after` is the rest of the cooldown; after
      the cooldown it is half open.
    - half open: at most `success_threshold` streams at a time pass on trial, the others fail as before. As many
      successes close it, one failure opens it again.

    A stream succeeds if it completes, or is disposed after its first content event. It fails with errors of the classes
    "retry" and "next" of `error_class`. A stream with another error, one that is disposed before content, or that ends
    after the state in which it started, changes nothing.

    Args:
        failure_threshold: Failures in a row that open it, 1 or more.
        success_threshold: Successes on trial that close it, 1 or more.
        cooldown: Seconds that it stays open.
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
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        check_number("CircuitBreaker(failure_threshold=...)", failure_threshold, 1)
        check_number("CircuitBreaker(success_threshold=...)", success_threshold, 1)
        self._failure_threshold = failure_threshold
        self._success_threshold = success_threshold
        self._cooldown = cooldown
        self._scheduler = scheduler
        self._states: BehaviorSubject[CircuitState] = BehaviorSubject("closed")
        self._entered: deque[CircuitState] = deque()
        """States that are not emitted yet."""
        self._emitting = threading.Lock()
        """Held by the thread that emits, for all threads: so the states come in their order."""
        self._lock = threading.RLock()  # reentrant: the garbage collector may dispose a stream
        self._current: CircuitState = "closed"
        self._period = 0
        """The number of the current state: each change adds 1. The counts below begin anew with each."""
        self._running = self._failures = self._successes = 0
        self._half_opens_at = 0.0
        self._timer = SerialDisposable()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Keep the state, without streams: in a forked process, those that are on trial are its parent's."""
        self._lock, self._emitting = threading.RLock(), threading.Lock()
        self._period += 1
        self._running = 0

    @property
    def state(self) -> Observable[CircuitState]:
        """An Observable of the current state and all later ones."""
        return self._states.pipe(rx_ops.as_observable())

    def fresh(self) -> CircuitBreaker:
        """Return another circuit breaker with the same settings, closed."""
        return CircuitBreaker(
            self._failure_threshold, self._success_threshold, self._cooldown, scheduler=self._scheduler
        )

    def __call__(self, source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream that the breaker lets through or fails when it is subscribed to.

        Args:
            source: The stream.
        """

        def subscribe(observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None) -> abc.DisposableBase:
            """Start the stream, or fail it if the breaker is open."""
            timers = timer_scheduler(self._scheduler, given)
            period = self._admit(scheduler_seconds(timers))
            if isinstance(period, int):
                return _GuardedStream(observer, partial(self._count, period, timers)).start(source, given)
            observer.on_error(period)
            return Disposable()

        return Observable(subscribe)

    def _admit(self, now: float) -> int | APIConnectionError:
        """Admit a stream: return the number of the current state; or the error if it must not start."""
        if now >= self._half_opens_at:
            self._half_open()
        with self._lock:
            may_try = self._current == "half_open" and self._running + self._successes < self._success_threshold
            if may_try or self._current == "closed":
                self._running += 1
                return self._period
            state, rest = self._current, max(0.0, self._half_opens_at - now)
        return APIConnectionError(
            f"the circuit breaker is {_WORDS[state]}: this provider failed "
            f"{self._failure_threshold} times in a row; the next trial is in {rest:.3g} s",
            retry_after=rest,
        )

    def _count(self, period: int, timers: abc.SchedulerBase, succeeded: bool | None) -> None:
        """Count the end of a stream that was admitted in `period`; None says nothing of the provider.

        A change of the state follows if it is due. The time of the next trial counts only if the new state is "open".
        """
        with self._lock:
            if period != self._period:
                return
            self._running -= 1
            if succeeded is not None:
                self._failures = 0 if succeeded else self._failures + 1
                self._successes += succeeded
            state = self._next_state()
            if state is None:
                return
            self._enter(state)
            self._half_opens_at = scheduler_seconds(timers) + self._cooldown
        self._emit_states()
        if state == "open":
            self._timer.disposable = timers.schedule_relative(self._cooldown, self._half_open)

    def _next_state(self) -> CircuitState | None:
        """Return the state that the counts lead to; None if it is the current one. Must hold the lock."""
        on_trial = self._current == "half_open"
        if self._failures >= (1 if on_trial else self._failure_threshold):
            return "open"
        return "closed" if on_trial and self._successes >= self._success_threshold else None

    def _half_open(self, _: object = None, __: object = None) -> None:
        """Enter the state "half_open" if the breaker is open; also called by the timer of the cooldown."""
        with self._lock:
            if self._current != "open":
                return
            self._enter("half_open")
        self._emit_states()

    def _enter(self, state: CircuitState) -> None:
        """Enter `state`. Must hold the lock."""
        self._current = state
        self._entered.append(state)
        self._period += 1
        self._running = self._failures = self._successes = 0

    def _emit_states(self) -> None:
        """Emit the states that were entered, unless another thread, or a caller of this one, is emitting them."""
        while self._entered and self._emitting.acquire(blocking=False):
            try:
                while self._entered:
                    self._states.on_next(self._entered.popleft())
            finally:
                self._emitting.release()


class _GuardedStream(WatchedStream[TokenEvent]):
    """A stream that the breaker has admitted. The first content is proof that the provider is up."""

    def __init__(self, observer: abc.ObserverBase[TokenEvent], count: Callable[[bool | None], None]) -> None:
        super().__init__(observer)
        self._count = count
        self._has_content = False

    def on_next(self, item: TokenEvent, /) -> None:
        """Pass the event on; dispose if the subscriber raises."""
        if not self._has_content and proves_answer(item):
            self._has_content = True
        try:
            self._emit(item)
        except BaseException:
            self.dispose()
            raise

    def ended(self, outcome: Outcome, /) -> None:
        """Count the end as a success, a failure, or neither."""
        if isinstance(outcome, Exception):
            self._count(False if is_worth_another(outcome) else None)
        else:
            self._count(True if outcome == "completed" or self._has_content else None)
