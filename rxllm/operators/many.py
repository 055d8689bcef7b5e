"""Many streams: one prompt for many models, events with the label of their stream, the first of several streams."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from .._core.attempts import Race
from .._core.awaitable import AwaitableObservable
from .._core.delta_merge import merge_deltas
from ..errors import ConfigurationError
from ..events import StreamEnd, StreamReset, TokenEvent
from ._operator import Step, run_steps
from .prompts import CanStream

K = TypeVar("K")
T = TypeVar("T")
P = TypeVar("P")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)


class Labelled(msgspec.Struct, Generic[K_co, T_co], frozen=True, gc=False):
    """An event with the label of its stream.

    Args:
        label: The label.
        event: The event.
    """

    label: K_co
    event: T_co


class LabelledError(msgspec.Struct, Generic[K_co], frozen=True):
    """The error that ended a labelled stream.

    Args:
        label: The label of the stream.
        error: The error.
    """

    label: K_co
    error: Exception


def race(*streams: Observable[TokenEvent]) -> Observable[TokenEvent]:
    """Subscribe to all streams at once; keep the one whose content comes first, and dispose the others.

    `StreamStart`, usage and empty deltas are not content. A stream that fails before its content loses; if all fail,
    the last error ends the race. To start the others only if the first one is slow, use `hedge`.

    Args:
        streams: The streams, at least one.

    Raises:
        ConfigurationError: There is no stream.

    ::

        --S--------a-b|
        -S---c-d|
        [  race(...)  ]
        -----(Sc)-d|
    """
    if not streams:
        raise ConfigurationError("race() needs at least one stream")

    def subscribe(observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        """Start all streams; the race is lost when all have ended without content."""

        def on_loss(race: Race, error: Exception | None, losses: int) -> None:
            if losses == len(streams):
                race.finish(error)

        race = Race(observer, scheduler, on_loss)
        for stream in streams:
            race.start(stream)
        return race

    return AwaitableObservable(subscribe)


def first_to_finish(*streams: Observable[TokenEvent]) -> Observable[TokenEvent]:
    """Subscribe to all streams at once; emit the answer that is complete first, and dispose the others.

    Its events come at its end, with adjacent deltas merged. A stream that fails loses; if all fail, the last error
    ends the stream.

    Args:
        streams: The streams, at least one.

    Raises:
        ConfigurationError: There is no stream.

    ::

        --S-a--------b|
        -S---c-d|
        [  first_to_finish(...)  ]
        --------(Scd)|
    """
    if not streams:
        raise ConfigurationError("first_to_finish() needs at least one stream")
    return race(*(stream.pipe(run_steps(_WholeAnswer)) for stream in streams))


def merge_labelled(streams: Mapping[K, Observable[T]]) -> Observable[Labelled[K, T] | LabelledError[K]]:
    """Subscribe to all streams at once; emit each event with the label of its stream.

    An error is a `LabelledError`, and the others continue. Completes when all streams have ended. on_next is called by
    one thread at a time: a slow subscriber slows all.

    Args:
        streams: The streams by their labels.

    ::

        x: --a-----b-|
        y: ----c-#
        [ merge_labelled({x, y}) ]
        ---xa-yc-y#-xb-|
    """

    def subscribe(
        observer: abc.ObserverBase[Labelled[K, T] | LabelledError[K]], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Subscribe to all streams; without any, complete."""
        emitting = threading.RLock()  # held while the observer is called: streams run on threads of their own
        upstreams = CompositeDisposable()
        active = len(streams)

        def emit(value: Labelled[K, T] | LabelledError[K]) -> None:
            """Emit under the lock; a subscriber that raises ends all streams."""
            with emitting:
                if upstreams.is_disposed:
                    return
                try:
                    observer.on_next(value)
                except BaseException:
                    upstreams.dispose()
                    raise

        def on_error(label: K, error: Exception) -> None:
            emit(LabelledError(label, error))
            on_completed()

        def on_completed() -> None:
            nonlocal active
            with emitting:
                active -= 1
                if active <= 0:
                    observer.on_completed()

        if not streams:
            on_completed()
        for label, stream in streams.items():
            upstream = SingleAssignmentDisposable()
            upstreams.add(upstream)
            upstream.disposable = stream.subscribe(
                lambda event, label=label: emit(Labelled(label, event)),  # type: ignore[misc]  # mypy cannot infer it
                partial(on_error, label),
                on_completed,
                scheduler=scheduler,
            )
        return upstreams

    return AwaitableObservable(subscribe)


def ensemble(models: Mapping[K, CanStream[P]], prompt: P) -> Observable[Labelled[K, TokenEvent] | LabelledError[K]]:
    """Ask several models the same prompt at once: `merge_labelled` of their streams.

    A model that refuses the prompt at once fails like one that fails later.

    Args:
        models: The models by their labels.
        prompt: The prompt for all of them.

    ::

        [ ensemble({"x": model, "y": other}, "hi") ]
        ---xa-yc-xb-y.-x.|
    """

    def ask(model: CanStream[P]) -> Observable[TokenEvent]:
        return reactivex.defer(lambda _: model.stream(prompt))

    return merge_labelled({label: ask(model) for label, model in models.items()})


class _WholeAnswer(Step[TokenEvent, TokenEvent]):
    """Holds back all events until the answer is complete."""

    def __init__(self) -> None:
        self._held: list[TokenEvent] = []

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        """Hold the event back. Deltas are merged now and then, so that a long answer takes little memory."""
        if type(event) is StreamReset:
            self._held.clear()
            return ()
        self._held.append(event)
        if len(self._held) % 1024 == 0:
            self._held = merge_deltas(self._held)
        return self.close() if type(event) is StreamEnd else ()

    def close(self) -> Sequence[TokenEvent]:
        held, self._held = self._held, []
        return merge_deltas(held)
