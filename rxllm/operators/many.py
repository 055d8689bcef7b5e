"""Many streams: many prompts for one model, one prompt for many models, the first of several streams."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar, cast, get_args, overload

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from .._core.attempts import Race
from .._core.delta_merge import merge_deltas
from ..errors import ConfigurationError
from ..events import Response, StreamEnd, StreamReset, TokenEvent
from ..messages import Message
from ..prompt import Prompt, messages_of
from ._operator import Operator, PlainStep, run_steps
from ._prompt_pool import PoolSettings as PoolSettings
from ._prompt_pool import Progress as Progress
from ._prompt_pool import PromptAnswer as PromptAnswer
from ._prompt_pool import PromptFailure as PromptFailure
from ._prompt_pool import PromptOverflow as PromptOverflow
from ._prompt_pool import PromptPool
from .json.structured import value_of
from .json.typed import Target

K = TypeVar("K")
T = TypeVar("T")
P = TypeVar("P")
V = TypeVar("V")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
P_contra = TypeVar("P_contra", contravariant=True)

ErrorMode: TypeAlias = Literal["values", "raise"]


class CanStream(Protocol[P_contra]):
    """What operators need of a model: a cold stream for a prompt. `StreamingModel` is one."""

    def stream(self, prompt: P_contra, /) -> Observable[TokenEvent]:
        """Return the answer to `prompt`; each subscription makes a request."""
        ...


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


Source: TypeAlias = CanStream[P] | Callable[[P], Observable[TokenEvent]]


@overload
def map_prompts(
    model: Source[P],
    *,
    response_type: type[V],
    max_concurrent: int = ...,
    max_waiting: int | None = ...,
    overflow: PromptOverflow = ...,
    ordered: bool = ...,
    errors: Literal["raise"],
    stop_after_failures: int | None = ...,
) -> Operator[P, PromptAnswer[P, V]]: ...
@overload
def map_prompts(
    model: Source[P],
    *,
    response_type: type[V],
    max_concurrent: int = ...,
    max_waiting: int | None = ...,
    overflow: PromptOverflow = ...,
    ordered: bool = ...,
    errors: ErrorMode = ...,
    stop_after_failures: int | None = ...,
) -> Operator[P, PromptAnswer[P, V] | PromptFailure[P]]: ...
@overload
def map_prompts(
    model: Source[P],
    *,
    response_type: None = None,
    max_concurrent: int = ...,
    max_waiting: int | None = ...,
    overflow: PromptOverflow = ...,
    ordered: bool = ...,
    errors: Literal["raise"],
    stop_after_failures: int | None = ...,
) -> Operator[P, PromptAnswer[P, None]]: ...
@overload
def map_prompts(
    model: Source[P],
    *,
    response_type: None = None,
    max_concurrent: int = ...,
    max_waiting: int | None = ...,
    overflow: PromptOverflow = ...,
    ordered: bool = ...,
    errors: ErrorMode = ...,
    stop_after_failures: int | None = ...,
) -> Operator[P, PromptAnswer[P, None] | PromptFailure[P]]: ...
def map_prompts(
    model: Source[P],
    *,
    response_type: type[V] | None = None,
    max_concurrent: int = 8,
    max_waiting: int | None = 64,
    overflow: PromptOverflow = "block",
    ordered: bool = True,
    errors: ErrorMode = "values",
    stop_after_failures: int | None = None,
) -> Operator[P, PromptAnswer[P, V | None]] | Operator[P, PromptAnswer[P, V | None] | PromptFailure[P]]:
    """Ask `model` each prompt, `max_concurrent` at a time; emit a result for each, with the progress.

    on_next is called by one thread at a time. While it runs, no new prompt is asked. In order, no prompt is asked
    more than ``16 * max_concurrent`` ahead of the answer that is due next. An error of the source ends the stream.
    Disposing ends every running request. Retrying is the model's task (`max_retries`).

    A source that is faster than the model is blocked: at most ``max_concurrent + max_waiting`` prompts are in hand.
    So that subscribe() does not block, a source without a scheduler of its own (``reactivex.from_iterable(prompts)``)
    then runs on a new thread, unless subscribe() is given a scheduler. A prompt that your on_next pushes into the
    source is never blocked, as it would wait for itself. A source on virtual time cannot be blocked: there,
    "block" ends the stream with a `StreamError` when too many prompts wait.

    Args:
        model: A model, or a function that returns the stream for an item (a row, for example).
        response_type: The type of the answers: a dataclass, TypedDict, msgspec Struct, pydantic model, or a type
            built of them. A model is asked with ``response_format=response_type``; a function has to do so itself. An
            answer that is not of the type is asked for once more, with the error; then it is a `PromptFailure` with
            an `OutputParsingError`. Default: no type, and `PromptAnswer.value` is None.
        max_concurrent: Requests at the same time, 1 or more.
        max_waiting: Prompts that may wait, 0 or more; None sets no bound.
        overflow: What happens when one more prompt comes. "block": the source's thread blocks until there is room.
            "drop_oldest": the prompt that has waited longest is dropped. "drop_newest": the new prompt is dropped.
            "error": the stream ends with a `StreamError`.
        ordered: True: results come in the order of the prompts. False: each comes when it is ready.
        errors: "values": a failed prompt is a `PromptFailure`, and the stream continues. "raise": the first failure
            ends the stream.
        stop_after_failures: End the stream with the error, when that many results in a row have failed with the same
            error that is not transient (same class and status: a wrong model name, for example); default: never.

    Raises:
        ConfigurationError: A number is out of range, a word is unknown, or JSON cannot be read as `response_type`.

    ::

        --p-q--|
        [map_prompts(model)]
        ------P---Q|
    """
    for name, value, least in (
        ("max_concurrent", max_concurrent, 1),
        ("max_waiting", max_waiting, 0),
        ("stop_after_failures", stop_after_failures, 1),
    ):
        if value is not None and value < least:
            raise ConfigurationError(f"map_prompts({name}=...) takes {least} or more; got {value!r}")
    if errors not in get_args(ErrorMode):
        raise ConfigurationError(f"errors is 'values' or 'raise'; got {errors!r}")
    if overflow not in get_args(PromptOverflow):
        raise ConfigurationError(f"overflow is one of {', '.join(get_args(PromptOverflow))}; got {overflow!r}")
    ask, ask_again = _asking(model, response_type)
    target = None if response_type is None else Target(response_type)

    def value_in(response: Response) -> V | None:
        return None if target is None else value_of(target, response.text)

    settings: PoolSettings[P, V | None] = PoolSettings(
        ask,
        ask_again,
        value_in,
        max_concurrent,
        math.inf if max_waiting is None else max_waiting,
        overflow,
        ordered,
        errors == "raise",
        stop_after_failures or math.inf,
    )

    def operator(source: Observable[P]) -> Observable[PromptAnswer[P, V | None] | PromptFailure[P]]:
        def subscribe(
            observer: abc.ObserverBase[PromptAnswer[P, V | None] | PromptFailure[P]],
            scheduler: abc.SchedulerBase | None = None,
        ) -> abc.DisposableBase:
            return PromptPool(observer, settings).start(source, scheduler)

        return Observable(subscribe)

    return operator


def race(*streams: Observable[TokenEvent]) -> Observable[TokenEvent]:
    """Subscribe to all streams at once; keep the one whose content comes first, and dispose the others.

    `StreamStart`, usage and empty deltas are no content. A stream that fails before its content loses; if all fail,
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

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def on_loss(race: Race, error: Exception | None, losses: int) -> None:
            if losses == len(streams):
                race.finish(error)

        race = Race(observer, scheduler, on_loss)
        for stream in streams:
            race.start(stream)
        return race

    return Observable(subscribe)


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


