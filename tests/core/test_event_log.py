"""The append log: ids, reading from anywhere, endings, and readers on many threads."""

from __future__ import annotations

import threading
import tracemalloc
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx

from rxllm._core.delta_merge import merge_deltas
from rxllm._core.event_log import Entry, MemoryLog
from rxllm.errors import StreamInterruptedError
from rxllm.events import ReasoningDelta, TextDelta, TokenEvent, ToolCallDelta, Usage, UsageUpdate

from ..operators.kit import Boom
from ..operators.threads import LIMIT, Seen

USAGE = UsageUpdate(Usage(output_tokens=1))
EVENTS = st.lists(
    st.one_of(
        st.text(max_size=4).map(TextDelta),
        st.text(max_size=4).map(ReasoningDelta),
        st.builds(ToolCallDelta, st.integers(0, 1), st.text(max_size=3)),
        st.just(USAGE),
    ),
    max_size=40,
)


def reading(log: MemoryLog[Any], after: int = 0) -> Seen:
    """A reader of `log`."""
    seen = Seen()
    seen.subscribe(log.read(after))
    return seen


def events_in(seen: Seen) -> list[Any]:
    """The events that a reader saw."""
    return [entry.event for entry in seen.values]


class TestReading:
    """What a reader gets."""

    def test_ids_count_up_from_one(self) -> None:
        """Each event has its own, and a reader sees it."""
        log = MemoryLog[str]()
        seen = reading(log)
        assert [log.append("a"), log.append("b")] == [1, 2]
        assert [Entry(1, "a"), Entry(2, "b")] == seen.values

    def test_a_late_reader_gets_the_past_joined_and_then_goes_along(self) -> None:
        """Deltas of a kind are one event, with the id of the last."""
        log = MemoryLog[TokenEvent]()
        for event in (TextDelta("a"), TextDelta("b"), USAGE, TextDelta("c"), TextDelta("d")):
            log.append(event)
        seen = reading(log)
        log.append(TextDelta("e"))
        assert [
            Entry(2, TextDelta("ab")),
            Entry(3, USAGE),
            Entry(5, TextDelta("cd")),
            Entry(6, TextDelta("e")),
        ] == seen.values

    @given(EVENTS, st.integers(0, 3))
    def test_reading_may_begin_after_any_id(self, events: list[TokenEvent], packed: int) -> None:
        """Whatever the id, and however much of the log has been packed, the rest is the rest."""
        log = MemoryLog[TokenEvent]()
        everything = [*[TextDelta("x")] * (packed * 130), *events]
        for event in everything:
            log.append(event)
        for after in {*range(len(everything) - len(events), len(everything) + 1), *range(0, len(everything) + 1, 50)}:
            assert merge_deltas(everything[after:]) == events_in(reading(log, after))

    def test_a_reader_that_was_cut_off_goes_on_where_it_was(self) -> None:
        """Twenty times: nothing is missed, nothing comes twice."""
        log = MemoryLog[TokenEvent]()
        text = ""
        last = 0
        for round_ in range(20):
            seen = Seen()
            subscription = seen.subscribe(log.read(last))
            log.append(TextDelta(f"{round_}a "))
            log.append(TextDelta(f"{round_}b "))
            subscription.dispose()
            log.append(TextDelta(f"{round_}c "))
            text += "".join(event.text for event in events_in(seen))
            last = seen.values[-1].id
        rest = "".join(event.text for event in events_in(reading(log, last)))
        assert "".join(f"{n}a {n}b {n}c " for n in range(20)) == text + rest

    def test_a_reader_may_append_from_inside_on_next(self) -> None:
        """All readers see all events in one order."""
        log = MemoryLog[int]()

        def push(entry: Entry[int]) -> None:
            if entry.event < 3:
                log.append(entry.event + 1)

        first, second = Seen(push), Seen()
        first.subscribe(log.read())
        second.subscribe(log.read())
        log.append(0)
        assert events_in(first) == [0, 1, 2, 3]
        assert events_in(second) == [0, 1, 2, 3]

    def test_a_reader_may_come_from_inside_on_next(self) -> None:
        """The newcomer has each event once."""
        log = MemoryLog[int]()
        newcomers: list[Seen] = []
        seen = Seen(lambda _: newcomers.append(reading(log)))
        seen.subscribe(log.read())
        log.append(1)
        log.append(2)
        assert [events_in(newcomer) for newcomer in newcomers] == [[1, 2], [1, 2]]

    @pytest.mark.slow
    def test_memory_holds_little_but_the_text(self) -> None:
        """A hundred thousand deltas of 8 characters take less than 30 bytes each."""
        log = MemoryLog[TokenEvent]()
        tracemalloc.start()
        try:
            for n in range(100_000):
                log.append(TextDelta(f"{n:08d}"))
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < 3_000_000, f"{held:,} bytes"


