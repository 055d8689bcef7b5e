"""What the operators are made of: pure steps, and the one place that runs them under Rx.

A step is a small state machine without Rx, threads or clock: it takes one item and gives back
what follows from it. `run_steps` makes an operator of a step: a fresh one per subscription,
so that subscriptions share nothing. Its contract:

- what a step raises (a user's function, mostly) goes to on_error as it is, and the upstream is disposed;
  what the subscriber raises is not ours and goes up to the producer;
- a step is called before anything is emitted, and what a subscriber pushes from inside its own
  on_next is emitted after what was already due: order holds under re-entrancy;
- an upstream error passes at once, through the step's `fail`; what a step held back is not emitted then;
- a step that says `done` ends the stream: on_completed, and the upstream is disposed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from reactivex import Observable, abc

A = TypeVar("A")
B = TypeVar("B")
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)

Operator: TypeAlias = Callable[[Observable[A]], Observable[B]]
"""What `pipe` takes: from an Observable of A to an Observable of B."""


class Step(Protocol[In, Out]):
    """One subscription's state machine; pure."""

    done: bool
    """Nothing more will follow: the stream ends here."""

    def feed(self, item: In, /) -> Sequence[Out]:
        """What follows from `item`, in order."""
        ...

    def close(self) -> Sequence[Out]:
        """What was held back, now that the upstream has completed."""
        ...

    def fail(self, error: Exception, /) -> Exception:
        """The error to pass on for the upstream's `error`: itself, as a rule."""
        ...


class PlainStep(Generic[B]):
    """What most steps share: they never end early, hold nothing back, and let errors be."""

    done = False

    def close(self) -> Sequence[B]:
        """Nothing was held back."""
        return ()

    def fail(self, error: Exception, /) -> Exception:
        """The upstream's error as it is."""
        return error


def run_steps(start: Callable[[], Step[A, B]]) -> Operator[A, B]:
    """The operator that runs a fresh step, made by `start`, for each subscription."""

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(observer: abc.ObserverBase[B], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = _Run(start(), observer)
            return source.subscribe(run.on_next, run.on_error, run.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


class _Run(Generic[A, B]):
    """A step between its upstream and its observer."""

    __slots__ = ("_due", "_emitting", "_end", "_observer", "_step")

    def __init__(self, step: Step[A, B], observer: abc.ObserverBase[B]) -> None:
        self._step = step
        self._observer = observer
        self._due: deque[B] = deque()
        self._emitting = False
        self._end: Callable[[], None] | None = None

    def on_next(self, item: A) -> None:
        if self._end is not None:
            return
        try:
            values = self._step.feed(item)
        except Exception as error:
            self._finish((), self._failing(error))
            return
        if self._step.done:
            self._finish(values, self._observer.on_completed)
        elif values:
            self._emit(values)

    def on_completed(self) -> None:
        if self._end is not None:
            return
        try:
            values = self._step.close()
        except Exception as error:
            self._finish((), self._failing(error))
            return
        self._finish(values, self._observer.on_completed)

    def on_error(self, error: Exception) -> None:
        if self._end is not None:
            return
        try:
            failing = self._failing(self._step.fail(error))
        except Exception as raised:
            failing = self._failing(raised)
        self._finish((), failing)

    def _failing(self, error: Exception) -> Callable[[], None]:
        return lambda: self._observer.on_error(error)

    def _finish(self, values: Sequence[B], end: Callable[[], None]) -> None:
        self._end = end
        self._emit(values)

    def _emit(self, values: Sequence[B]) -> None:
        if self._emitting:  # called from inside the observer's on_next: after what is already due
            self._due.extend(values)
            return
        self._emitting = True
        try:
            emit = self._observer.on_next
            for value in values:
                emit(value)
            while self._due:
                emit(self._due.popleft())
        finally:
            self._emitting = False
            self._due.clear()  # not empty only where the observer raised
        if self._end is not None:
            self._end()
