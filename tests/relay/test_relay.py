"""Publishing and following within one process, on a real Redis."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reactivex
import redis
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

import rxllm
from rxllm.errors import APIConnectionError, PermissionDeniedError, RateLimitError, StreamError, StreamInterruptedError
from rxllm.events import Response, StreamEnd, StreamReset, TextDelta, TokenEvent, VendorEvent
from rxllm.operators import broadcast
from rxllm.relay import (
    ProducerLostError,
    Publication,
    PublishOptions,
    RedisLog,
    StreamGoneError,
    StreamTakenError,
    cancel,
    publish,
    subscribe,
)
from rxllm.relay._channel_listener import listen
from rxllm.relay._redis import RedisConnections
from rxllm.testing import LLMServer

from ..operators.kit import Boom
from ..operators.threads import LIMIT, Seen
from .processes import RedisServer, needs_redis, text_of

pytestmark = needs_redis

_numbers = itertools.count(1)


@pytest.fixture
def stream() -> str:
    """An id of the test's own."""
    return f"stream-{next(_numbers)}"


class Awaited(Seen):
    """An observer that can be waited for until it has seen so many characters."""

    def __init__(self) -> None:
        super().__init__(self._look)
        self._changed = threading.Condition()

    def _look(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for_text(self, text: str) -> None:
        """Until it has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: text_of(self.values) == text, LIMIT), text_of(self.values)


def reading(url: str, stream: str, **options: Any) -> Awaited:
    """A subscriber."""
    seen = Awaited()
    seen.subscribe(subscribe(stream, redis=url, **options))
    return seen


def done(publication: Publication) -> None:
    """Wait until Redis has it all."""
    assert publication.wait(LIMIT)


class TestFollowing:
    """What a subscriber gets."""

    def test_all_or_the_rest_or_what_comes(self, redis_server: RedisServer, stream: str) -> None:
        """From the start, after an id, or from now on."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url)
        whole = reading(redis_server.url, stream)
        for piece in "abc":
            source.on_next(TextDelta(piece))
        whole.wait_for_text("abc")
        rest = reading(redis_server.url, stream, last_id=2)
        rest.wait_for_text("c")
        now = reading(redis_server.url, stream, from_start=False)
        _wait_for_readers(redis_server, 3)
        source.on_next(TextDelta("d"))
        source.on_completed()
        done(publication)
        for seen, text in (whole, "abcd"), (rest, "cd"), (now, "d"):
            seen.wait()
            assert (text, True) == (text_of(seen.values), seen.completed)
        assert publication.state == "completed"
        assert RedisLog(stream, redis_server.url).state == "completed"

    def test_one_connection_for_many(self, redis_server: RedisServer, stream: str) -> None:
        """`broadcast` shares a subscription."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url)
        shared = subscribe(stream, redis=redis_server.url).pipe(broadcast())
        seen = [Awaited() for _ in range(5)]
        for each in seen:
            each.subscribe(shared)
        source.on_next(TextDelta("a"))
        for each in seen:
            each.wait_for_text("a")
        assert len(_readers(redis_server)) == 1
        source.on_completed()
        done(publication)

    def test_dispose_ends_the_connection_and_the_thread(self, redis_server: RedisServer, stream: str) -> None:
        """At once, though the reader waits for what comes; and says nothing more."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url)
        seen = Awaited()
        subscription = seen.subscribe(subscribe(stream, redis=redis_server.url))
        source.on_next(TextDelta("a"))
        seen.wait_for_text("a")
        subscription.dispose()
        source.on_next(TextDelta("b"))
        source.on_completed()
        done(publication)
        _join_readers()
        assert ("a", False, None) == (text_of(seen.values), seen.completed, seen.error)
        assert [] == _readers(redis_server)

    def test_the_streams_own_error(self, redis_server: RedisServer, stream: str) -> None:
        """Arrives with its kind and its partial answer; a foreign one becomes a `StreamError`, with what had come."""
        error = RateLimitError("slow down", partial=Response("so far"))
        done(publish(reactivex.throw(error), stream, redis=redis_server.url))
        seen = reading(redis_server.url, stream)
        seen.wait()
        assert isinstance(seen.error, RateLimitError)
        assert seen.error.partial == Response("so far")
        foreign = reactivex.concat(reactivex.of(TextDelta("a")), reactivex.throw(Boom("b")))
        done(publish(foreign, f"{stream}-foreign", redis=redis_server.url))
        seen = reading(redis_server.url, f"{stream}-foreign")
        seen.wait()
        assert isinstance(seen.error, StreamError)
        assert seen.error.partial is not None
        assert seen.error.partial.text == "a"

    def test_a_stream_that_does_not_exist(self, redis_server: RedisServer, stream: str) -> None:
        """After `wait` seconds; cancelling it or asking for its state says so at once."""
        seen = reading(redis_server.url, stream, wait=0.1)
        seen.wait()
        assert isinstance(seen.error, StreamGoneError)
        with pytest.raises(StreamGoneError):
            cancel(stream, redis=redis_server.url)
        with pytest.raises(StreamGoneError):
            _ = RedisLog(stream, redis_server.url).state

    def test_an_id_that_never_came(self, redis_server: RedisServer, stream: str) -> None:
        """A reader that asks for more than there was is told, rather than left waiting."""
        done(publish(reactivex.of(TextDelta("a")), stream, redis=redis_server.url))
        seen = reading(redis_server.url, stream, last_id=7)
        seen.wait()
        assert isinstance(seen.error, StreamGoneError)

    def test_a_subscriber_that_raises(
        self, redis_server: RedisServer, stream: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its exception surfaces as its own, and its connection closes; the stream goes on for others."""
        raised: list[threading.ExceptHookArgs] = []
        monkeypatch.setattr(threading, "excepthook", raised.append)
        done(publish(reactivex.of(TextDelta("a")), stream, redis=redis_server.url))
        seen = Seen(_raise)
        seen.subscribe(subscribe(stream, redis=redis_server.url))
        _join_readers()
        assert [Boom] == [args.exc_type for args in raised]
        assert not seen.ended.is_set()
        other = reading(redis_server.url, stream)
        other.wait()
        assert other.completed

    def test_an_error_nobody_handles_is_logged(
        self, redis_server: RedisServer, stream: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once."""
        done(publish(reactivex.throw(Boom("no")), stream, redis=redis_server.url))
        with caplog.at_level(logging.ERROR, "rxllm"):
            subscribe(stream, redis=redis_server.url).subscribe(lambda _: None)
            _join_readers()
        assert len(caplog.records) == 1


class TestPublishing:
    """The producer's side."""

    def test_the_log_is_the_one_log_of_the_design(self, redis_server: RedisServer, stream: str) -> None:
        """`append`, `close`, `read`, `cancel`, `state`, with ids that count up from 1."""
        stopped = threading.Event()
        log = RedisLog(stream, redis_server.url)
        writer = log.claim(stopped.set, PublishOptions(lease=600))
        assert [log.append(TextDelta("a")), log.append(TextDelta("b"))] == [1, 2]
        log.cancel()
        assert stopped.wait(LIMIT)
        assert writer.ended.wait(LIMIT)
        assert log.state == "cancelled"
        assert log.append(TextDelta("c")) == 2
        log.cancel()
        assert log.state == "cancelled"

    def test_only_the_producer_appends(self, redis_server: RedisServer, stream: str) -> None:
        """Whoever has not claimed the log is told to."""
        with pytest.raises(rxllm.ConfigurationError, match="claim"):
            RedisLog(stream, redis_server.url).append(TextDelta("a"))

    def test_disposing_a_publication_stops_it(self, redis_server: RedisServer, stream: str) -> None:
        """Upstream too."""
        disposed = threading.Event()
        source: reactivex.Observable[TokenEvent] = reactivex.never().pipe(
            reactivex.operators.finally_action(disposed.set)
        )
        publication = publish(source, stream, redis=redis_server.url)
        publication.dispose()
        publication.dispose()
        done(publication)
        assert disposed.is_set()
        seen = reading(redis_server.url, stream)
        seen.wait()
        assert isinstance(seen.error, StreamInterruptedError)

    def test_a_cancellation_right_after_the_claim(
        self, redis_server: RedisServer, stream: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before the producer listens: it looks once more, and does not wait until it renews the lease."""
        other = publish(reactivex.never(), f"{stream}-other", redis=redis_server.url)
        first = publish(reactivex.never(), f"{stream}-first", redis=redis_server.url)
        cancel(first.id, redis=redis_server.url)
        assert first.wait(LIMIT)  # so the one listener of this process listens

        def cancelled_before(*arguments: Any) -> Callable[[], None]:
            cancel(stream, redis=redis_server.url)
            return listen(*arguments)

        monkeypatch.setattr("rxllm.relay._writer.listen", cancelled_before)
        disposed = threading.Event()
        source: Observable[TokenEvent] = reactivex.never()
        publication = publish(
            source.pipe(rx_ops.finally_action(disposed.set)), stream, redis=redis_server.url, lease=30 * LIMIT
        )
        assert disposed.wait(LIMIT)
        assert publication.wait(LIMIT)
        assert publication.state == "cancelled"
        other.dispose()
        assert other.wait(LIMIT)

    def test_closing_while_a_call_connects(self, redis_server: RedisServer, stream: str) -> None:
        """It does not open a connection that remains, nor does it block there."""
        connections = RedisConnections(redis_server.url)
        connected = connections._connected

        def closed_after() -> Any:
            client = connected()
            connections.close()
            return client

        connections._connected = closed_after  # type: ignore[method-assign]
        with pytest.raises(APIConnectionError, match="closed"):
            connections.read(stream, "0-0", 1.0)

    def test_a_source_that_cannot_be_subscribed(self, redis_server: RedisServer, stream: str) -> None:
        """Is a stream that failed."""

        def subscribe_badly(*_: object) -> Any:
            raise Boom("bad")

        publication = publish(reactivex.Observable(subscribe_badly), stream, redis=redis_server.url)
        done(publication)
        assert publication.state == "failed"
        seen = reading(redis_server.url, stream)
        seen.wait()
        assert isinstance(seen.error, StreamError)

    def test_an_event_that_is_no_json(self, redis_server: RedisServer, stream: str) -> None:
        """Ends the stream for all, and stops the source."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url)
        source.on_next(VendorEvent("odd", {"it": object()}))
        done(publication)
        assert isinstance(publication.error, StreamError)
        assert not source.observers
        seen = reading(redis_server.url, stream)
        seen.wait()
        assert isinstance(seen.error, StreamError)

    def test_taking_over_voids_what_was_said(self, redis_server: RedisServer, stream: str) -> None:
        """Readers see a `StreamReset`; the ids go on; who held the id before is told."""
        first, second = Subject[TokenEvent](), Subject[TokenEvent]()
        lost = publish(first, stream, redis=redis_server.url)
        seen = reading(redis_server.url, stream)
        first.on_next(TextDelta("a"))
        seen.wait_for_text("a")
        with redis.Redis.from_url(redis_server.url) as client:
            client.delete(f"rxllm:{{{stream}}}:lease")
        with pytest.raises(StreamTakenError):
            publish(second, stream, redis=redis_server.url)
        publication = publish(second, stream, redis=redis_server.url, take_over=True)
        first.on_next(TextDelta("x"))
        done(lost)
        assert isinstance(lost.error, StreamTakenError)
        second.on_next(TextDelta("b"))
        second.on_completed()
        done(publication)
        seen.wait()
        assert [TextDelta, StreamReset, TextDelta] == [type(event) for event in seen.values]
        assert text_of(seen.values) == "ab"

    def test_a_producer_that_was_given_up(self, redis_server: RedisServer, stream: str) -> None:
        """Cannot go on, and is told why."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url, lease=600)
        seen = reading(redis_server.url, stream)
        source.on_next(TextDelta("a"))
        seen.wait_for_text("a")
        with redis.Redis.from_url(redis_server.url) as client:
            client.delete(f"rxllm:{{{stream}}}:lease")
            client.hset(f"rxllm:{{{stream}}}:state", "lease", 200)
        seen.wait()
        assert isinstance(seen.error, ProducerLostError)
        assert seen.error.partial is not None
        assert seen.error.partial.text == "a"
        source.on_next(TextDelta("b"))
        done(publication)
        assert isinstance(publication.error, ProducerLostError)

    @pytest.mark.parametrize(
        "bad",
        [
            {"lease": 0},
            {"keep": 1},
            {"keep": math.inf},
            {"frame": -1},
            {"frame": 3},
            {"frame": math.nan},
            {"max_frames": 0},
            {"max_frames": 1e5},
        ],
    )
    def test_limits_that_make_no_sense(self, bad: dict[str, float]) -> None:
        """Are refused at once."""
        with pytest.raises(ValueError, match=next(iter(bad))):
            PublishOptions(**bad)  # type: ignore[arg-type]  # a dict of options

    def test_an_empty_id(self) -> None:
        """Is refused at once."""
        with pytest.raises(ValueError, match="id"):
            subscribe("", redis="redis://127.0.0.1")


class TestRetention:
    """What is kept, and for how long."""

    def test_length(self, redis_server: RedisServer, stream: str) -> None:
        """The newest frames stay; a reader that needs older ones is told, one that does not goes on."""
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=redis_server.url, frame=0, max_frames=4)
        seen = reading(redis_server.url, stream)
        for n in range(30):
            source.on_next(TextDelta(f"{n:02d}"))
            seen.wait_for_text("".join(f"{k:02d}" for k in range(n + 1)))
        source.on_completed()
        done(publication)
        with redis.Redis.from_url(redis_server.url) as client:
            assert int(client.xlen(f"rxllm:{{{stream}}}:log")) <= 10
        late, resumed = reading(redis_server.url, stream), reading(redis_server.url, stream, last_id=28)
        late.wait()
        resumed.wait()
        assert isinstance(late.error, StreamGoneError)
        assert ("2829", True) == (text_of(resumed.values), resumed.completed)

    def test_time(self, redis_server: RedisServer, stream: str) -> None:
        """Everything of a stream goes `keep` seconds after it was last heard of."""
        done(publish(reactivex.of(TextDelta("a")), stream, redis=redis_server.url, lease=1, keep=30))
        with redis.Redis.from_url(redis_server.url) as client:
            keys = list(client.scan_iter(f"rxllm:{{{stream}}}:*"))
            assert len(keys) == 2
            assert all(0 < int(client.pttl(key)) <= 30_000 for key in keys)


class TestTheServer:
    """How Redis is reached."""

    def test_a_client_will_do(self, redis_server: RedisServer, stream: str) -> None:
        """Whatever its own settings for decoding and timeouts are."""
        with redis.Redis(port=redis_server.port, decode_responses=True, socket_timeout=0.01, protocol=3) as client:
            done(publish(reactivex.of(TextDelta("ä")), stream, redis=client))
            seen = Awaited()
            seen.subscribe(subscribe(stream, redis=client))
            seen.wait()
        assert text_of(seen.values) == "ä"

    @pytest.mark.parametrize("given", ["http://127.0.0.1", redis.asyncio.Redis()])
    def test_what_is_no_redis(self, given: Any) -> None:
        """Is refused by name."""
        with pytest.raises(rxllm.ConfigurationError):
            RedisConnections(given)

    def test_no_server(self, stream: str, redis_server: RedisServer, tmp_path: Path) -> None:
        """Publishing raises at once; a reader tries for `patience` seconds; a producer too, and stops its source."""
        server = RedisServer(tmp_path)
        source = Subject[TokenEvent]()
        publication = publish(source, stream, redis=server.url, patience=0.2)
        seen = reading(server.url, stream, patience=0.2)
        source.on_next(TextDelta("a"))
        seen.wait_for_text("a")
        server.kill()
        source.on_next(TextDelta("b"))
        seen.wait()
        done(publication)
        assert isinstance(seen.error, APIConnectionError)
        assert seen.error.partial is not None
        assert seen.error.partial.text == "a"
        assert isinstance(publication.error, APIConnectionError)
        assert not source.observers
        with pytest.raises(APIConnectionError):
            publish(source, stream, redis=server.url)

    def test_a_password_that_is_wrong(self, stream: str, tmp_path: Path) -> None:
        """Is told at once, and does not appear in the error."""
        server = RedisServer(tmp_path, "--requirepass", "right")
        url = server.url.replace("redis://", "redis://:wrong-secret@")
        try:
            with pytest.raises(PermissionDeniedError) as raised:
                publish(reactivex.of(TextDelta("a")), stream, redis=url)
            seen = reading(url, stream)
            seen.wait()
        finally:
            server.kill()
        assert isinstance(seen.error, PermissionDeniedError)
        assert "wrong-secret" not in f"{raised.value!r} {seen.error!r}"


def test_the_page_runs(redis_server: RedisServer, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of docs/relay.md, one after the other, against a loopback vendor."""
    page = Path(__file__).resolve().parents[2] / "docs" / "relay.md"
    snippets = page.read_text().split("```python\n")[1:]
    names: dict[str, Any] = {"__name__": "__main__", "REDIS": redis_server.url}
    with LLMServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        for snippet in snippets:
            code = snippet.partition("```")[0].replace('"redis://localhost:6379/0"', "REDIS")
            exec(compile(code, str(page), "exec"), names)  # noqa: S102 - our own page
    assert len(snippets) >= 4
    assert isinstance(names["last"], StreamEnd)


def _raise(_: object) -> None:
    raise Boom("the subscriber's own")


def _readers(server: RedisServer) -> list[Any]:
    """The connections that wait for entries of a log."""
    with redis.Redis.from_url(server.url) as client:
        return [each for each in client.client_list() if each["cmd"] == "xread"]


def _wait_for_readers(server: RedisServer, count: int) -> None:
    """Until so many wait, by Redis's own account."""
    with redis.Redis.from_url(server.url) as client:
        while int(client.info("clients")["blocked_clients"]) < count:
            client.blpop(["nothing-is-ever-here"], timeout=0.01)


def _join_readers() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("rxllm-relay-read"):
            thread.join(LIMIT)
            assert not thread.is_alive()
