"""Share: `broadcast`, `tee`, `record`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from reactivex import abc
from reactivex import operators as rx
from reactivex.observer import Observer
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

import rxllm
from rxllm import operators as ops
from rxllm._core.delta_merge import merge_deltas
from rxllm._core.recording_format import RecordingWriter, read_recording
from rxllm.events import StreamEnd, TextDelta, TokenEvent
from rxllm.testing import LLMServer

from .kit import SUBSCRIBED, Boom, Case, OperatorContract, answer, play, upstream, whole
from .pacing.test_pace import MIXED
from .threads import LIMIT, Producer, Seen


class TestContract(OperatorContract):
    """The contract of all operators."""

    cases: ClassVar = [
        Case("broadcast", ops.broadcast, MIXED, MIXED),
        Case("tee", lambda: ops.tee(Observer()), MIXED, MIXED),
    ]


ABANDONED = """
import asyncio, gc, reactivex
from rxllm import aio, operators as ops

async def main():
    gc.disable()
    for count in range(1, 200):
        shared = reactivex.concat(reactivex.of("one"), reactivex.never()).pipe(ops.broadcast())
        stream = aio.events(shared)
        await anext(stream)
        ring = [stream]
        ring.append(ring)
        del stream, ring
        seen = []
        gc.set_threshold(gc.get_count()[0] + count)
        gc.enable()
        shared.subscribe(seen.append)
        gc.disable()
        assert seen == ["one"]

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a recording may go."""
    return tmp_path / "stream.jsonl"


class TestRecordContract(OperatorContract):
    """The same contract, with a file beside."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    cases: ClassVar = [Case("record", lambda: ops.record("stream.jsonl"), MIXED, MIXED)]