class TestEnding:
    """A log ends once, and for everybody."""

    def test_completion(self) -> None:
        """For readers there and readers to come."""
        log = MemoryLog[int]()
        early = reading(log)
        log.append(1)
        log.close()
        late = reading(log)
        assert log.state == "completed"
        assert [(events_in(seen), seen.completed) for seen in (early, late)] == [([1], True), ([1], True)]

    def test_failure(self) -> None:
        """The error comes after the events, for everybody."""
        boom = Boom()
        log = MemoryLog[int]()
        early = reading(log)
        log.append(1)
        log.close(boom)
        late = reading(log, after=1)
        assert log.state == "failed"
        assert boom is early.error
        assert boom is late.error
        assert late.values == []

    def test_cancelling_asks_the_producer_to_stop_and_ends_all_readers(self) -> None:
        """Once; what the producer appends afterwards goes nowhere."""
        asked: list[bool] = []
        log = MemoryLog[int](lambda: asked.append(True))
        early = reading(log)
        log.append(1)
        log.cancel()
        log.cancel()
        log.close()
        assert log.append(2) == 1
        assert asked == [True]
        assert log.state == "cancelled"
        for seen in (early, reading(log)):
            assert events_in(seen) == [1]
            assert isinstance(seen.error, StreamInterruptedError)
            assert not seen.error.transient

    def test_cancelling_after_the_end_does_nothing(self) -> None:
        """The answer is whole."""
        log = MemoryLog[int](lambda: pytest.fail("asked to stop what has ended"))
        log.close()
        log.cancel()
        assert log.state == "completed"

    @pytest.mark.parametrize("end", ["close", "cancel"])
    def test_a_reader_may_end_the_log_from_inside_on_next(self, end: str) -> None:
        """The other readers see the event, and then the end."""
        log = MemoryLog[int]()
        first, second = Seen(lambda _: getattr(log, end)()), Seen()
        first.subscribe(log.read())
        second.subscribe(log.read())
        log.append(1)
        assert events_in(first) == events_in(second) == [1]
        assert first.ended.is_set()
        assert second.ended.is_set()

    def test_a_reader_that_leaves_hears_nothing_more(self) -> None:
        """Neither events nor the end."""
        log = MemoryLog[int]()
        seen = Seen()
        subscription = seen.subscribe(log.read())
        log.append(1)
        subscription.dispose()
        log.append(2)
        log.close()
        assert events_in(seen) == [1]
        assert not seen.ended.is_set()

    def test_a_reader_may_leave_from_inside_on_next(self) -> None:
        """Also during the replay."""
        log = MemoryLog[TokenEvent]()
        live, late = Seen(), Seen()
        live.subscribe(log.read().pipe(rx.take(1)))
        for event in (TextDelta("a"), USAGE):
            log.append(event)
        late.subscribe(log.read().pipe(rx.take(1)))
        log.append(USAGE)
        assert len(live.values) == len(late.values) == 1


class TestReadersThatRaise:
    """A subscriber's exception is its own."""

    def test_the_only_reader_raises_to_the_producer(self) -> None:
        """Nothing is hidden."""
        log = MemoryLog[int]()
        Seen(_raise).subscribe(log.read())
        with pytest.raises(Boom):
            log.append(1)
        assert log.append(2) == 2

    def test_other_readers_go_on(self) -> None:
        """The one that raised is dropped; its exception surfaces through threading.excepthook."""
        surfaced: list[Any] = []
        previous, threading.excepthook = threading.excepthook, lambda args: surfaced.append(args.exc_type)
        log = MemoryLog[int]()
        bad, good = Seen(_raise), Seen()
        try:
            bad.subscribe(log.read())
            good.subscribe(log.read())
            log.append(1)
            log.append(2)
        finally:
            threading.excepthook = previous
        assert events_in(bad) == [1]
        assert events_in(good) == [1, 2]
        assert surfaced == [Boom]

    def test_a_reader_that_comes_at_that_moment_gets_the_end(self) -> None:
        """From another thread, as the producer receives the exception, and a third one cancels."""
        log, late = MemoryLog[int](), Seen()

        class Due(deque[Entry[int]]):
            def clear(self) -> None:
                late.subscribe(log.read())
                log.cancel()
                super().clear()

        Seen(_raise).subscribe(log.read())
        log._due = Due()
        with pytest.raises(Boom):
            log.append(1)
        assert events_in(late) == [1]
        assert isinstance(late.error, StreamInterruptedError)


class TestThreads:
    """Readers come and go while the producer runs."""

    def test_readers_that_come_at_any_moment_see_everything_once(self) -> None:
        """Twenty readers, each at a moment of its own, from twenty threads."""
        log = MemoryLog[TokenEvent]()
        readers = [Seen() for _ in range(20)]
        starts = [threading.Event() for _ in readers]

        def join(seen: Seen, start: threading.Event) -> None:
            assert start.wait(LIMIT)
            seen.subscribe(log.read())

        threads = [threading.Thread(target=join, args=pair) for pair in zip(readers, starts, strict=True)]
        for thread in threads:
            thread.start()
        events: list[TokenEvent] = []
        for n in range(20_000):
            if n % 1000 == 0:
                starts[n // 1000].set()
            event: TokenEvent = USAGE if n % 97 == 0 else TextDelta(f"{n} ")
            events.append(event)
            log.append(event)
        log.close()
        for thread in threads:
            thread.join(LIMIT)
        for seen in readers:
            seen.wait()
            assert merge_deltas(events) == merge_deltas(events_in(seen))
            ids = [entry.id for entry in seen.values]
            assert sorted(set(ids)) == ids

    def test_cancelling_while_the_producer_runs_gives_each_reader_one_end(self) -> None:
        """After the last event it saw, and nothing after it."""
        for _ in range(50):
            stop = threading.Event()
            log = MemoryLog[int](stop.set)
            order: list[str] = []
            log.read().subscribe(
                lambda _, order=order: order.append("next"),
                lambda _, order=order: order.append("end"),
            )

            def produce(log: MemoryLog[int] = log, stop: threading.Event = stop) -> None:
                while not stop.is_set():
                    log.append(1)

            producer = threading.Thread(target=produce)
            producer.start()
            log.cancel()
            producer.join(LIMIT)
            assert order.count("end") == 1
            assert order[-1] == "end"


def _raise(_: object) -> None:
    raise Boom
