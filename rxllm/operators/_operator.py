"""Operators are made of steps: state machines without Rx, threads or a clock.

A step takes one item and returns the items that follow from it. `run_steps` makes an operator of steps, with a new
step for each subscription, so subscriptions share no state. Its contract:

- an exception in a step (mostly from a user's function) goes to on_error unchanged, and the upstream is disposed; an
  exception in the subscriber goes up to the producer;
- a step is called before anything is emitted; items that a subscriber pushes from inside its own on_next are emitted
  after the items that were due before: order holds under re-entrancy;
- an upstream error is emitted at once, after the step's `fail`; what the step held back is not emitted;
- a step that sets `done` ends the stream: on_completed, and the upstream is disposed.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Generic, Literal, Protocol, Self, TypeAlias, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from .._core.scheduling import scheduler_seconds
from ..errors import ConfigurationError
from ..events import DELTA_EVENTS, TextDelta

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
Out = TypeVar("Out", covariant=True)

Operator: TypeAlias = Callable[[Observable[A]], Observable[B]]
"""What `pipe` takes: a function from an Observable of A to an Observable of B."""

Outcome: TypeAlias = Exception | Literal["completed", "disposed"]
"""How a stream has ended."""


class Step(Generic[A, B]):
    """The state machine of one subscription. Pure."""

    done = False
    """True ends the stream after the items just returned."""

    @abstractmethod
    def feed(self, item: A, /) -> Sequence[B]:
        """Return the items that follow from `item`, in order."""

    def close(self) -> Sequence[B]:
        """Return what was held back: the upstream has completed."""
        return ()

    def fail(self, error: Exception, /) -> Exception:
        """Return the error to emit for the upstream's `error`; usually `error` itself."""
        return error


class TextReader(Protocol[Out]):
    """Makes values of text that comes in pieces. Pure."""

    def feed(self, text: str, /) -> Sequence[Out]:
        """Return the values that are certain after `text`."""
        ...

    def close(self) -> Sequence[Out]:
        """Return the values of what was held back: the text has ended."""
        ...


def subscribing(
    subscribe: Callable[[abc.ObserverBase[B], Observable[A], abc.SchedulerBase | None], abc.DisposableBase],
) -> Operator[A, B]:
    """Return the operator that calls `subscribe` for each subscription, with the scheduler given to subscribe()."""
    return lambda source: Observable(lambda observer, scheduler: subscribe(observer, source, scheduler))


class Subscription(abc.DisposableBase, Generic[A, B]):
    """One subscription to an operator: receives a source of A for an observer of B.

    The observer drops what comes after its end, and disposes this object then.
    """

    def __init__(self, observer: abc.ObserverBase[B]) -> None:
        self._observer = observer
        self._emit = observer.on_next
        self._upstream = SingleAssignmentDisposable()

    def start(self, source: Observable[A], given: abc.SchedulerBase | None) -> Self:
        """Subscribe to `source` with the scheduler given to subscribe(); dispose if that raises."""
        try:
            self._upstream.disposable = source.subscribe(
                self.on_next, self.on_error, self.on_completed, scheduler=given
            )
        except BaseException:
            self.dispose()
            raise
        return self

    def dispose(self) -> None:
        """Dispose the source. Thread-safe, may be repeated."""
        self._upstream.dispose()

    @abstractmethod
    def on_next(self, item: A, /) -> None:
        """Receive an item of the source."""

    @abstractmethod
    def on_error(self, error: Exception) -> None:
        """Receive the error of the source."""

    @abstractmethod
    def on_completed(self) -> None:
        """Receive the completion of the source."""


class WatchedStream(Subscription[T, T]):
    """Passes a stream on, and calls `ended` once, however it ends, before the observer's last notification."""

    def __init__(self, observer: abc.ObserverBase[T]) -> None:
        super().__init__(observer)
        self._first_end = threading.Lock()  # acquired at the end, by one thread, and never released

    def ended(self, outcome: Outcome, /) -> None:
        """Note the end of the stream. A subscriber that raises, or a source that cannot start, counts as disposed."""

    def note(self, item: T, /) -> None:
        """Note an item before it is passed on. Not called with deltas: they are too many."""

    def on_next(self, item: T, /) -> None:
        """Pass `item` on; dispose if the subscriber raises."""
        if type(item) not in DELTA_EVENTS:
            self.note(item)
        try:
            self._emit(item)
        except BaseException:
            self.dispose()
            raise

    def on_error(self, error: Exception) -> None:
        self._end(error, lambda: self._observer.on_error(error))

    def on_completed(self) -> None:
        self._end("completed", self._observer.on_completed)

    def dispose(self) -> None:
        """Dispose the source; the stream has ended. Thread-safe, may be repeated."""
        super().dispose()
        self._end("disposed", lambda: None)

    def _end(self, outcome: Outcome, notify: Callable[[], None]) -> None:
        if self._first_end.acquire(blocking=False):
            try:
                self.ended(outcome)
            finally:
                notify()


