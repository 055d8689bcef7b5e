"""One contract for all operators, on virtual time, and what their tests share.

A family's test file lists a `Case` for each of its operators and inherits `OperatorContract`::

    CASES = [Case("text", lambda: ops.text(), [TextDelta("a"), StreamEnd(...)], ["a"])]

    class TestContract(OperatorContract):
        cases = CASES

The upstream emits `Case.events` 10 ticks apart, beginning at tick 210, and then completes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.hotobservable import HotObservable
from reactivex.testing.recorded import Recorded

from rxllm.events import Response, StreamEnd, TextDelta, TokenEvent
from rxllm.messages import TextPart

SUBSCRIBED = 200
STEP = 10
LATE = 100_000
"""A tick by which everything has ended."""


@dataclass(frozen=True)
class Case:
    """An operator, what goes in, and what comes out of it."""

    name: str
    operator: Callable[[], Callable[[Observable[Any]], Observable[Any]]]
    events: Sequence[Any]
    values: Sequence[Any]
    empty: Sequence[Any] | type[Exception] = ()
    """What comes out of an upstream that completes at once: values and completion, or an error."""
    synchronous: bool = True
    """Values are emitted inside the upstream's on_next, never later by a scheduler."""
    view: Callable[[list[Any]], object] = field(default=list)
    """What is compared of the values: joined text, say, where pace may cut it differently."""

    def __str__(self) -> str:
        return self.name


class OperatorContract:
    """What every operator promises. Inherit it in a test class and set `cases`."""

    cases: ClassVar[Sequence[Case]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)

    def test_gives_its_values_in_order_and_completes(self, case: Case) -> None:
        """The values are those expected, and then comes on_completed, once."""
        run = play(case.operator(), case.events)
        assert case.view(list(case.values)) == case.view(run.values)
        assert run.completed
        assert run.error is None

    def test_an_empty_upstream(self, case: Case) -> None:
        """An upstream that completes at once ends this stream at once, as the case says."""
        run = play(case.operator(), [])
        if isinstance(case.empty, type):
            assert isinstance(run.error, case.empty)
            assert run.values == []
        else:
            assert case.view(list(case.empty)) == case.view(run.values)
            assert run.completed

    def test_an_upstream_error_arrives_once_and_last(self, case: Case) -> None:
        """The upstream's own error is the last notification, and the upstream is let go."""
        boom = Boom()
        run = play(case.operator(), case.events[:-1], error=boom)
        assert boom is run.error
        assert not run.completed
        assert run.upstream_closed_at is not None

    def test_dispose_ends_everything_at_once(self, case: Case) -> None:
        """Disposed at any moment, nothing comes after, and the upstream is disposed at that moment."""
        for count in range(len(case.events)):
            disposed = SUBSCRIBED + count * STEP + STEP // 2
            run = play(case.operator(), case.events, disposed=disposed)
            assert disposed == run.upstream_closed_at
            assert all(message.time <= disposed for message in run.messages)

    def test_a_subscriber_may_dispose_from_inside_on_next(self, case: Case) -> None:
        """take(1) gets its one value, and lets the upstream go."""
        run = play(compose(case.operator(), rx.take(1)), case.events)
        assert min(1, len(case.values)) == len(run.values)
        assert run.completed
        assert run.upstream_closed_at is not None

    def test_a_subscriber_may_push_from_inside_on_next(self, case: Case) -> None:
        """Events that a subscriber causes from inside its own on_next come out in order, none lost, none twice."""
        if not case.synchronous:
            pytest.skip("this operator emits on a scheduler: nothing is inside the upstream's on_next")
        source: Subject[Any] = Subject()
        waiting = iter(case.events)
        values: list[Any] = []
        ended: list[None] = []

        def on_next(value: Any) -> None:
            values.append(value)
            push_next()

        def push_next() -> None:
            for event in waiting:
                source.on_next(event)

        source.pipe(case.operator()).subscribe(on_next, on_completed=lambda: ended.append(None))
        push_next()
        source.on_completed()
        assert case.view(list(case.values)) == case.view(values)
        assert ended == [None]

    def test_a_slow_subscriber_misses_nothing(self, case: Case) -> None:
        """A subscriber that takes longer than the upstream's gap gets every value, in order."""
        run = play(case.operator(), case.events, slow=7 * STEP)
        assert case.view(list(case.values)) == case.view(run.values)
        assert run.completed

    def test_subscriptions_share_no_state(self, case: Case) -> None:
        """Two subscriptions to one pipeline, interleaved, each get everything."""
        source: Subject[Any] = Subject()
        scheduler = TestScheduler()
        pipeline = source.pipe(case.operator())
        seen: tuple[list[Any], list[Any]] = ([], [])
        for values in seen:
            pipeline.subscribe(values.append, scheduler=scheduler)
        for event in case.events:
            source.on_next(event)
        source.on_completed()
        scheduler.start()
        assert [case.view(list(case.values))] * 2 == [case.view(values) for values in seen]

    def test_a_subscriber_that_raises_is_not_hidden(self, case: Case) -> None:
        """A subscriber's own exception goes up to the producer, and not to on_error."""
        if not case.synchronous:
            pytest.skip("this operator emits on a scheduler: the exception surfaces there")
        source: Subject[Any] = Subject()
        errors: list[Exception] = []

        def raising(value: Any) -> None:
            raise Boom

        source.pipe(case.operator()).subscribe(raising, errors.append)
        if case.values:
            with pytest.raises(Boom):
                _push(source, case.events)
        assert errors == []