def merge_labelled(
    streams: Mapping[K, Observable[T]], *, errors: ErrorMode = "values"
) -> Observable[Labelled[K, T] | LabelledError[K]]:
    """Subscribe to all streams at once; emit each event with the label of its stream.

    Completes when all streams have ended. on_next is called by one thread at a time: a slow subscriber slows all.

    Args:
        streams: The streams by their labels.
        errors: "values": an error is a `LabelledError`, and the others continue. "raise": the first error ends the
            stream.

    Raises:
        ConfigurationError: `errors` is neither of the two.

    ::

        x: --a-----b-|
        y: ----c-#
        [ merge_labelled({x, y}) ]
        ---xa-yc-y#-xb-|
    """
    if errors not in get_args(ErrorMode):
        raise ConfigurationError(f"errors is 'values' or 'raise'; got {errors!r}")

    def subscribe(
        observer: abc.ObserverBase[Labelled[K, T] | LabelledError[K]], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _Merge(observer, len(streams), errors == "raise").start(streams, scheduler)

    return Observable(subscribe)


def ensemble(
    models: Mapping[K, CanStream[P]], prompt: P, *, errors: ErrorMode = "values"
) -> Observable[Labelled[K, TokenEvent] | LabelledError[K]]:
    """Ask several models the same prompt at once: `merge_labelled` of their streams.

    A model that refuses the prompt at once fails like one that fails later.

    Args:
        models: The models by their labels.
        prompt: The prompt for all of them.
        errors: As for `merge_labelled`.

    Raises:
        ConfigurationError: `errors` is neither "values" nor "raise".

    ::

        [ ensemble({"x": model, "y": other}, "hi") ]
        ---xa-yc-xb-y.-x.|
    """

    def ask(model: CanStream[P]) -> Observable[TokenEvent]:
        return reactivex.defer(lambda _: model.stream(prompt))

    return merge_labelled({label: ask(model) for label, model in models.items()}, errors=errors)


def _asking(
    model: Source[P], response_type: type[object] | None
) -> tuple[Callable[[P], Observable[TokenEvent]], Callable[[P, Response, Exception], Observable[TokenEvent]]]:
    """Return what asks `model` a prompt, and what asks it again after an answer that is not of the type."""
    stream = cast("Callable[..., Observable[TokenEvent]] | None", getattr(model, "stream", None))
    if stream is None:
        make_stream = cast("Callable[[P], Observable[TokenEvent]]", model)
        return make_stream, lambda prompt, _, __: make_stream(prompt)
    ask = stream if response_type is None else partial(stream, response_format=response_type)

    def ask_again(prompt: P, response: Response, error: Exception) -> Observable[TokenEvent]:
        earlier = (response.message,) if response.parts else ()
        correction = Message.user(f"Your answer is not valid: {error}. Answer again, with nothing but the valid JSON.")
        return ask([*messages_of(cast(Prompt, prompt)), *earlier, correction])

    return ask, ask_again


class _WholeAnswer(PlainStep[TokenEvent]):
    """Holds back all events until the answer is complete."""

    def __init__(self) -> None:
        self._held: list[TokenEvent] = []

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
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


class _Merge(abc.DisposableBase, Generic[K, T]):
    """One subscription to `merge_labelled`."""

    def __init__(self, observer: abc.ObserverBase[Labelled[K, T] | LabelledError[K]], count: int, raises: bool) -> None:
        self._observer = observer
        self._active = count
        self._raises = raises
        self._emitting = threading.RLock()
        """Held while the observer is called: streams run on threads of their own."""
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
        if not self._raises:
            self._emit(LabelledError(label, error))
            self._on_completed()
            return
        with self._emitting:
            if not self._closed:
                self._closed = True
                self._observer.on_error(error)

    def _on_completed(self) -> None:
        with self._emitting:
            self._active -= 1
            if self._active == 0 and not self._closed:
                self._closed = True
                self._observer.on_completed()

    def _emit(self, value: Labelled[K, T] | LabelledError[K]) -> None:
        with self._emitting:
            if self._closed:
                return
            try:
                self._observer.on_next(value)
            except BaseException:
                self.dispose()
                raise
