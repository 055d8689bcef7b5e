"""Pace on real threads: completeness, order, memory, and nobody left waiting."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import reactivex
from reactivex import abc
from reactivex import operators as rx
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler, ThreadPoolScheduler
from reactivex.subject import Subject

from rxllm import operators as ops
from rxllm._core.delta_merge import merge_deltas
from rxllm.errors import OverloadedError
from rxllm.events import StreamEnd, TextDelta, UsageUpdate

from ..kit import Boom, whole
from ..threads import LIMIT, Producer, Seen

MANY = 100_000


@pytest.fixture
def loop() -> Iterator[EventLoopScheduler]:
    """A scheduler with one thread, as a user interface has."""
    scheduler = EventLoopScheduler()
    yield scheduler
    scheduler.dispose()


CROSSINGS: dict[str, Callable[[abc.SchedulerBase], Callable[[Any], Any]]] = {
    "block": lambda scheduler: ops.bounded(scheduler, 64),
    "block-1": lambda scheduler: ops.bounded(scheduler, 1),
    "coalesce": lambda scheduler: ops.bounded(scheduler, 64, overflow="coalesce"),
    "ui": lambda scheduler: ops.observe_on_ui(scheduler, frame=0.001),
}


class TestCrossings:
    """`bounded` and `observe_on_ui`, from a producer's thread to a scheduler's."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", CROSSINGS)
    def test_all_arrives_in_order_on_the_one_thread(self, loop: EventLoopScheduler, name: str) -> None:
        """A hundred thousand deltas with usage between them, none lost, none twice, none out of place."""
        events = [UsageUpdate(whole().usage) if n % 1000 == 0 else TextDelta(f"{n} ") for n in range(MANY)]
        seen = Seen()
        seen.subscribe(Producer([*events, StreamEnd(whole("x"))]).observable.pipe(CROSSINGS[name](loop)))
        seen.wait()
        assert seen.completed
        assert [*merge_deltas(events), StreamEnd(whole("x"))] == merge_deltas(seen.values)
        assert len(seen.threads) == 1

    @pytest.mark.parametrize("name", CROSSINGS)
    @pytest.mark.parametrize("kind", [NewThreadScheduler, lambda: ThreadPoolScheduler(2)], ids=["new-thread", "pool"])
    def test_on_a_scheduler_of_many_threads_events_come_one_at_a_time(self, kind: Any, name: str) -> None:
        """No two threads deliver at once, whatever the scheduler."""
        scheduler = kind()
        inside = threading.Lock()
        overlaps: list[Any] = []

        def on_next(event: Any) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(event)
                return
            inside.release()

        events = [TextDelta(f"{n} ") for n in range(5_000)]
        seen = Seen(on_next)
        seen.subscribe(Producer(events).observable.pipe(CROSSINGS[name](scheduler)))
        seen.wait()
        if isinstance(scheduler, ThreadPoolScheduler):
            scheduler.executor.shutdown()
        assert overlaps == []
        assert merge_deltas(events) == merge_deltas(seen.values)

    @pytest.mark.parametrize("name", CROSSINGS)
    def test_an_error_comes_after_what_was_before_it(self, loop: EventLoopScheduler, name: str) -> None:
        """Text that arrived is not lost to an error."""
        boom = Boom()
        seen = Seen()
        producer = Producer([TextDelta("x")] * 1000, then=lambda observer: observer.on_error(boom))
        seen.subscribe(producer.observable.pipe(CROSSINGS[name](loop)))
        seen.wait()
        assert boom is seen.error
        assert "".join(event.text for event in seen.values) == "x" * 1000

    @pytest.mark.parametrize("name", CROSSINGS)
    def test_a_subscriber_may_dispose_from_inside_on_next(self, loop: EventLoopScheduler, name: str) -> None:
        """The producer stops, and nothing more is delivered."""
        producer = Producer(iter(lambda: TextDelta("x"), None))
        seen = Seen()
        seen.subscribe(producer.observable.pipe(CROSSINGS[name](loop), rx.take(3)))
        seen.wait()
        assert producer.finished.wait(LIMIT)
        assert len(seen.values) == 3

    @pytest.mark.parametrize("name", CROSSINGS)
    def test_a_subscriber_that_raises_stops_the_producer(self, name: str) -> None:
        """The exception surfaces on the scheduler's thread; the producer is let go."""
        raised: list[type[BaseException] | None] = []
        surfaced = threading.Event()

        def hook(args: threading.ExceptHookArgs) -> None:
            raised.append(args.exc_type)
            surfaced.set()

        def raising(event: Any) -> None:
            raise Boom

        previous, threading.excepthook = threading.excepthook, hook
        try:
            producer = Producer(iter(lambda: TextDelta("x"), None))
            seen = Seen(raising)
            seen.subscribe(producer.observable.pipe(CROSSINGS[name](EventLoopScheduler())))
            assert producer.finished.wait(LIMIT)
            assert surfaced.wait(LIMIT)
        finally:
            threading.excepthook = previous
        assert raised == [Boom]
        assert len(seen.values) == 1
        assert seen.error is None