def run_steps(start: Callable[[], Step[A, B]]) -> Operator[A, B]:
    """Return the operator that runs a new step, made by `start`, for each subscription."""
    return subscribing(lambda observer, source, given: _Run(start(), observer).start(source, given))


def pick(name: str, event_class: type[object], field: str) -> Operator[A, B]:
    """Return the operator `name` that emits `field` of each event of `event_class`, and drops all other events.

    `event_class` is not `TextDelta`: most events are, so they are sorted out first.
    """
    value_of: Callable[[object], B] = attrgetter(field)

    def subscribe(
        observer: abc.ObserverBase[B], source: Observable[A], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Pass on the field of each wanted event; a string is an error."""
        emit = observer.on_next

        def on_next(event: A) -> None:
            if type(event) is TextDelta:
                return
            if type(event) is event_class:
                emit(value_of(event))
            elif isinstance(event, str):
                observer.on_error(not_an_event(name))

        return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

    return subscribing(subscribe)


def stopwatch(scheduler: abc.SchedulerBase | None) -> Callable[[], float]:
    """Return a function that returns the seconds since this call."""
    if scheduler is None:
        now = time.monotonic
        started = now()
        return lambda: now() - started
    started = scheduler_seconds(scheduler)
    return lambda: scheduler_seconds(scheduler) - started


def check_number(what: str, value: float | None, least: float | None = None) -> None:
    """Raise `ConfigurationError` if `value` is below `least`, or not above 0 if that is None; None is not a number."""
    if value is not None and not (value > 0 if least is None else value >= least):
        wanted = "a number above 0" if least is None else f"{least} or more"
        raise ConfigurationError(f"{what} takes {wanted}; got {value!r}")


def not_an_event(name: str) -> TypeError:
    """Return the error of the operator `name`, which has received a string."""
    return TypeError(f"{name}() takes token events, and got a str: put it before text()")


class _Run(Subscription[A, B]):
    """A subscription that runs a step."""

    def __init__(self, step: Step[A, B], observer: abc.ObserverBase[B]) -> None:
        super().__init__(observer)
        self._step = step
        self._feed = step.feed
        self._due: deque[B] = deque()
        self._emitting = False
        self._end: Callable[[], None] | None = None

    def on_next(self, item: A, /) -> None:
        """Run the step and emit its values; an exception of the step ends the stream with it."""
        if self._end is not None:
            return
        try:
            values = self._feed(item)
        except Exception as error:
            self._finish(error)
            return
        if self._step.done:
            self._finish(None, values)
        elif values:
            self._emit_all(values)

    def on_completed(self) -> None:
        """Emit what the step held back, then complete."""
        try:
            values = self._step.close()
        except Exception as error:
            self._finish(error)
        else:
            self._finish(None, values)

    def on_error(self, error: Exception) -> None:
        """Emit the error, as the step changes it; what the step held back is dropped."""
        try:
            error = self._step.fail(error)
        except Exception as raised:
            error = raised
        self._finish(error)

    def _finish(self, error: Exception | None, values: Sequence[B] = ()) -> None:
        """Emit the last values, then the error or the completion."""
        if self._end is None:
            self._end = self._observer.on_completed if error is None else partial(self._observer.on_error, error)
            self._emit_all(values)

    def _emit_all(self, values: Sequence[B]) -> None:
        """Emit `values`, then what the subscriber's own on_next has caused meanwhile, then the end if it has come."""
        if self._emitting:  # called from inside the observer's on_next: these come after what is due already
            self._due.extend(values)
            return
        self._emitting = True
        try:
            for value in values:
                self._emit(value)
            while self._due:
                self._emit(self._due.popleft())
        except BaseException:
            self._due.clear()
            raise
        finally:
            self._emitting = False
        if self._end is not None:
            self._end()