class Boom(Exception):
    """An error that only tests raise."""


@dataclass(frozen=True)
class Run:
    """What an observer saw, and when the upstream was let go."""

    messages: list[Recorded[Any]]
    upstream_closed_at: float | None

    @property
    def values(self) -> list[Any]:
        return [message.value.value for message in self.messages if message.value.kind == "N"]

    @property
    def times(self) -> list[float]:
        return [message.time for message in self.messages if message.value.kind == "N"]

    @property
    def completed(self) -> bool:
        return [message.value.kind for message in self.messages if message.value.kind != "N"] == ["C"]

    @property
    def error(self) -> Exception | None:
        last = self.messages[-1].value if self.messages else None
        return last.exception if last is not None and last.kind == "E" else None


def play(
    operator: Callable[[Observable[Any]], Observable[Any]],
    events: Iterable[Any],
    *,
    error: Exception | None = None,
    disposed: float = LATE,
    slow: float = 0,
) -> Run:
    """Run `events` through `operator` on virtual time; `slow` ticks pass in each on_next."""
    scheduler = TestScheduler()
    source = upstream(scheduler, events, error)

    def pipeline(_: abc.SchedulerBase | None = None) -> Observable[Any]:
        piped = source.pipe(operator)
        return piped.pipe(rx.do_action(lambda _: scheduler.sleep(slow))) if slow else piped

    messages = scheduler.start(pipeline, created=100, subscribed=SUBSCRIBED, disposed=disposed).messages
    closed = source.subscriptions[-1].unsubscribe if source.subscriptions else SUBSCRIBED
    return Run(messages, None if closed > LATE else closed)


def upstream(scheduler: TestScheduler, events: Iterable[Any], error: Exception | None = None) -> HotObservable[Any]:
    """A hot Observable of `events`, 10 ticks apart from 210 on, then completion or `error`."""
    notes = [ReactiveTest.on_next(SUBSCRIBED + (n + 1) * STEP, event) for n, event in enumerate(events)]
    end = SUBSCRIBED + (len(notes) + 1) * STEP
    last = ReactiveTest.on_completed(end) if error is None else ReactiveTest.on_error(end, error)
    return scheduler.create_hot_observable([*notes, last])


def compose(*operators: Callable[[Any], Any]) -> Callable[[Observable[Any]], Observable[Any]]:
    """Operators as one operator."""

    def composed(source: Observable[Any]) -> Observable[Any]:
        return source.pipe(*operators)

    return composed


def answer(*pieces: str, reason: str = "stop") -> list[TokenEvent]:
    """The events of a plain answer that comes in `pieces`."""
    return [*map(TextDelta, pieces), StreamEnd(whole(*pieces, reason=reason))]


def whole(*pieces: str, reason: str = "stop") -> Response:
    """The response of a plain answer that came in `pieces`."""
    text = "".join(pieces)
    return Response(text=text, finish_reason=reason, parts=(TextPart(text),) if text else ())  # type: ignore[arg-type]  # a test's own word


@st.composite
def cuts(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> tuple[str, ...]:
    """A text of `texts`, cut into pieces anywhere; the pieces joined are the text."""
    text = draw(texts)
    borders = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=12)))
    return tuple(_cut(text, [border for border in borders if border < len(text)]))


def _cut(text: str, borders: Sequence[int]) -> Iterator[str]:
    for start, end in zip([0, *borders], [*borders, len(text)], strict=True):
        yield text[start:end]


def _push(source: Subject[Any], events: Iterable[Any]) -> None:
    for event in events:
        source.on_next(event)
    source.on_completed()
