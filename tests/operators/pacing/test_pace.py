"""Pace: `bounded`, `observe_on_ui`, `batch` and `smooth` on virtual time. Real threads are in test_pace_threads.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import Disposable
from reactivex.internal import DisposedException
from reactivex.scheduler import CurrentThreadScheduler, EventLoopScheduler, ImmediateScheduler, VirtualTimeScheduler
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxllm import operators as ops
from rxllm._core.delta_merge import merge_deltas
from rxllm.errors import ConfigurationError
from rxllm.events import (
    ReasoningDelta,
    StreamEnd,
    StreamReset,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from rxllm.messages import ToolCall

from ..kit import SUBSCRIBED, Boom, Case, OperatorContract, answer, compose, play, whole

USAGE = UsageUpdate(Usage(input_tokens=1, output_tokens=2, total_tokens=3))
CALL = ToolCall("c1", "look", {"q": 1})
MIXED: list[TokenEvent] = [
    ReasoningDelta("hm"),
    ReasoningDelta("m"),
    TextDelta("Hel"),
    TextDelta("lo"),
    ToolCallStart(0, "c1", "look"),
    ToolCallDelta(0, '{"q":'),
    ToolCallDelta(0, "1}"),
    ToolCallEnd(0, CALL),
    USAGE,
    USAGE,
    VendorEvent("citation", {"n": 1}),
    StreamEnd(whole("Hello")),
]


def given_scheduler(make: Callable[[abc.SchedulerBase], Callable[[Any], Any]]) -> Callable[[], Callable[[Any], Any]]:
    """A factory of an operator that runs on the scheduler given to subscribe()."""

    def operator(source: Observable[Any]) -> Observable[Any]:
        def subscribe(observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> Any:
            return source.pipe(make(scheduler or ImmediateScheduler())).subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return lambda: operator


def joined_lists(lists: list[list[Any]]) -> list[Any]:
    """What all batches hold."""
    return [item for items in lists for item in items]


class TestContract(OperatorContract):
    """The contract of all operators."""

    cases: ClassVar = [
        *(
            Case(
                f"bounded-{overflow}",
                given_scheduler(lambda s, o=overflow: ops.bounded(s, 64, overflow=o)),
                MIXED,
                MIXED,
                synchronous=False,
            )
            for overflow in ("block", "coalesce", "drop_oldest")
        ),
        Case("observe_on_ui", given_scheduler(ops.observe_on_ui), MIXED, MIXED, synchronous=False, view=merge_deltas),
        Case("smooth", ops.smooth, MIXED, MIXED, synchronous=False, view=merge_deltas),
        Case("smooth-rate", lambda: ops.smooth(0.5, frame=1), MIXED, MIXED, synchronous=False, view=merge_deltas),
        Case("batch-count", lambda: ops.buffer(3), MIXED, [MIXED[n : n + 3] for n in range(0, 12, 3)]),
        Case("batch-chars", lambda: ops.buffer(chars=5), ["ab", "cd", "efghi", "j"], [["ab", "cd", "efghi"], ["j"]]),
        Case("batch-seconds", lambda: ops.buffer(seconds=25), MIXED, [MIXED], synchronous=False, view=joined_lists),
    ]


class TestBounded:
    """A bounded crossing to another scheduler."""

    def test_delivers_on_the_scheduler_and_not_before_it_runs(self) -> None:
        """Nothing is delivered inside the producer's on_next."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []
        source.pipe(ops.bounded(scheduler, 2)).subscribe(seen.append)
        source.on_next(1)
        assert seen == []
        scheduler.start()
        assert seen == [1]

    def test_at_most_one_wake_up_is_pending(self) -> None:
        """However many events wait, the scheduler has one action of ours."""
        scheduler = Counting()
        source: Subject[int] = Subject()
        seen: list[int] = []
        source.pipe(ops.bounded(scheduler, 1000)).subscribe(seen.append)
        for n in range(500):
            source.on_next(n)
        source.on_completed()
        assert scheduler.scheduled == 1
        scheduler.start()
        assert list(range(500)) == seen
        assert scheduler.scheduled == 1

    def test_other_work_of_the_scheduler_has_its_turn(self) -> None:
        """A long queue is delivered in turns, not in one go."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []
        at: list[int] = []
        source.pipe(ops.bounded(scheduler, 10_000)).subscribe(seen.append)
        for n in range(5_000):
            source.on_next(n)
        scheduler.schedule(lambda *_: at.append(len(seen)))
        scheduler.start()
        assert 0 < at[0] < 5_000
        assert list(range(5_000)) == seen

    def test_coalesce_joins_what_follows_the_newest_and_loses_nothing(self) -> None:
        """At the bound deltas grow the last event; events of other kinds stay whole."""
        events = [
            TextDelta("a"),
            TextDelta("b"),
            TextDelta("c"),
            TextDelta("d"),
            ReasoningDelta("e"),
            USAGE,
            TextDelta("f"),
        ]
        assert [
            TextDelta("a"),
            TextDelta("bcd"),
            ReasoningDelta("e"),
            USAGE,
            TextDelta("f"),
        ] == delivered(events, lambda s: ops.bounded(s, 2, overflow="coalesce"))

    def test_coalesce_never_joins_two_tool_calls(self) -> None:
        """Arguments are joined by the call they belong to."""
        events = [ToolCallDelta(0, "a"), ToolCallDelta(0, "b"), ToolCallDelta(1, "c"), ToolCallDelta(1, "d")]
        assert [ToolCallDelta(0, "ab"), ToolCallDelta(1, "cd")] == delivered(
            events, lambda s: ops.bounded(s, 1, overflow="coalesce")
        )

    def test_drop_oldest_drops_text_and_nothing_else(self) -> None:
        """Text gives way; calls, usage, resets and ends do not."""
        events = [TextDelta("a"), StreamReset("again"), TextDelta("b"), *MIXED]
        kept = [event for event in events if not isinstance(event, TextDelta | ReasoningDelta)]
        assert kept == delivered(events, lambda s: ops.bounded(s, 2, overflow="drop_oldest"))

    def test_drop_oldest_keeps_the_newest(self) -> None:
        """Of plain items the last ones remain: with size 1, the latest."""
        assert delivered(range(10), lambda s: ops.bounded(s, 2, overflow="drop_oldest")) == [8, 9]
        assert delivered(range(10), lambda s: ops.bounded(s, 1, overflow="drop_oldest")) == [9]

    def test_drop_oldest_may_be_disposed_while_it_looks_for_what_to_drop(self) -> None:
        """By another thread, or by the garbage collector: the producer gets no exception."""

        class Disposing:
            @property
            def __class__(self) -> type:  # read by isinstance()
                subscription.dispose()
                return Disposing

        source: Subject[Any] = Subject()
        subscription = source.pipe(ops.bounded(TestScheduler(), 1, overflow="drop_oldest")).subscribe()
        source.on_next(Disposing())
        source.on_next(1)
        assert not source.observers

    @pytest.mark.parametrize("size", [1, 2, 64])
    def test_a_producer_on_the_schedulers_own_thread_does_not_wait_for_itself(self, size: int) -> None:
        """Everything arrives, in order, though one thread does both."""

        def push(observer: abc.ObserverBase[int], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            for n in range(1000):
                observer.on_next(n)
            observer.on_completed()
            return Disposable()

        seen: list[int] = []
        ended: list[bool] = []
        Observable[int](push).pipe(ops.bounded(CurrentThreadScheduler.singleton(), size)).subscribe(
            seen.append, on_completed=lambda: ended.append(True)
        )
        assert list(range(1000)) == seen
        assert ended == [True]

    def test_on_the_schedulers_own_thread_no_more_than_the_bound_waits(self) -> None:
        """Once the thread is known, the producer delivers what waits before it goes on."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []
        source.pipe(ops.bounded(scheduler, 2)).subscribe(seen.append)
        source.on_next(0)
        scheduler.start()
        for n in range(1, 6):
            source.on_next(n)
        assert seen == [0, 1, 2, 3, 4]
        scheduler.start()
        assert seen == [0, 1, 2, 3, 4, 5]

    def test_a_subscriber_may_push_from_inside_on_next(self) -> None:
        """What is pushed meanwhile comes after what waits, also where the queue is full."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []

        def on_next(n: int) -> None:
            seen.append(n)
            if n < 100:
                for more in range(3):
                    source.on_next(n * 3 + more + 1)

        source.pipe(ops.bounded(scheduler, 2)).subscribe(on_next)
        source.on_next(0)
        scheduler.start()
        assert list(range(len(seen))) == seen

    def test_a_subscriber_that_raises_is_the_schedulers_to_report(self) -> None:
        """The exception surfaces there, the upstream is let go, nothing more is delivered."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []
        errors: list[Exception] = []

        def on_next(n: int) -> None:
            seen.append(n)
            raise Boom

        source.pipe(ops.bounded(scheduler, 4)).subscribe(on_next, errors.append)
        source.on_next(1)
        source.on_next(2)
        with pytest.raises(Boom):
            scheduler.start()
        assert seen == [1]
        assert errors == []
        assert source.observers == []

    @pytest.mark.parametrize("arguments", [{"size": 0}, {"overflow": "explode"}])
    def test_refuses_what_makes_no_sense(self, arguments: dict[str, Any]) -> None:
        """At once, with the value in the message."""
        with pytest.raises(ConfigurationError, match=r"0|explode"):
            ops.bounded(VirtualTimeScheduler(), **arguments)

    @given(st.lists(st.sampled_from(MIXED)), st.integers(1, 5))
    def test_coalescing_loses_nothing_whatever_comes(self, events: list[TokenEvent], size: int) -> None:
        """The events delivered, joined as far as they go, are those that came, joined as far as they go."""
        assert merge_deltas(events) == merge_deltas(
            delivered(events, lambda s: ops.bounded(s, size, overflow="coalesce"))
        )


