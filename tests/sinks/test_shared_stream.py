"""Streams with names."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import reactivex
from reactivex import Observable

import rxllm
from rxllm import forget_shared_stream, shared_stream
from rxllm.sinks import shared_stream as module
from rxllm.sinks.iterate import iter_events, iter_text
from rxllm.testing import Gate, LLMServer, Reply

from .streams import LIMIT_SECONDS, Produced


@pytest.fixture
def key() -> Iterator[object]:
    """A name that nobody else uses."""
    key = object()
    yield key
    forget_shared_stream(key)


def refused() -> Observable[str]:
    """A stream that nobody should ask for."""
    raise AssertionError("asked again")


def test_a_viewer_that_leaves_stops_nothing_and_another_gets_all(key: object) -> None:
    """As when a page is reloaded in the middle of an answer."""
    gate = Gate(1)
    with LLMServer(Reply("one two three", gate=gate)) as server:
        model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
        first = iter_text(shared_stream(key, lambda: model.stream("Hi")))
        assert next(first) == "one"
        first.close()
        gate.open()
        assert "".join(iter_text(shared_stream(key, lambda: model.stream("Hi")))) == "one two three"
        assert len(server.requests) == 1


def test_all_of_it_is_replayed_after_the_end(key: object) -> None:
    """The end included; and nobody asks again."""
    list(iter_events(shared_stream(key, lambda: Produced(["a", "b"]).observable)))
    assert list(iter_events(shared_stream(key, refused))) == ["a", "b"]


def test_two_viewers_at_once_share_one_request(key: object) -> None:
    """Each sees everything in order."""
    produced = Produced(range(2_000))
    seen: dict[int, list[int]] = {0: [], 1: []}

    def view(number: int) -> None:
        seen[number] = list(iter_events(shared_stream(key, lambda: produced.observable), buffer=4))

    viewers = [threading.Thread(target=view, args=(number,)) for number in seen]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(LIMIT_SECONDS)
    assert seen == {0: list(range(2_000)), 1: list(range(2_000))}
    assert produced.subscriptions == 1


def test_a_viewer_that_does_not_look_slows_nobody(key: object) -> None:
    """What it has missed waits for it."""
    produced = Produced(range(10_000))
    lazy = iter_events(shared_stream(key, lambda: produced.observable), buffer=4)
    assert next(lazy) == 0
    assert list(iter_events(shared_stream(key, lambda: produced.observable)))[-1] == 9_999
    assert list(lazy) == list(range(1, 10_000))


def test_a_failure_is_replayed_until_it_is_forgotten(key: object) -> None:
    """Whoever wants to try again says so."""
    failing = Produced(["a"], ValueError("no"))
    for _ in range(2):
        items = iter_events(shared_stream(key, lambda: failing.observable))
        assert next(items) == "a"
        with pytest.raises(ValueError, match="no"):
            next(items)
    forget_shared_stream(key)
    assert list(iter_events(shared_stream(key, lambda: reactivex.of("yes")))) == ["yes"]
    assert failing.subscriptions == 1


def test_a_stream_that_cannot_be_made_fails(key: object) -> None:
    """For everyone who asks, as if it had failed by itself."""

    def make() -> Observable[str]:
        raise rxllm.ConfigurationError("no key")

    with pytest.raises(rxllm.ConfigurationError, match="no key"):
        list(iter_events(shared_stream(key, make)))


def test_forgetting_a_running_stream_stops_it(key: object) -> None:
    """Its connection is closed, and whoever watches learns that it was cut off."""
    with LLMServer(Reply("one two three", gate=Gate(1))) as server:
        model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
        texts = iter_text(shared_stream(key, lambda: model.stream("Hi")))
        assert next(texts) == "one"
        forget_shared_stream(key)
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
        with pytest.raises(rxllm.StreamInterruptedError, match="cancelled"):
            next(texts)


def test_forgetting_what_nobody_named_is_harmless() -> None:
    """There is nothing to stop."""
    forget_shared_stream("unknown")


def test_a_finalizer_may_forget_a_stream_while_another_starts() -> None:
    """The garbage collector may run it inside the lock of the streams."""

    class Key:
        def __hash__(self) -> int:
            forget_shared_stream("unknown")
            return 1

    def start() -> None:
        key = Key()
        shared_stream(key, reactivex.empty).subscribe()
        forget_shared_stream(key)
        started.set()

    started = threading.Event()
    threading.Thread(target=start, daemon=True).start()
    assert started.wait(LIMIT_SECONDS)


def test_ended_streams_do_not_pile_up(key: object) -> None:
    """The ones asked for least recently go; those that run stay."""
    gate = Gate()
    with LLMServer(Reply("still there", gate=gate)) as server:
        model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
        watching = threading.Thread(
            target=lambda: next(iter_text(shared_stream(key, lambda: model.stream("Hi"))), None)
        )
        watching.start()
        server.wait_for_request()
        names = [(key, number) for number in range(module.KEPT + 2)]
        for name in names:
            list(iter_events(shared_stream(name, lambda: reactivex.of("short"))))
        assert list(iter_events(shared_stream(names[-1], refused))) == ["short"]
        assert list(iter_events(shared_stream(names[0], lambda: reactivex.of("anew")))) == ["anew"]
        gate.open()
        watching.join(LIMIT_SECONDS)
        assert "".join(iter_text(shared_stream(key, lambda: model.stream("Hi")))) == "still there"
        assert len(server.requests) == 1
        for name in names:
            forget_shared_stream(name)


def test_no_thread_stays_behind(key: object) -> None:
    """A viewer's thread ends with what there is to view."""
    before = set(threading.enumerate())
    for _ in range(20):
        assert len(list(iter_events(shared_stream(key, lambda: reactivex.of(*range(100)))))) == 100
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()
