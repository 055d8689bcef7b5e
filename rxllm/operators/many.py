"""Many streams: many prompts for one model, one prompt for many models, the first of several to speak."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar, cast, overload

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from ..errors import ConfigurationError
from ..events import CONTENT_EVENTS, StreamEnd, TokenEvent
from ._operator import Operator
from ._prompt_pool import Progress as Progress
from ._prompt_pool import PromptAnswer as PromptAnswer
from ._prompt_pool import PromptFailure as PromptFailure
from ._prompt_pool import PromptPool

K = TypeVar("K")
T = TypeVar("T")
P = TypeVar("P")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
P_contra = TypeVar("P_contra", contravariant=True)

Errors: TypeAlias = Literal["values", "raise"]


class CanStream(Protocol[P_contra]):
    """What is needed of a model: a cold stream for a prompt. `StreamingModel` is one."""

    def stream(self, prompt: P_contra, /) -> Observable[TokenEvent]:
        """The answer to `prompt`: each subscription is a request."""
        ...


class Labelled(msgspec.Struct, Generic[K_co, T_co], frozen=True, gc=False):
    """An event of the stream with this label."""

    label: K_co
    event: T_co


class LabelledError(msgspec.Struct, Generic[K_co], frozen=True):
    """The error with which the stream with this label ended."""

    label: K_co
    error: Exception


@overload
def map_prompts(
    model: CanStream[P] | Callable[[P], Observable[TokenEvent]],
    *,
    max_concurrent: int = ...,
    ordered: bool = ...,
    errors: Literal["raise"],
) -> Operator[P, PromptAnswer[P]]: ...
@overload
def map_prompts(
    model: CanStream[P] | Callable[[P], Observable[TokenEvent]],
    *,
    max_concurrent: int = ...,
    ordered: bool = ...,
    errors: Errors = ...,
) -> Operator[P, PromptAnswer[P] | PromptFailure[P]]: ...
def map_prompts(
    model: CanStream[P] | Callable[[P], Observable[TokenEvent]],
    *,
    max_concurrent: int = 8,
    ordered: bool = True,
    errors: Errors = "values",
) -> Operator[P, PromptAnswer[P]] | Operator[P, PromptAnswer[P] | PromptFailure[P]]:
    """Ask `model` each prompt, `max_concurrent` at a time; emit what became of each, with the progress.

    `model` may also be a function that makes a stream of an item: of a row, say. Results come in
    the order of the prompts, or, with ``ordered=False``, as they are ready. An error is a value,
    `PromptFailure`, and the rest goes on; with ``errors="raise"`` the first one ends everything.
    An error of the prompts themselves always does. Retrying is the model's business.

    on_next comes from one thread at a time; while it runs nothing new is asked. Prompts that wait
    are kept, their number is not bounded. In order, no prompt is asked very far ahead of the
    answer that is due next. Disposing ends every request under way.

    ::

        --p-q--|
        [map_prompts(model)]
        ------P---Q|
    """
    if max_concurrent < 1:
        raise ConfigurationError(
            f"map_prompts() asks at least 1 prompt at a time; got max_concurrent={max_concurrent!r}"
        )
    if errors not in ("values", "raise"):
        raise ConfigurationError(f"errors is 'values' or 'raise'; got {errors!r}")
    ask = cast("Callable[[P], Observable[TokenEvent]]", getattr(model, "stream", model))

    def operator(source: Observable[P]) -> Observable[PromptAnswer[P] | PromptFailure[P]]:
        def subscribe(
            observer: abc.ObserverBase[PromptAnswer[P] | PromptFailure[P]], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return PromptPool(observer, ask, max_concurrent, ordered, errors == "raise").start(source, scheduler)

        return Observable(subscribe)

    return operator


def race(*streams: Observable[TokenEvent]) -> Observable[TokenEvent]:
    """Subscribe to all at once, and keep the one whose content comes first; the others are disposed then.

    Beginnings and usage are no content, and an error loses: only when all have failed the last
    error goes on. See `hedge` for starting the others only when the first is late.

    ::

        --S--------a-b|
        -S---c-d|
        [  race(...)  ]
        -----(Sc)-d|
    """
    if not streams:
        raise ConfigurationError("race() needs at least one stream")

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _Race(observer, len(streams)).start(streams, scheduler)

    return Observable(subscribe)


def merge_labelled(
    streams: Mapping[K, Observable[T]], *, errors: Errors = "values"
) -> Observable[Labelled[K, T] | LabelledError[K]]:
    """Subscribe to all at once, and tell whose each event is.

    A stream's error is a value, `LabelledError`, and the others go on; with ``errors="raise"`` the
    first ends everything. Completes when all have ended. on_next comes from one thread at a time: a
    slow subscriber slows all.

    ::

        x: --a-----b-|
        y: ----c-#
        [ merge_labelled({x, y}) ]
        ---xa-yc-y#-xb-|
    """

    def subscribe(
        observer: abc.ObserverBase[Labelled[K, T] | LabelledError[K]], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _Merge(observer, len(streams), errors == "raise").start(streams, scheduler)

    return Observable(subscribe)


def ensemble(
    models: Mapping[K, CanStream[P]], prompt: P, *, errors: Errors = "values"
) -> Observable[Labelled[K, TokenEvent] | LabelledError[K]]:
    """Ask several models the same, side by side: `merge_labelled` of their streams.

    A model that refuses the prompt at once fails as one that fails later does.

    ::

        [ ensemble({"x": model, "y": other}, "hi") ]
        ---xa-yc-xb-y.-x.|
    """

    def ask(model: CanStream[P]) -> Observable[TokenEvent]:
        return reactivex.defer(lambda _: model.stream(prompt))

    return merge_labelled({label: ask(model) for label, model in models.items()}, errors=errors)


class _Race(abc.DisposableBase):
    """The runners of one race."""

    def __init__(self, observer: abc.ObserverBase[TokenEvent], count: int) -> None:
        self.observer = observer
        self.winner: _Runner | None = None
        self._left = count
        self._runners: list[_Runner] = []
        self._lock = threading.Lock()

    def start(self, streams: Sequence[Observable[TokenEvent]], scheduler: abc.SchedulerBase | None) -> _Race:
        self._runners.extend(_Runner(self) for _ in streams)
        for runner, stream in zip(self._runners, streams, strict=True):
            if self.winner is None:
                runner.start(stream, scheduler)
        return self

    def dispose(self) -> None:
        for runner in self._runners:
            runner.upstream.dispose()

    def claim(self, runner: _Runner) -> bool:
        """Whether `runner`, having spoken, is the first to."""
        with self._lock:
            if self.winner is not None:
                return False
            self.winner = runner
        for other in self._runners:
            if other is not runner:
                other.upstream.dispose()
        return True

    def lose(self, runner: _Runner, end: Callable[[], None]) -> None:
        """`runner` ended without having spoken: the last to do so ends it all."""
        with self._lock:
            self._left -= 1
            last = self._left == 0 and self.winner is None
        if last and self.claim(runner):
            end()


class _Runner:
    """One stream in a race."""

    __slots__ = ("_held", "_race", "upstream")

    def __init__(self, race: _Race) -> None:
        self.upstream = SingleAssignmentDisposable()
        self._race = race
        self._held: list[TokenEvent] = []

    def start(self, stream: Observable[TokenEvent], scheduler: abc.SchedulerBase | None) -> None:
        self.upstream.disposable = stream.subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=scheduler
        )

    def _on_next(self, event: TokenEvent) -> None:
        race = self._race
        if race.winner is self:
            race.observer.on_next(event)
        elif not isinstance(event, (*CONTENT_EVENTS, StreamEnd)):
            self._held.append(event)
        elif race.claim(self):
            for earlier in (*self._held, event):
                race.observer.on_next(earlier)

    def _on_error(self, error: Exception) -> None:
        self._end(partial(self._race.observer.on_error, error))

    def _on_completed(self) -> None:
        self._end(self._race.observer.on_completed)

    def _end(self, end: Callable[[], None]) -> None:
        if self._race.winner is self:
            end()
        else:
            self._race.lose(self, end)


class _Merge(abc.DisposableBase, Generic[K, T]):
    """The streams of one merge."""

    def __init__(self, observer: abc.ObserverBase[Labelled[K, T] | LabelledError[K]], count: int, fails: bool) -> None:
        self._observer = observer
        self._left = count
        self._fails = fails
        self._turn = threading.RLock()
        """Held while the observer is called: streams run on threads of their own, and it sees one at a time."""
        self._closed = False
        self._upstreams = CompositeDisposable()

    def start(self, streams: Mapping[K, Observable[T]], scheduler: abc.SchedulerBase | None) -> _Merge[K, T]:
        if not streams:
            self._observer.on_completed()
        for label, stream in streams.items():
            upstream = SingleAssignmentDisposable()
            self._upstreams.add(upstream)
            upstream.disposable = stream.subscribe(
                partial(self._on_next, label), partial(self._on_error, label), self._on_completed, scheduler=scheduler
            )
        return self

    def dispose(self) -> None:
        self._closed = True
        self._upstreams.dispose()

    def _on_next(self, label: K, event: T) -> None:
        self._emit(Labelled(label, event))

    def _on_error(self, label: K, error: Exception) -> None:
        if not self._fails:
            self._emit(LabelledError(label, error))
            self._on_completed()
            return
        with self._turn:
            if not self._closed:
                self._closed = True
                self._observer.on_error(error)

    def _on_completed(self) -> None:
        with self._turn:
            self._left -= 1
            if self._left == 0 and not self._closed:
                self._closed = True
                self._observer.on_completed()

    def _emit(self, value: Labelled[K, T] | LabelledError[K]) -> None:
        with self._turn:
            if self._closed:
                return
            try:
                self._observer.on_next(value)
            except BaseException:
                self.dispose()
                raise
