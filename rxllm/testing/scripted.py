"""Streams of token events at given times, on any scheduler: tests of operators take no real time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from datetime import timedelta
from typing import TypeAlias, cast, get_args

from msgspec import structs
from reactivex import Observable, abc
from reactivex.disposable import MultipleAssignmentDisposable
from reactivex.notification import OnError, OnNext
from reactivex.observable.marbles import parse
from reactivex.scheduler import EventLoopScheduler
from reactivex.typing import RelativeTime

from ..errors import LLMError, StreamInterruptedError
from ..events import FinishReason, StreamEnd, TextDelta, TokenEvent
from ..operators._response_builder import ResponseBuilder

Step: TypeAlias = tuple[float, str | TokenEvent | Exception]
"""Seconds after the subscription, and what comes then: a piece of text, an event, or the error that ends the stream."""

_EVENTS: tuple[type, ...] = get_args(TokenEvent)


def scripted(
    steps: Iterable[Step], *, ends: bool = True, scheduler: abc.SchedulerBase | None = None
) -> Observable[TokenEvent]:
    """A stream that emits `steps` at their times, counted from each subscription.

    After the last step comes a `StreamEnd` with the whole answer, and the completion; unless the
    script brought its own ending, or `ends` is False: then there is silence. The steps may be
    endless. The scheduler is the given one, else the subscriber's, else a thread of its own.

    >>> from reactivex.testing import TestScheduler
    >>> scheduler = TestScheduler()
    >>> observer = scheduler.start(lambda: scripted([(1, "Hel"), (2.5, "lo")], scheduler=scheduler))
    >>> [(message.time, type(message.value.value).__name__) for message in observer.messages[:3]]
    [(201.0, 'TextDelta'), (202.5, 'TextDelta'), (202.5, 'StreamEnd')]
    """

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], scheduler_: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        # A thread of its own ends with the script.
        chosen = scheduler or scheduler_ or EventLoopScheduler(exit_if_empty=True)
        return _Performance(iter(steps), ends, observer, chosen).begin()

    return Observable(subscribe)


def marble(
    diagram: str,
    *,
    timespan: float = 0.1,
    lookup: Mapping[str | float, str | TokenEvent] | None = None,
    error: Exception | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Observable[TokenEvent]:
    """A stream drawn as reactivex draws it: each element is a piece of text, or what `lookup` says.

    Each character takes `timespan` seconds. `|` is `StreamEnd` with the whole answer and the
    completion, `#` is `error` (by default a `StreamInterruptedError`).

    >>> from rxllm import operators as ops
    >>> marble("--He-llo|", timespan=0.001).pipe(ops.response()).run().text
    'Hello'
    """
    failure = error or StreamInterruptedError("the script says so")
    steps: list[Step] = []
    answer = ResponseBuilder()
    for seconds, note in parse(diagram, timespan, lookup=lookup):
        if isinstance(note, OnNext):
            event = _event(cast("object", note.value))
            answer.add(event)
            steps.append((_seconds(seconds), event))
        else:
            steps.append((_seconds(seconds), failure if isinstance(note, OnError) else ending(answer)))
    return scripted(steps, ends=False, scheduler=scheduler)


class _Told:
    """Tells an observer a script, and keeps what was said, so that the ending can hold it all."""

    def __init__(self, observer: abc.ObserverBase[TokenEvent]) -> None:
        self._observer = observer
        self._answer = ResponseBuilder()
        self.ended = False

    def on_next(self, item: str | TokenEvent | Exception) -> None:
        """A piece of text, an event, or an error that ends the stream."""
        if isinstance(item, Exception):
            self.on_error(item)
            return
        event = TextDelta(item) if isinstance(item, str) else item
        self._answer.add(event)
        self._observer.on_next(event)
        if isinstance(event, StreamEnd):
            self.ended = True
            self._observer.on_completed()

    def on_error(self, error: Exception) -> None:
        """The end, by an error, which holds the answer so far as every error does."""
        self.ended = True
        if isinstance(error, LLMError) and error.partial is None:
            error = copy(error)
            error.partial = self._answer.response()
        self._observer.on_error(error)

    def on_completed(self) -> None:
        """The end of a script that brought none of its own."""
        if not self.ended:
            self.on_next(ending(self._answer))


class _Performance:
    """One subscription to a script: each step schedules the next, since there may be no last."""

    def __init__(
        self, steps: Iterator[Step], ends: bool, observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase
    ) -> None:
        self._steps = steps
        self._ends = ends
        self._told = _Told(observer)
        self._scheduler = scheduler
        self._at = 0.0
        self._subscription = MultipleAssignmentDisposable()

    def begin(self) -> abc.DisposableBase:
        self._go_on()
        return self._subscription

    def _go_on(self) -> None:
        step = next(self._steps, None)
        if step is None:
            if self._ends:
                self._told.on_completed()
            return
        wait, self._at = max(0.0, step[0] - self._at), step[0]

        def act(_scheduler: abc.SchedulerBase, _state: object = None) -> None:
            if not self._subscription.is_disposed:
                self._told.on_next(step[1])
                if not self._told.ended and not self._subscription.is_disposed:
                    self._go_on()

        self._subscription.disposable = self._scheduler.schedule_relative(wait, act)


def ending(answer: ResponseBuilder, finish_reason: FinishReason | None = None) -> StreamEnd:
    """The last event of an answer; what is not said is "tool_calls" where there are any, else "stop"."""
    response = answer.response()
    reason = finish_reason or ("tool_calls" if response.tool_calls else "stop")
    return StreamEnd(structs.replace(response, finish_reason=reason, raw_finish_reason=reason))


def _event(value: object) -> TokenEvent:
    """What an element of a diagram stands for: reactivex makes numbers of what looks like one."""
    return cast("TokenEvent", value) if isinstance(value, _EVENTS) else TextDelta(str(value))


def _seconds(time: RelativeTime) -> float:
    return time.total_seconds() if isinstance(time, timedelta) else time
