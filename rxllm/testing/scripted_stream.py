"""Streams of token events at given times, on any scheduler, so that tests of operators take no real time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import TypeAlias, cast, get_args

from msgspec import structs
from reactivex import Observable, abc
from reactivex.disposable import MultipleAssignmentDisposable
from reactivex.notification import OnError, OnNext
from reactivex.observable.marbles import parse
from reactivex.scheduler import EventLoopScheduler

from .._core.awaitable import AwaitableObservable
from ..errors import LLMError, StreamInterruptedError
from ..events import FinishReason, StreamEnd, TextDelta, TokenEvent
from ..operators._operator import stopwatch
from ..operators._response_builder import ResponseBuilder

Step: TypeAlias = tuple[float, str | TokenEvent | Exception]
"""Seconds after the subscription, and what is emitted: text, an event, or the error that ends the stream."""

PlayedStep: TypeAlias = tuple[float, TokenEvent | Exception | None]
"""Seconds after the subscription, and the event, the error that ends the stream, or None for its completion."""

_EVENTS: tuple[type, ...] = get_args(TokenEvent)


def scripted(
    steps: Iterable[Step], *, ends: bool = True, scheduler: abc.SchedulerBase | None = None
) -> Observable[TokenEvent]:
    """Return a stream that emits `steps` at their times.

    Args:
        steps: pairs of seconds since the subscription and what to emit; may be endless.
        ends: whether a `StreamEnd` with the whole answer and the completion follow the last step,
            unless the steps contain their own ending. False: the stream stays silent.
        scheduler: where it runs; default: the subscriber's, else a thread for each subscription.

    Returns:
        A cold Observable.

    Example:
        >>> from reactivex.testing import TestScheduler
        >>> scheduler = TestScheduler()
        >>> observer = scheduler.start(lambda: scripted([(1, "Hel"), (2.5, "lo")], scheduler=scheduler))
        >>> [(message.time, type(message.value.value).__name__) for message in observer.messages[:3]]
        [(201.0, 'TextDelta'), (202.5, 'TextDelta'), (202.5, 'StreamEnd')]
    """

    def subscribe(observer: abc.ObserverBase[TokenEvent], scheduler_: abc.SchedulerBase | None) -> abc.DisposableBase:
        # This thread ends with the steps.
        chosen = scheduler or scheduler_ or EventLoopScheduler(exit_if_empty=True)
        return Playback(_events(steps, ends), observer, chosen).start()

    return AwaitableObservable(subscribe)


def marble(
    diagram: str,
    *,
    timespan: float = 0.1,
    lookup: Mapping[str | float, str | TokenEvent] | None = None,
    error: Exception | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Observable[TokenEvent]:
    """Return a stream drawn as a marble diagram of reactivex.

    Args:
        diagram: the drawing. An element is text, or a key of `lookup`; `|` is `StreamEnd` with the
            whole answer and the completion; `#` is `error`.
        timespan: seconds that one character takes.
        lookup: what elements stand for: text or events.
        error: the error at `#`; default: a `StreamInterruptedError`.
        scheduler: where it runs; default: the subscriber's, else a thread for each subscription.

    Returns:
        A cold Observable.

    Example:
        >>> from rxllm import operators as ops
        >>> marble("--He-llo|", timespan=0.001).pipe(ops.response()).run().text
        'Hello'
    """
    failure = error or StreamInterruptedError("the diagram ends with an error")
    steps: list[Step] = []
    answer = ResponseBuilder()
    for time, note in parse(diagram, timespan, lookup=lookup):
        seconds = cast("float", time)
        if isinstance(note, OnNext):
            event = _event(cast("object", note.value))
            answer.add(event)
            steps.append((seconds, event))
        else:
            steps.append((seconds, failure if isinstance(note, OnError) else ending(answer)))
    return scripted(steps, ends=False, scheduler=scheduler)


class Playback:
    """One subscription to steps, perhaps endless ones. Silence follows the last step."""

    def __init__(
        self, steps: Iterator[PlayedStep], observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase
    ) -> None:
        self._steps = steps
        self._step: PlayedStep | None = None
        self._observer = observer
        self._scheduler = scheduler
        self._now = stopwatch(scheduler)
        self._timer = MultipleAssignmentDisposable()

    def start(self) -> abc.DisposableBase:
        """Begin; return what ends it."""
        self._timer.disposable = self._scheduler.schedule(self._play)
        return self._timer

    def _play(self, _scheduler: abc.SchedulerBase, _state: object | None = None) -> None:
        """Emit all steps that are due, then schedule itself for the next one."""
        while not self._timer.is_disposed:
            if self._step is None:
                try:
                    self._step = next(self._steps, None)
                except Exception as error:  # of an iterable of the user
                    self._observer.on_error(error)
            if self._step is None:
                return
            at, item = self._step
            if (wait := at - self._now()) > 0:
                self._timer.disposable = self._scheduler.schedule_relative(wait, self._play)
                return
            self._step = None
            if isinstance(item, Exception):
                self._observer.on_error(item)
                return
            if item is None:
                self._observer.on_completed()
                return
            self._observer.on_next(item)


def _events(steps: Iterable[Step], ends: bool) -> Iterator[PlayedStep]:
    """Yield the steps as events; errors and the ending, if the script `ends`, hold the answer so far."""
    answer, at = ResponseBuilder(), 0.0
    for at, item in steps:
        event = TextDelta(item) if isinstance(item, str) else item
        if isinstance(event, LLMError) and event.partial is None:
            event = copy(event)
            event.partial = answer.response()
        elif not isinstance(event, Exception):
            if not isinstance(event, _EVENTS):
                raise TypeError(f"a scripted stream emits text, events and errors; got {event!r}")
            answer.add(event)
        yield at, event
        if isinstance(event, StreamEnd):
            yield at, None
            return
    if ends:
        yield at, ending(answer)
        yield at, None


def ending(answer: ResponseBuilder, finish_reason: FinishReason | None = None) -> StreamEnd:
    """Return the last event of an answer. `finish_reason` defaults to "tool_calls" if there are any, else "stop"."""
    response = answer.response()
    reason = finish_reason or ("tool_calls" if response.tool_calls else "stop")
    return StreamEnd(structs.replace(response, finish_reason=reason, raw_finish_reason=reason))


def _event(value: object) -> TokenEvent:
    """Return the event of an element of a diagram. reactivex parses "1" as a number."""
    return cast("TokenEvent", value) if isinstance(value, _EVENTS) else TextDelta(str(value))