class TestBlocking:
    """`bounded(overflow="block")`: reading follows the subscriber."""

    def test_a_slow_subscriber_holds_the_producer_at_the_bound(self, loop: EventLoopScheduler) -> None:
        """While the subscriber is busy, the producer gets no further than the queue has room for."""
        arrived, go_on, blocked = threading.Event(), threading.Event(), threading.Event()

        def hold(value: int) -> None:
            if value == 0:
                arrived.set()
                assert go_on.wait(LIMIT)

        def numbers() -> Iterator[int]:
            yield 0
            assert arrived.wait(LIMIT)
            for n in range(1, 500):
                if n == 9:
                    blocked.set()  # the queue is full: passing this on will have to wait
                yield n

        producer = Producer(numbers())
        seen = Seen(hold)
        seen.subscribe(producer.observable.pipe(ops.bounded(loop, 8)))
        assert blocked.wait(LIMIT)
        assert not producer.finished.wait(0.05)
        assert producer.produced == 9
        go_on.set()
        seen.wait()
        assert list(range(500)) == seen.values

    def test_disposing_lets_a_waiting_producer_go(self, loop: EventLoopScheduler) -> None:
        """From another thread, while the subscriber is still inside on_next."""
        arrived, go_on = threading.Event(), threading.Event()

        def hold(value: int) -> None:
            arrived.set()
            assert go_on.wait(LIMIT)

        producer = Producer(iter(int, 1))
        seen = Seen(hold)
        subscription = seen.subscribe(producer.observable.pipe(ops.bounded(loop, 2)))
        assert arrived.wait(LIMIT)
        subscription.dispose()
        assert producer.finished.wait(LIMIT)
        go_on.set()
        assert seen.values == [0]

    @pytest.mark.slow
    def test_memory_is_flat_over_a_long_stream(self, loop: EventLoopScheduler) -> None:
        """200,000 deltas through a queue of 64 to a slower subscriber hold no more than a few hundred at any time."""
        count = 0
        ended = threading.Event()

        def slowly(event: TextDelta) -> None:
            nonlocal count
            count += 1
            sum(range(50))

        source = Producer(TextDelta(f"{n:08d}") for n in range(200_000)).observable.pipe(ops.bounded(loop, 64))
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            source.subscribe(slowly, on_completed=ended.set)
            assert ended.wait(LIMIT)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert count > 64
        # All of them at once would be more than 20 MB. Before the scheduler's first run deltas are joined.
        assert peak < 3_000_000, f"{peak:,} bytes"


class TestTimers:
    """`batch` and `smooth` by the clock, on their own thread."""

    def test_batches_lose_nothing_between_the_timer_and_the_producer(self) -> None:
        """Both emit, one at a time."""
        inside = threading.Lock()
        overlaps: list[Any] = []

        def on_next(items: list[int]) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(items)
                return
            inside.release()

        seen = Seen(on_next)
        seen.subscribe(Producer(range(MANY)).observable.pipe(ops.buffer(7, seconds=0.0001)))
        seen.wait()
        assert list(range(MANY)) == [item for items in seen.values for item in items]
        assert overlaps == []

    def test_a_batch_comes_by_the_clock_though_the_producer_is_silent(self) -> None:
        """The producer waits for the batch that only the timer can bring."""
        came = threading.Event()

        def items() -> Iterator[int]:
            yield 1
            assert came.wait(LIMIT)

        seen = Seen(lambda _: came.set())
        seen.subscribe(Producer(items()).observable.pipe(ops.buffer(seconds=0.001)))
        seen.wait()
        assert seen.values == [[1]]

    def test_smoothed_text_comes_by_the_clock_though_the_producer_is_silent(self) -> None:
        """The producer waits until all it sent has been shown."""
        shown: list[str] = []
        done = threading.Event()

        def items() -> Iterator[TextDelta]:
            yield TextDelta("x" * 300)
            assert done.wait(LIMIT)

        def on_next(delta: TextDelta) -> None:
            shown.append(delta.text)
            if sum(map(len, shown)) == 300:
                done.set()

        seen = Seen(on_next)
        seen.subscribe(Producer(items()).observable.pipe(ops.smooth(frame=0.001, catch_up=0.5)))
        seen.wait()
        assert len(shown) > 1

    @pytest.mark.parametrize(
        "operator", [lambda: ops.smooth(frame=0.0001), lambda: ops.buffer(seconds=0.0001)], ids=["smooth", "batch"]
    )
    def test_timers_reuse_threads_which_end_when_idle(self, operator: Any) -> None:
        """Also where each delta comes long after the one before it has been shown: no thread for each."""
        before = set(threading.enumerate())
        shown = threading.Semaphore(0)

        def items() -> Iterator[TextDelta]:
            for _ in range(20):
                yield TextDelta("x")
                assert shown.acquire(timeout=LIMIT)

        seen = Seen(lambda _: shown.release())
        seen.subscribe(Producer(items()).observable.pipe(operator()))
        seen.wait()
        assert len(seen.values) == 20
        assert len(seen.threads) < 10
        for thread in set(threading.enumerate()) - before:
            thread.join(LIMIT)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    "operator", [ops.buffer(seconds=0.02), ops.smooth(frame=0.01, catch_up=0.02)], ids=["buffer", "smooth"]
)
def test_a_clock_that_is_set_back_changes_nothing(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers run by the monotonic clock: with the system's, what waits would come an hour late."""
    source: Subject[str] = Subject()
    came = threading.Event()
    subscription = source.pipe(operator).subscribe(lambda item: came.set() if "c" in item else None)
    source.on_next("a")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr("reactivex.scheduler.scheduler.default_now", lambda: hour_ago)
    source.on_next("b")
    source.on_next("c")
    assert came.wait(LIMIT)
    subscription.dispose()


def test_a_breaker_cools_down_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's clock is set back as it opens."""
    breaker = ops.CircuitBreaker(failure_threshold=1, cooldown=0.5)
    half_open = threading.Event()
    breaker.state.subscribe(lambda state: half_open.set() if state == "half_open" else None)
    reactivex.throw(OverloadedError("busy")).pipe(breaker).subscribe(on_error=lambda _: None)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr("reactivex.scheduler.scheduler.default_now", lambda: hour_ago)
    assert half_open.wait(LIMIT)