class TestObserveOnUi:
    """Frames on a user interface's scheduler."""

    def test_the_first_event_comes_at_once_and_then_a_frame_brings_all(self) -> None:
        """Deltas since the last frame are one event."""
        run = play(given_scheduler(lambda s: ops.observe_on_ui(s, frame=25))(), answer("a", "b", "c", "d"))
        assert [TextDelta("a"), TextDelta("bc"), TextDelta("d"), *answer("a", "b", "c", "d")[-1:]] == run.values
        assert run.times == [210, 235, 260, 260]

    def test_completion_does_not_wait_for_the_frame(self) -> None:
        """It comes at once, with what is before it."""
        run = play(given_scheduler(lambda s: ops.observe_on_ui(s, frame=1000))(), answer("a", "b", "c"))
        assert [TextDelta("a"), TextDelta("bc"), StreamEnd(whole("a", "b", "c"))] == run.values
        assert run.times == [210, 250, 250]
        assert run.messages[-1].time == 250

    def test_an_error_does_not_wait_either(self) -> None:
        """It comes at once, with what is before it."""
        boom = Boom()
        run = play(
            given_scheduler(lambda s: ops.observe_on_ui(s, frame=1000))(), [TextDelta("a"), TextDelta("b")], error=boom
        )
        assert [TextDelta("a"), TextDelta("b")] == run.values
        assert boom is run.error
        assert run.messages[-1].time == 230

    def test_only_neighbours_of_a_kind_are_joined(self) -> None:
        """Order is kept; calls, usage and vendor events are themselves."""
        assert merge_deltas(MIXED) == delivered(MIXED, ops.observe_on_ui)

    def test_items_that_are_no_events_come_one_by_one(self) -> None:
        """Plain strings are not joined: nobody knows whether they are pieces of one text."""
        assert delivered(["a", "b"], ops.observe_on_ui) == ["a", "b"]

    def test_one_wake_up_a_frame(self) -> None:
        """However many events come, the scheduler is asked once a frame."""
        scheduler = Counting()
        source: Subject[TokenEvent] = Subject()
        seen: list[TokenEvent] = []
        source.pipe(ops.observe_on_ui(scheduler, frame=10)).subscribe(seen.append)
        for _ in range(3):
            for _ in range(5_000):
                source.on_next(TextDelta("x"))
            scheduler.advance_by(10)
        assert scheduler.scheduled == 3
        assert [TextDelta("x" * 5_000)] * 3 == seen

    def test_what_waits_for_a_ui_that_hangs_is_joined(self) -> None:
        """A hundred thousand deltas wait in a queue of a thousand."""
        scheduler = VirtualTimeScheduler()
        hop = Subject[TokenEvent]()
        seen: list[TokenEvent] = []
        hop.pipe(ops.observe_on_ui(scheduler)).subscribe(seen.append)
        for n in range(100_000):
            hop.on_next(TextDelta(str(n % 10)))
        scheduler.start()
        assert [TextDelta("0123456789" * 10_000)] == seen

    def test_a_ui_that_runs_a_loop_of_its_own_inside_on_next_keeps_the_order(self) -> None:
        """A modal dialog: deliveries wait until on_next returns, nothing overtakes."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[tuple[str, int]] = []

        def on_next(n: int) -> None:
            seen.append(("in", n))
            if n == 1:
                source.on_next(3)
                scheduler.stop()
                scheduler.start()
            seen.append(("out", n))

        source.pipe(ops.observe_on_ui(scheduler)).subscribe(on_next)
        source.on_next(1)
        source.on_next(2)
        scheduler.start()
        scheduler.start()  # the inner one has stopped the clock
        assert seen == [("in", 1), ("out", 1), ("in", 2), ("out", 2), ("in", 3), ("out", 3)]

    def test_dispose_from_inside_on_next_stops_the_rest_of_the_frame(self) -> None:
        """Nothing is delivered after dispose() has returned on the thread that delivers."""
        scheduler = VirtualTimeScheduler()
        source: Subject[int] = Subject()
        seen: list[int] = []
        source.pipe(ops.observe_on_ui(scheduler), rx.take(2)).subscribe(seen.append)
        for n in range(5):
            source.on_next(n)
        scheduler.start()
        assert seen == [0, 1]
        assert source.observers == []

    def test_refuses_a_frame_of_no_time(self) -> None:
        """At once."""
        with pytest.raises(ConfigurationError, match="frame"):
            ops.observe_on_ui(VirtualTimeScheduler(), frame=0)


class TestBatch:
    """Lists by count, by size, by time."""

    def test_by_count(self) -> None:
        """Each list is emitted when its last item comes; the rest at the end."""
        run = play(ops.buffer(2), "abcde")
        assert run.values == [["a", "b"], ["c", "d"], ["e"]]
        assert run.times == [220, 240, 260]

    def test_by_characters(self) -> None:
        """Text, reasoning and arguments count; a list closes as soon as there are enough."""
        events = [
            TextDelta("ab"),
            ReasoningDelta("cd"),
            ToolCallDelta(0, "ef"),
            USAGE,
            TextDelta("ghijkl"),
            TextDelta("m"),
        ]
        run = play(ops.buffer(chars=5), events)
        assert [events[:3], events[3:5], events[5:]] == run.values

    def test_by_time(self) -> None:
        """The time runs from the first item of a list."""
        run = play(ops.buffer(seconds=25), "abcde")
        assert run.values == [["a", "b", "c"], ["d", "e"]]
        assert run.times == [235, 260]

    def test_the_timer_of_a_list_that_filled_up_does_not_cut_the_next_short(self) -> None:
        """It looks again when the next list is due."""
        notes = [ReactiveTest.on_next(210, "a"), ReactiveTest.on_next(220, "b"), ReactiveTest.on_next(230, "c")]
        scheduler = TestScheduler()
        source = scheduler.create_hot_observable([*notes, ReactiveTest.on_completed(400)])
        messages = scheduler.start(lambda: source.pipe(ops.buffer(2, seconds=25))).messages
        assert [(message.time, getattr(message.value, "value", None)) for message in messages] == [
            (220, ["a", "b"]),
            (255, ["c"]),
            (400, None),
        ]

    def test_one_timer_is_pending_however_many_items_come(self) -> None:
        """A timer per list at most, and none per item."""
        scheduler = Counting()
        source: Subject[int] = Subject()
        seen: list[list[int]] = []
        source.pipe(ops.buffer(10, seconds=1, scheduler=scheduler)).subscribe(seen.append)
        for n in range(1000):
            source.on_next(n)
        assert len(seen) == 100
        assert scheduler.scheduled == 1

    def test_what_has_gathered_comes_before_an_error(self) -> None:
        """Nothing that came is kept back."""
        boom = Boom()
        run = play(ops.buffer(10, seconds=1000), "abc", error=boom)
        assert run.values == [["a", "b", "c"]]
        assert boom is run.error

    @pytest.mark.parametrize("arguments", [{}, {"count": 0}, {"seconds": -1}, {"chars": 0}])
    def test_refuses_what_makes_no_sense(self, arguments: dict[str, Any]) -> None:
        """No limit at all, or one that is never or always reached."""
        with pytest.raises(ConfigurationError, match="buffer"):
            ops.buffer(**arguments)

    @given(st.lists(st.text(max_size=5)), st.integers(1, 5), st.integers(1, 9), st.integers(1, 50))
    def test_loses_nothing_and_keeps_every_limit(self, items: list[str], count: int, chars: int, seconds: int) -> None:
        """The lists joined are the items, in order; no list is empty or goes on past a limit."""
        run = play(ops.buffer(count, chars=chars, seconds=seconds), items)
        assert items == joined_lists(run.values)
        assert all(1 <= len(values) <= count for values in run.values)
        assert all(len("".join(values[:-1])) < chars for values in run.values)

    def test_a_timer_that_cannot_be_set_is_an_error(self) -> None:
        """What had come is emitted before; the source is disposed."""
        scheduler = EventLoopScheduler()
        scheduler.dispose()
        source = Subject[TokenEvent]()
        lists: list[list[TokenEvent]] = []
        errors: list[Exception] = []
        source.pipe(ops.buffer(seconds=1, scheduler=scheduler)).subscribe(lists.append, errors.append)
        source.on_next(TextDelta("a"))
        assert lists == [[TextDelta("a")]]
        assert [type(error) for error in errors] == [DisposedException]
        assert not source.observers


class TestSmooth:
    """Even pace."""

    def test_a_burst_comes_at_the_rate(self) -> None:
        """Ten characters at one a second take ten frames of a second."""
        run = play(compose(ops.smooth(1, frame=1, catch_up=100), rx.take(4)), [TextDelta("abcdefghij")])
        assert [TextDelta("a"), TextDelta("b"), TextDelta("c"), TextDelta("d")] == run.values
        assert run.times == [210, 211, 212, 213]

    def test_what_has_not_been_shown_comes_at_completion(self) -> None:
        """The end flushes."""
        run = play(ops.smooth(1, frame=4, catch_up=1000), [TextDelta("abcdefghijklmnopqrstuvwxyz")])
        assert "".join(delta.text for delta in run.values) == "abcdefghijklmnopqrstuvwxyz"
        assert run.messages[-1].time == 220
        assert len(run.values) > 2

    def test_the_end_of_the_answer_flushes_before_completion(self) -> None:
        """`StreamEnd` shows that all has come."""
        scheduler = VirtualTimeScheduler()
        source: Subject[TokenEvent] = Subject()
        seen: list[TokenEvent] = []
        source.pipe(ops.smooth(1, frame=1, catch_up=100, scheduler=scheduler)).subscribe(seen.append)
        for event in answer("abcdef"):
            source.on_next(event)
        scheduler.start()
        assert answer("abcdef") == seen

    def test_catches_up_when_behind(self) -> None:
        """The more waits, the faster it goes: half of what waits in half of `catch_up`."""
        run = play(compose(ops.smooth(1, frame=1, catch_up=10), rx.take(3)), [TextDelta("x" * 100)])
        assert [len(delta.text) for delta in run.values] == [10, 9, 8]

    def test_a_slow_rate_is_kept_below_a_character_a_frame(self) -> None:
        """Characters wait for their time, over several frames."""
        run = play(compose(ops.smooth(0.25, frame=1, catch_up=1000), rx.take(2)), [TextDelta("abc")])
        assert [TextDelta("a"), TextDelta("b")] == run.values
        assert run.times[1] - run.times[0] == 4

    def test_other_events_keep_their_place_and_take_no_time(self) -> None:
        """Usage comes with the text before it."""
        scheduler = VirtualTimeScheduler()
        source: Subject[TokenEvent] = Subject()
        seen: list[tuple[float, TokenEvent]] = []
        source.pipe(ops.smooth(1, frame=1, catch_up=100, scheduler=scheduler)).subscribe(
            lambda event: seen.append((scheduler.clock, event))
        )
        for event in (TextDelta("ab"), USAGE, ReasoningDelta("c"), VendorEvent("v", {})):
            source.on_next(event)
        scheduler.start()
        assert [
            (0, TextDelta("a")),
            (1, TextDelta("b")),
            (1, USAGE),
            (2, ReasoningDelta("c")),
            (2, VendorEvent("v", {})),
        ] == seen

    def test_time_without_text_is_not_saved_up(self) -> None:
        """After a pause the pace is the same as before."""
        run = play(ops.smooth(0.2, frame=1, catch_up=1000), [TextDelta("a"), USAGE, USAGE, TextDelta("bcd")])
        shown = [len(event.text) for event in run.values if isinstance(event, TextDelta)]
        assert shown[:2] == [1, 1]

    def test_strings_are_smoothed_too(self) -> None:
        """After `text()`, say."""
        run = play(compose(ops.smooth(1, frame=1, catch_up=100), rx.take(3)), ["abc"])
        assert run.values == ["a", "b", "c"]

    @pytest.mark.parametrize("arguments", [{"chars_per_second": 0}, {"frame": 0}, {"catch_up": -1}])
    def test_refuses_what_makes_no_sense(self, arguments: dict[str, Any]) -> None:
        """At once, naming the argument."""
        with pytest.raises(ConfigurationError, match=next(iter(arguments))):
            ops.smooth(**arguments)

    @given(st.lists(st.one_of(st.text(min_size=1, max_size=30).map(TextDelta), st.just(USAGE))), st.floats(0.01, 100))
    def test_loses_nothing_and_keeps_the_order(self, events: list[TokenEvent], rate: float) -> None:
        """Whatever the pace, the same text comes out, with the same things between."""
        run = play(ops.smooth(rate, frame=3, catch_up=20), events)
        assert merge_deltas(events) == merge_deltas(run.values)


class Counting(VirtualTimeScheduler):
    """Virtual time that counts what is scheduled."""

    scheduled = 0

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        self.scheduled += 1
        return super().schedule_absolute(duetime, action, state)


def delivered(events: Any, make: Callable[[abc.SchedulerBase], Callable[[Any], Any]]) -> list[Any]:
    """What comes of `events` that all come before the scheduler runs, and then the end."""
    scheduler = VirtualTimeScheduler()
    source: Subject[Any] = Subject()
    seen: list[Any] = []
    ended: list[bool] = []
    source.pipe(make(scheduler)).subscribe(seen.append, on_completed=lambda: ended.append(True))
    for event in events:
        source.on_next(event)
    source.on_completed()
    scheduler.start()
    assert ended == [True]
    assert scheduler.clock < SUBSCRIBED
    return seen
