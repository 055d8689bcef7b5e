"""A stream as a plain generator."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator

import pytest
import reactivex
from reactivex.subject import Subject

import rxllm
from rxllm.sinks.iterate import iter_events, iter_text
from rxllm.testing import Gate, LLMServer, Reply

from .streams import LIMIT_SECONDS, Collecting, Produced, endless


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


def asking(server: LLMServer) -> reactivex.Observable[rxllm.TokenEvent]:
    """A stream from the server."""
    return rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url()).stream("Hi")


def test_the_text_of_an_answer(server: LLMServer) -> None:
    """Piece by piece; reasoning and the rest is left out."""
    server.enqueue(Reply("All is well.", reasoning="hm"))
    assert list(iter_text(asking(server))) == ["All", " is", " well."]


def test_the_events_of_an_answer(server: LLMServer) -> None:
    """All of them, the end included."""
    server.enqueue(Reply("Yes."))
    assert [type(event).__name__ for event in iter_events(asking(server))][-1] == "StreamEnd"


def test_nothing_is_asked_before_the_first_item_is(server: LLMServer) -> None:
    """And nothing at all where none is."""
    iter_text(asking(server)).close()
    assert server.requests == []


def test_everything_in_order_from_a_fast_thread() -> None:
    """However small the buffer."""
    for buffer in (1, 2, 256):
        assert list(iter_events(Produced(range(5_000)).observable, buffer=buffer)) == list(range(5_000))


def test_a_slow_loop_slows_the_stream() -> None:
    """The producer is at most a buffer ahead."""
    produced = Produced(endless())
    items = iter_events(produced.observable, buffer=16)
    for number in range(100):
        assert next(items) == number
        assert produced.emitted <= number + 1 + 16 + 1
    items.close()
    assert produced.ended.wait(LIMIT_SECONDS)


class TestLeaving:
    """However a loop is left, the connection is closed at once."""

    def test_break(self, server: LLMServer) -> None:
        """Without a word to the generator."""
        server.enqueue(Reply("one two three", gate=Gate(1)))
        for text in iter_text(asking(server)):
            assert text == "one"
            break
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)

    def test_close(self, server: LLMServer) -> None:
        """As web servers do when their client goes away."""
        server.enqueue(Reply("one two three", gate=Gate(1)))
        texts = iter_text(asking(server))
        assert next(texts) == "one"
        texts.close()
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)

    def test_an_exception_in_the_loop(self, server: LLMServer) -> None:
        """It is the loop's own, and passes."""
        server.enqueue(Reply("one two three", gate=Gate(1)))

        def divide() -> None:
            for text in iter_text(asking(server)):
                len(text) / 0

        with pytest.raises(ZeroDivisionError):
            divide()
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)

    @pytest.mark.skipif(os.name == "nt", reason="a process cannot interrupt itself there without a console")
    def test_ctrl_c_while_it_waits(self, server: LLMServer) -> None:
        """Though nothing comes."""
        gate = Gate(1)
        server.enqueue(Reply("one two", gate=gate))

        def interrupt() -> None:
            gate.wait_until_reached()
            os.kill(os.getpid(), signal.SIGINT)

        def wait() -> None:
            for _ in iter_text(asking(server)):
                threading.Thread(target=interrupt).start()

        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist ignores it
        try:
            with pytest.raises(KeyboardInterrupt):
                wait()
        finally:
            signal.signal(signal.SIGINT, before)
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)

    def test_a_producer_that_waits_for_room_is_let_go(self) -> None:
        """No thread stays behind."""
        produced = Produced(endless())
        items = iter_events(produced.observable, buffer=2)
        next(items)
        items.close()
        assert produced.ended.wait(LIMIT_SECONDS)

    def test_the_producer_may_find_an_abandoned_loop_inside_of_a_lock(self) -> None:
        """The garbage collector runs on any thread: this one does not wait for its own lock."""
        stream = Collecting()
        gc.disable()
        try:
            ring: list[object] = [items := iter_events(stream.observable)]
            ring.append(ring)
            next(items)
            del items, ring
            stream.abandoned.set()
            assert stream.collected.wait(LIMIT_SECONDS)
        finally:
            gc.enable()
        assert stream.disposed.wait(LIMIT_SECONDS)


def test_the_error_comes_after_what_came_before_it() -> None:
    """As the exception it is."""
    items = iter_events(Produced([1, 2], LookupError("gone")).observable)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(LookupError, match="gone"):
        next(items)


def test_items_that_are_pushed_by_the_loop_itself() -> None:
    """They wait, without bound, as nobody else could make room."""
    subject: Subject[int] = Subject()
    items = iter_events(reactivex.merge(reactivex.of(-1), subject), buffer=2)
    assert next(items) == -1
    for number in range(10):
        subject.on_next(number)
    subject.on_completed()
    assert list(items) == list(range(10))


def test_the_thread_that_began_the_loop_may_produce_the_rest() -> None:
    """A slow loop that another thread continues slows it: the number of a thread that has ended is used again."""
    subject: Subject[int] = Subject()
    items = iter_events(reactivex.merge(reactivex.of(-1), subject), buffer=2)
    is_full, continued, pushed = threading.Event(), threading.Event(), list[int]()

    def begin_and_produce() -> None:
        next(items)
        for number in range(100):
            subject.on_next(number)
            pushed.append(number)
            if number == 9:
                is_full.set()
                assert continued.wait(LIMIT_SECONDS)
        subject.on_completed()

    threading.Thread(target=begin_and_produce).start()
    assert is_full.wait(LIMIT_SECONDS)
    assert next(items) == 0
    continued.set()
    for number in range(1, 100):
        assert next(items) == number
        assert len(pushed) <= max(10, number + 5)
    assert list(items) == []


def test_a_buffer_holds_something() -> None:
    """At least one item."""
    with pytest.raises(rxllm.ConfigurationError, match="at least 1 item; got 0"):
        list(iter_events(reactivex.of(1), buffer=0))
