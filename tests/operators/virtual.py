"""Streams on virtual time: what happens when, in ticks of one second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reactivex import Observable
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.coldobservable import ColdObservable
from reactivex.testing.recorded import Recorded

from rxllm.events import Response, StreamEnd, StreamStart, TextDelta, TokenEvent, Usage
from rxllm.messages import TextPart

START = StreamStart("id", "m")
SUBSCRIBED = 200.0
"""When `play` subscribes."""


def whole(text: str, usage: Usage | None = None) -> Response:
    """The response of a plain answer."""
    return Response(
        text=text,
        finish_reason="stop",
        usage=usage or Usage(),
        parts=(TextPart(text),) if text else (),
        id="id",
        model="m",
    )


def answer(*pieces: str, usage: Usage | None = None) -> list[TokenEvent]:
    """The events of a plain answer, from StreamStart to StreamEnd."""
    return [START, *map(TextDelta, pieces), StreamEnd(whole("".join(pieces), usage))]


def cold(
    scheduler: TestScheduler, events: Sequence[TokenEvent], error: Exception | None = None, *, step: float = 1.0
) -> ColdObservable[TokenEvent]:
    """The events, `step` apart beginning after one, then completion or `error` with no further delay."""
    notes: list[Recorded[TokenEvent]] = [ReactiveTest.on_next((n + 1) * step, event) for n, event in enumerate(events)]
    end = (len(events) or 1) * step
    last: Recorded[TokenEvent] = ReactiveTest.on_completed(end) if error is None else ReactiveTest.on_error(end, error)
    return scheduler.create_cold_observable([*notes, last])


class Tries:
    """A cold stream that is another one at each subscription, and remembers when they came."""

    def __init__(self, scheduler: TestScheduler, *streams: Observable[TokenEvent]) -> None:
        self.times: list[float] = []
        self._scheduler = scheduler
        self._streams = list(streams)

    def __call__(self) -> Observable[TokenEvent]:
        """The stream, as a factory gives it."""
        return self.stream

    @property
    def stream(self) -> Observable[TokenEvent]:
        """The stream; the last one given stands for all later subscriptions."""

        def subscribe(observer: Any, scheduler: Any = None) -> Any:
            self.times.append(self._scheduler.clock)
            stream = self._streams[min(len(self.times), len(self._streams)) - 1]
            return stream.subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)


class Seen:
    """What an observer saw, and when."""

    def __init__(self, messages: list[Recorded[Any]]) -> None:
        self.values = [message.value.value for message in messages if message.value.kind == "N"]
        self.times = [message.time - SUBSCRIBED for message in messages if message.value.kind == "N"]
        last = messages[-1].value if messages else None
        self.error = last.exception if last is not None and last.kind == "E" else None
        self.completed = last is not None and last.kind == "C"
        self.ended = messages[-1].time - SUBSCRIBED if messages else None

    @property
    def text(self) -> str:
        """All text that was shown."""
        return "".join(event.text for event in self.values if isinstance(event, TextDelta))

    @property
    def response(self) -> Response:
        """What the stream ended with."""
        last = self.values[-1]
        assert isinstance(last, StreamEnd)
        return last.response


def play(scheduler: TestScheduler, make: Callable[[], Observable[Any]], *, disposed: float = 100_000.0) -> Seen:
    """Subscribe at tick 200, dispose after `disposed` ticks more; times are counted from the subscription."""
    observer = scheduler.start(lambda: make(), created=100, subscribed=SUBSCRIBED, disposed=SUBSCRIBED + disposed)
    return Seen(observer.messages)
