"""Runs real operators on virtual time and records each event, its time, and each disposal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from reactivex import Observable, abc, typing
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.scheduler.scheduler import Scheduler
from reactivex.testing import ReactiveTest, TestScheduler

from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
    VendorEvent,
)

Ending = Literal["completed", "failed", "disposed", "none"]
Kind = Literal["text", "reasoning", "tool", "other", "value"]


@dataclass(frozen=True)
class Mark:
    """A value at its moment, in seconds."""

    at: float
    text: str
    kind: Kind


@dataclass(frozen=True)
class Lane:
    """What is drawn as one line."""

    name: str
    marks: Sequence[Mark]
    since: float
    until: float
    ending: Ending


@dataclass(frozen=True)
class Given:
    """A source: what comes when, in seconds from its subscription; `ends` with completion, or `fails`."""

    name: str
    notes: Mapping[float, Any]
    ends: float
    fails: Exception | None = None


@dataclass(frozen=True)
class Result:
    """What is subscribed to, when, and until when."""

    name: str
    stream: Observable[Any]
    since: float = 0.0
    disposed: float = math.inf


class Source:
    """A cold source that notes who came and went."""

    def __init__(self, scheduler: TestScheduler, given: Given) -> None:
        self.given = given
        self.subscriptions: list[tuple[float, float]] = []
        """From when, until when."""
        self.stream: Observable[Any] = Observable(self._subscribe)
        self._scheduler = scheduler

    def _subscribe(self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        given, scheduler = self.given, self._scheduler
        nexts: list[Any] = [ReactiveTest.on_next(float(at), item) for at, item in given.notes.items()]
        ends = float(given.ends)
        last = ReactiveTest.on_completed(ends) if given.fails is None else ReactiveTest.on_error(ends, given.fails)
        since, number = scheduler.clock, len(self.subscriptions)
        self.subscriptions.append((since, math.inf))

        def left() -> None:
            self.subscriptions[number] = (since, scheduler.clock)

        subscription = scheduler.create_cold_observable([*nexts, last]).subscribe(observer)
        return CompositeDisposable(subscription, Disposable(left))


class Stage:
    """What a run has to work with."""

    def __init__(self, given: Sequence[Given]) -> None:
        self.scheduler = TestScheduler()
        self.cast = [Source(self.scheduler, one) for one in given]
        self.sources = {source.given.name: source.stream for source in self.cast}

    def stream(self, notes: Mapping[float, Any], ends: float) -> Observable[Any]:
        """A source that is not drawn."""
        return Source(self.scheduler, Given("", notes, ends)).stream

    def busy(self, every: float) -> abc.SchedulerBase:
        """A scheduler whose thread has time for others only every so many seconds."""
        return _Busy(self.scheduler, every)


@dataclass(frozen=True)
class Run:
    """A diagram to be: what is given, the call as it is written, and what is subscribed to."""

    call: str
    given: Sequence[Given]
    results: Callable[[Stage], Sequence[Result]]
    show: Callable[[Any], str] | None = None
    pixels: float = 64
    """How wide a second is drawn."""

    def lanes(self) -> tuple[list[Lane], list[Lane]]:
        """Run it; what the sources did, and what came of it."""
        stage = Stage(self.given)
        results = self.results(stage)
        seen = [_subscribe(stage.scheduler, result) for result in results]
        VirtualTimeScheduler.start(stage.scheduler)
        sources = [lane for source in stage.cast for lane in _source_lanes(source)]
        return sources, [
            _result_lane(result, observer, self.show) for result, observer in zip(results, seen, strict=True)
        ]


def single(
    call: str,
    notes: Mapping[float, Any],
    ends: float,
    operator: Callable[[Stage], Callable[[Observable[Any]], Observable[Any]]],
    *,
    fails: Exception | None = None,
    show: Callable[[Any], str] | None = None,
) -> Run:
    """The run of one operator over one source."""

    def results(stage: Stage) -> Sequence[Result]:
        return [Result("result", stage.sources["source"].pipe(operator(stage)))]

    return Run(call, [Given("source", notes, ends, fails)], results, show)


def _subscribe(scheduler: TestScheduler, result: Result) -> Any:
    observer = scheduler.create_observer()
    held: list[abc.DisposableBase] = []

    def subscribe(*_: object) -> None:
        held.append(result.stream.subscribe(observer, scheduler=scheduler))

    scheduler.schedule_absolute(float(result.since), subscribe)
    if result.disposed < math.inf:
        scheduler.schedule_absolute(float(result.disposed), lambda *_: held[0].dispose())
    return observer


def _source_lanes(source: Source) -> list[Lane]:
    """A line for each subscription; an empty one where there was none."""
    given = source.given
    lanes: list[Lane] = []
    for since, left in source.subscriptions:
        marks = [_mark(since + at, item, None) for at, item in given.notes.items() if since + at <= left]
        ended = since + given.ends
        ending: Ending = "disposed" if left < ended else "completed" if given.fails is None else "failed"
        lanes.append(Lane(given.name, marks, since, min(left, ended), ending))
    return lanes or [Lane(given.name, [], 0.0, 0.0, "none")]


def _result_lane(result: Result, observer: Any, show: Callable[[Any], str] | None) -> Lane:
    marks: list[Mark] = []
    ending: Ending = "disposed" if result.disposed < math.inf else "none"
    until = result.disposed
    for message in observer.messages:
        if message.value.kind == "N":
            marks.append(_mark(message.time, message.value.value, show))
        else:
            ending, until = ("completed" if message.value.kind == "C" else "failed"), message.time
    return Lane(result.name, marks, result.since, until if until < math.inf else marks[-1].at + 1, ending)


def _mark(at: float, item: Any, show: Callable[[Any], str] | None) -> Mark:
    text, kind = _described(item)
    return Mark(round(at, 3), show(item) if show is not None else text, kind)


def _described(item: Any) -> tuple[str, Kind]:
    match item:
        case TextDelta(text):
            return _visible(text), "text"
        case ReasoningDelta(text):
            return _visible(text), "reasoning"
        case ToolCallStart(name=name):
            return f"{name}(", "tool"
        case ToolCallDelta(arguments=arguments):
            return _visible(arguments), "tool"
        case ToolCallEnd(call=call):
            return f"{call.name}()", "tool"
        case UsageUpdate():
            return "usage", "other"
        case StreamStart():
            return "start", "other"
        case StreamEnd(response):
            used = response.usage
            told = used.output_tokens is not None and not used.estimated
            return (f"end: {used.output_tokens} tokens" if told else "end"), "other"
        case StreamReset():
            return "reset", "other"
        case VendorEvent(name=name):
            return name, "other"
        case Response(text=text):
            return f"Response {_visible(text)!r}", "value"
        case str():
            return _visible(item), "value"
        case list():
            return "[" + " ".join(_described(one)[0] for one in item) + "]", "value"
        case _:
            return str(item), "value"


def _visible(text: str) -> str:
    return text.replace(" ", "\u2423").replace("\n", "\u21b5")


class _Busy(Scheduler):
    """Runs what is scheduled at the next multiple of `every`."""

    def __init__(self, inner: TestScheduler, every: float) -> None:
        self._inner = inner
        self._every = every

    @property
    def now(self) -> Any:
        return self._inner.now

    def schedule(self, action: typing.ScheduledAction[Any], state: Any = None) -> abc.DisposableBase:
        return self.schedule_relative(0.0, action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        seconds = duetime.total_seconds() if isinstance(duetime, timedelta) else duetime
        free = math.floor((self._inner.clock + seconds) / self._every + 1) * self._every
        return self._inner.schedule_absolute(float(free), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)