class TestBroadcast:
    """One request, any number of subscribers."""

    def test_a_late_subscriber_gets_the_past_in_one_piece_and_then_goes_along(self) -> None:
        """Deltas before its time are joined; the request is one."""
        scheduler = TestScheduler()
        source = upstream(scheduler, answer("a", "b", "c"))
        shared = source.pipe(ops.broadcast())
        late = scheduler.create_observer()
        scheduler.schedule_absolute(225, lambda *_: shared.subscribe(late))
        early = scheduler.start(lambda: shared)
        end = StreamEnd(whole("a", "b", "c"))
        assert [TextDelta("a"), TextDelta("b"), TextDelta("c"), end] == [m.value.value for m in early.messages[:-1]]
        assert [(225, TextDelta("ab")), (230, TextDelta("c")), (240, end)] == [
            (message.time, message.value.value) for message in late.messages[:-1]
        ]
        assert len(source.subscriptions) == 1

    def test_a_subscriber_after_the_end_replays_and_asks_nothing(self) -> None:
        """Not even where everybody else has long gone."""
        producer = Producer(answer("a", "b"))
        shared = producer.observable.pipe(ops.broadcast())
        first = Seen()
        first.subscribe(shared)
        first.wait()
        for _ in range(3):
            again = Seen()
            again.subscribe(shared)
            again.wait()
            assert [TextDelta("ab"), StreamEnd(whole("a", "b"))] == again.values
            assert again.completed
        assert producer.subscriptions == 1

    def test_a_failure_is_replayed_too(self) -> None:
        """With what was before it, and without asking again."""
        boom = Boom()
        producer = Producer([TextDelta("a")], then=lambda observer: observer.on_error(boom))
        shared = producer.observable.pipe(ops.broadcast())
        for _ in range(2):
            seen = Seen()
            seen.subscribe(shared)
            seen.wait()
            assert boom is seen.error
            assert [TextDelta("a")] == seen.values
        assert producer.subscriptions == 1

    def test_the_request_ends_with_its_last_subscriber(self) -> None:
        """Not with the first that leaves, even if that one started it."""
        source: Subject[int] = Subject()
        shared = source.pipe(ops.broadcast())
        first, second = Seen(), Seen()
        leave_first, leave_second = first.subscribe(shared), second.subscribe(shared)
        leave_first.dispose()
        leave_first.dispose()
        source.on_next(1)
        assert len(source.observers) == 1
        leave_second.dispose()
        assert source.observers == []
        assert first.values == []
        assert second.values == [1]

    def test_after_all_have_left_before_the_end_a_new_subscriber_asks_anew(self) -> None:
        """What was given up is no answer: it is not replayed."""
        source: Subject[int] = Subject()
        shared = source.pipe(ops.broadcast())
        subscription = Seen().subscribe(shared)
        source.on_next(1)
        subscription.dispose()
        seen = Seen()
        seen.subscribe(shared)
        source.on_next(2)
        assert seen.values == [2]

    def test_a_subscriber_that_raises_is_dropped_and_the_others_go_on(self) -> None:
        """Its exception surfaces through threading.excepthook."""
        surfaced: list[Any] = []
        previous, threading.excepthook = threading.excepthook, lambda args: surfaced.append(args.exc_type)
        source: Subject[int] = Subject()
        shared = source.pipe(ops.broadcast())
        bad, good = Seen(_raise), Seen()
        try:
            bad.subscribe(shared)
            good.subscribe(shared)
            source.on_next(1)
            source.on_next(2)
        finally:
            threading.excepthook = previous
        assert (bad.values, good.values) == ([1], [1, 2])
        assert surfaced == [Boom]

    def test_the_request_ends_when_its_only_subscriber_raises(self) -> None:
        """Nobody is there any more to read it."""
        source: Subject[int] = Subject()
        Seen(_raise).subscribe(source.pipe(ops.broadcast()))
        with pytest.raises(Boom):
            source.on_next(1)
        assert source.observers == []

    def test_subscribers_that_come_and_go_at_any_moment(self) -> None:
        """Twenty of them, on threads of their own; those that stay see everything once, in order."""
        events = [TextDelta(f"{n} ") for n in range(20_000)]
        starts = [threading.Event() for _ in range(20)]
        starts[0].set()

        def items() -> Iterator[TokenEvent]:
            for n, event in enumerate(events):
                if n % 1000 == 0:
                    starts[n // 1000].set()
                yield event

        producer = Producer(items())
        shared = producer.observable.pipe(ops.broadcast())
        seen = [Seen() for _ in starts]

        def come(number: int) -> None:
            assert starts[number].wait(LIMIT)
            subscription = seen[number].subscribe(shared)
            if number % 3 == 2:
                subscription.dispose()

        threads = [threading.Thread(target=come, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for number, thread in enumerate(threads):
            thread.join(LIMIT)
            if number % 3 != 2:
                seen[number].wait()
                assert merge_deltas(events) == merge_deltas(seen[number].values)
        assert producer.subscriptions == 1

    def test_the_garbage_collector_may_find_a_subscriber_while_another_comes(self) -> None:
        """At any moment: the thread that subscribes disposes it then, and does not wait for its own locks."""
        run = subprocess.run(
            [sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert run.returncode == 0, run.stderr

    def test_one_request_reaches_a_real_server(self) -> None:
        """Three subscribers, one of them after the end: the server was asked once."""
        with LLMServer("one two three") as server:
            model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"))
            shared = model.stream("count").pipe(ops.broadcast())
            first, second, late = Seen(), Seen(), Seen()
            for seen in (first, second):
                seen.subscribe(shared)
            for seen in (first, second):
                seen.wait()
            late.subscribe(shared)
            late.wait()
            texts = ["".join(e.text for e in seen.values if isinstance(e, TextDelta)) for seen in (first, second, late)]
            assert texts == ["one two three"] * 3
            assert len(server.requests) == 1


class TestTee:
    """An observer beside the main one."""

    def test_the_observer_sees_everything_first(self) -> None:
        """Events and completion, each before the main subscriber."""
        order: list[Any] = []
        source: Subject[int] = Subject()
        observer = Observer(lambda n: order.append(("tee", n)), None, lambda: order.append("tee done"))
        source.pipe(ops.tee(observer)).subscribe(
            lambda n: order.append(("main", n)), on_completed=lambda: order.append("main done")
        )
        source.on_next(1)
        source.on_completed()
        assert order == [("tee", 1), ("main", 1), "tee done", "main done"]

    def test_the_observer_sees_errors(self) -> None:
        """The same one as the subscriber."""
        boom = Boom()
        errors: list[Exception] = []
        run = play(ops.tee(Observer(on_error=errors.append)), [1, 2], error=boom)
        assert errors == [boom]
        assert boom is run.error

    def test_what_the_observer_raises_ends_the_stream_with_it(self) -> None:
        """The upstream is let go."""
        run = play(ops.tee(Observer(_raise)), [1, 2, 3])
        assert isinstance(run.error, Boom)
        assert run.values == []
        assert run.upstream_closed_at == SUBSCRIBED + 10

    def test_what_the_observer_raises_on_an_error_takes_its_place(self) -> None:
        """Nothing is hidden, the stream still ends once."""
        run = play(ops.tee(Observer(on_error=_raise)), [1], error=ValueError("first"))
        assert isinstance(run.error, Boom)


class TestRecord:
    """A stream written to a file."""

    def test_writes_events_with_their_times_and_the_end(self, path: Path) -> None:
        """Seconds from the subscription, by the subscriber's scheduler."""
        play(ops.record(path), answer("a", "b"))
        lines = list(read_recording(path))
        assert [line.at for line in lines] == [10, 20, 30, 40]
        assert [*answer("a", "b"), None] == [line.event for line in lines]
        assert lines[-1].end == "completed"

    def test_disposing_closes_the_file_and_says_so(self, path: Path) -> None:
        """The recording is whole up to there."""
        play(ops.record(path), answer("a", "b", "c"), disposed=225)
        lines = list(read_recording(path))
        assert [TextDelta("a"), TextDelta("b"), None] == [line.event for line in lines]
        assert lines[-1].end == "disposed"

    def test_keys_are_taken_out_of_errors(self, path: Path) -> None:
        """Vendors like to quote the key they refuse."""
        play(ops.record(path), [], error=Boom("Incorrect API key provided: sk-proj-abcdefgh12345678."))
        assert "sk-proj" not in path.read_text()
        assert "Incorrect API key provided: [redacted]" in path.read_text()

    def test_a_file_that_cannot_be_opened_is_an_error_of_the_stream(self, tmp_path: Path) -> None:
        """Nothing is asked of the upstream."""
        source: Subject[TokenEvent] = Subject()
        seen = Seen()
        seen.subscribe(source.pipe(ops.record(tmp_path / "no" / "such" / "folder")))
        assert isinstance(seen.error, FileNotFoundError)
        assert source.observers == []

    def test_a_file_that_takes_no_more_raises_nothing_into_the_producer(self, tmp_path: Path) -> None:
        """It is the stream's error; if the stream fails itself, its own error says so in a note."""
        source, seen, _ = self.to_broken_pipe(tmp_path / "first")
        source.on_next(TextDelta("a"))
        assert isinstance(seen.error, BrokenPipeError)
        assert source.observers == []
        boom = Boom()
        source, seen, _ = self.to_broken_pipe(tmp_path / "second")
        source.on_error(boom)
        assert seen.error is boom
        assert "the recording is incomplete" in boom.__notes__[0]
        source, _, subscription = self.to_broken_pipe(tmp_path / "third")
        subscription.dispose()
        assert source.observers == []

    def to_broken_pipe(self, path: Path) -> tuple[Subject[TokenEvent], Seen, abc.DisposableBase]:
        """A stream that is recorded to a pipe without a reader."""
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        source: Subject[TokenEvent] = Subject()
        seen = Seen()
        subscription = seen.subscribe(source.pipe(ops.record(path)))
        os.close(reader)
        return source, seen, subscription

    def test_each_subscription_writes_the_file_anew(self, path: Path) -> None:
        """The last one stays."""
        play(ops.record(path), answer("a"))
        play(ops.record(path), answer("b"))
        assert [*answer("b"), None] == [line.event for line in read_recording(path)]

    def test_disposing_while_the_producer_writes(self, path: Path) -> None:
        """From another thread: the file is closed, with whole lines, and nobody hears of it."""
        producer = Producer(iter(lambda: TextDelta("x"), None))
        arrived = threading.Event()
        seen = Seen(lambda _: arrived.set())
        subscription = seen.subscribe(producer.observable.pipe(ops.record(path)))
        assert arrived.wait(LIMIT)
        subscription.dispose()
        assert producer.finished.wait(LIMIT)
        assert seen.error is None
        assert list(read_recording(path))[-1].end == "disposed"

    def test_disposing_waits_for_the_last_line_of_another_thread(self, path: Path) -> None:
        """Then the file can be read at once."""
        writer = RecordingWriter(path, lambda: 0.0)
        writing, disposed = threading.Event(), threading.Event()
        returned_early: list[bool] = []
        encode = writer._encode

        def slow(line: object) -> bytes:
            writing.set()
            returned_early.append(disposed.wait(0.2))
            return encode(line)

        def dispose() -> None:
            writing.wait(LIMIT)
            writer.dispose()
            disposed.set()

        writer._encode = slow
        threading.Thread(target=dispose, daemon=True).start()
        writer.end("completed")
        assert disposed.wait(LIMIT)
        assert returned_early == [False]
        assert [line.end for line in read_recording(path)] == ["completed"]

    def test_disposing_inside_of_the_last_line_does_not_wait_for_itself(self, path: Path) -> None:
        """The garbage collector may dispose at any moment."""
        writer = RecordingWriter(path, lambda: 0.0)
        encode = writer._encode

        def disposing(line: object) -> bytes:
            writer.dispose()
            return encode(line)

        writer._encode = disposing
        ending = threading.Thread(target=writer.end, args=("completed",), daemon=True)
        ending.start()
        ending.join(LIMIT)
        assert [line.end for line in read_recording(path)] == ["completed"]

    def test_after_take_the_file_is_closed(self, path: Path) -> None:
        """A downstream that has enough is a disposal."""
        play(lambda source: source.pipe(ops.record(path), rx.take(1)), answer("a", "b"))
        assert list(read_recording(path))[-1].end == "disposed"


def _raise(_: object) -> None:
    raise Boom
