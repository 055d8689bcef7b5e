"""Who may use a server, how much of it, and how it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
import requests
from reactivex.subject import Subject
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Mount, Route

from rxllm._core.event_log import Entry
from rxllm.errors import ConfigurationError, OverloadedError, PermissionDeniedError, RateLimitError
from rxllm.events import Response, StreamEnd, TextDelta
from rxllm.testing import Gate, LLMServer, Reply, Stall
from rxllm.web import Guard, ServedStream, Service, Streams, sse
from rxllm.web.asgi import StreamResponse, asgi_app
from rxllm.web.stream_registry import Chat

from .running import model_of, running

HELLO = {"prompt": "Hi"}
EVIL = {"origin": "https://evil.example"}


class TestGuard:
    """A browser must not become somebody's way in."""

    @pytest.mark.parametrize(
        "rules", [{"token": ""}, {"hosts": "example.com"}, {"origins": "https://example.com"}, {"proxies": "10.0.0.1"}]
    )
    def test_rules_that_would_let_strangers_in_are_refused(self, rules: dict[str, str]) -> None:
        """Each request has an empty token, and https://example.co is part of the text https://example.com."""
        with pytest.raises(ConfigurationError):
            Guard(**rules)  # type: ignore[arg-type]  # what a program without a type checker may do

    @pytest.mark.parametrize(
        "headers",
        [
            {"host": "chat.example.com", "x-api-key": "secret"},
            {"host": "CHAT.example.com:8000"},
            {"host": "chat.example.com:80", "origin": "http://chat.example.com"},
            {"host": "chat.example.com:443", "origin": "https://chat.example.com"},
            {"host": "chat.example.com", "origin": "https://app.example.com"},
            {"host": "chat.example.com", "authorization": "bearer secret"},
        ],
    )
    def test_names_and_tokens_in_other_spellings(self, headers: dict[str, str]) -> None:
        """Case and default ports do not matter, nor does a "/" after an origin."""
        names = {"hosts": frozenset({"Chat.Example.com"}), "origins": frozenset({"https://App.example.com/"})}
        guard = Guard(**names, token="secret")
        guard.check({"authorization": "Bearer secret"} | headers)

    @pytest.mark.parametrize(
        "headers",
        [
            {"host": "chat.example.com:80", "origin": "https://chat.example.com"},
            {"host": "chat.example.com:443", "origin": "https://chat.example.com:80"},
        ],
    )
    def test_another_port_is_another_origin(self, headers: dict[str, str]) -> None:
        """Another program may serve pages there."""
        with pytest.raises(PermissionDeniedError):
            Guard(hosts=frozenset("*")).check(headers)

    @pytest.mark.parametrize(
        ("forwarded", "client"),
        [
            ("203.0.113.7:50000", "203.0.113.7"),
            ("[2001:db8::7]:50000", "[2001:db8::7]"),
            ("2001:db8::7", "2001:db8::7"),
            ("203.0.113.7, 127.0.0.1:80", "203.0.113.7"),
        ],
    )
    def test_the_port_of_a_client_does_not_count(self, forwarded: str, client: str) -> None:
        """Each of its connections has another one, and a client would have no limits."""
        guard = Guard(proxies=frozenset({"127.0.0.1"}))
        assert client == guard.client_of({"x-forwarded-for": forwarded}, "127.0.0.1")

    @pytest.mark.parametrize("path", ["/api/models", "/v1/models", "/"])
    def test_pages_of_other_origins_are_refused(self, url: str, path: str) -> None:
        """Whatever they ask for."""
        assert 403 == requests.get(url + path, headers=EVIL, timeout=60).status_code

    def test_a_post_from_another_origin_asks_nothing(self, llm: LLMServer, url: str) -> None:
        """No matter how simple the request looks."""
        headers = {**EVIL, "content-type": "text/plain"}
        assert 403 == requests.post(f"{url}/api/chat", json=HELLO, headers=headers, timeout=60).status_code
        assert [] == llm.requests

    def test_other_host_names_are_refused(self, url: str) -> None:
        """A foreign page may point its own name at this machine."""
        for host in ("evil.example", "evil.example:80", "[", ""):
            assert 403 == requests.get(f"{url}/api/models", headers={"host": host}, timeout=60).status_code

    def test_an_allowed_origin_may_read(self, llm: LLMServer) -> None:
        """Preflight, headers and streams alike."""
        origin = "https://app.example.com"
        service = Service({"m": model_of(llm)}, guard=Guard(origins=frozenset({origin})))
        with running(service) as url:
            headers = {"origin": origin}
            preflight = requests.options(f"{url}/api/chat", headers=headers, timeout=60)
            answer = requests.post(f"{url}/api/chat", json=HELLO, headers=headers, timeout=60)
        assert [204, 200] == [preflight.status_code, answer.status_code]
        for response in (preflight, answer):
            assert origin == response.headers["access-control-allow-origin"]

    def test_a_token_opens_the_apis(self, llm: LLMServer) -> None:
        """And nothing else does; the page itself is no secret."""
        service = Service({"m": model_of(llm)}, guard=Guard(token="s3cret"))
        with running(service) as url:
            headers = {"authorization": "Bearer s3cret"}
            assert 401 == requests.get(f"{url}/v1/models", timeout=60).status_code
            assert (
                401 == requests.get(f"{url}/v1/models", headers={"authorization": "Bearer ä"}, timeout=60).status_code
            )
            assert 200 == requests.get(f"{url}/v1/models", headers=headers, timeout=60).status_code
            assert 200 == requests.get(url, timeout=60).status_code
        assert "s3cret" not in repr(service.guard)

    def test_a_body_has_its_limit(self, llm: LLMServer, url: str) -> None:
        """Before all of it is read."""
        body = b'{"prompt": "' + b"x" * (17 * 1024 * 1024)
        assert 413 == requests.post(f"{url}/api/chat", data=body, timeout=60).status_code

    def test_the_page_may_not_be_framed_nor_run_what_is_not_its_own(self, url: str) -> None:
        """The second line of defence."""
        policy = requests.get(url, timeout=60).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


class TestLimits:
    """So many streams, and no more."""

    def test_one_client_and_all_together(self) -> None:
        """429 and 503."""
        streams = Streams(limit=3, per_client=2)
        opened = [streams.open(reactivex.never(), client="a", linger=60) for _ in range(2)]
        with pytest.raises(RateLimitError):
            streams.open(reactivex.never(), client="a")
        opened.append(streams.open(reactivex.never(), client="b", linger=60))
        with pytest.raises(OverloadedError):
            streams.open(reactivex.never(), client="c")
        opened[0].stop()
        opened.append(streams.open(reactivex.never(), client="c", linger=60))
        assert 3 == streams.under_way
        for stream in opened:
            stream.stop()
        assert 0 == streams.under_way

    def test_over_http(self, llm: LLMServer) -> None:
        """With the words when to come again."""
        llm.enqueue(Reply("one", gate=Gate()))
        service = Service({"m": model_of(llm)}, streams=Streams(limit=1))
        with running(service) as url:
            first = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
            refused = requests.post(f"{url}/api/chat", json=HELLO, timeout=60)
            assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
            first.close()

    def test_an_answer_without_end_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream is kept in memory, so it has a bound."""
        monkeypatch.setattr("rxllm.web.served_stream.MAX_CHARS", 100)
        source = Subject[object]()
        disposed = threading.Event()
        stream = ServedStream(source.pipe(reactivex.operators.finally_action(disposed.set)), linger=60)
        stream.start()
        for _ in range(11):
            source.on_next(TextDelta("0123456789"))
        assert "failed" == stream.state
        assert disposed.wait(60)

    def test_ended_streams_are_kept_for_a_while(self) -> None:
        """The newest so many."""
        streams = Streams(keep=2)
        ids = [streams.open(reactivex.of(1)).id for _ in range(3)]
        assert [False, True, True] == [streams.get(name) is not None for name in ids]


class TestFairness:
    """Who has the most of what is kept loses the oldest: no user pushes out what is another's."""

    def test_ended_streams(self) -> None:
        streams = Streams(keep=3)
        hers = streams.open(reactivex.empty(), client="ann", user="ann")
        his = [streams.open(reactivex.empty(), client="bob", user="bob") for _ in range(10)]
        assert streams.get(hers.id, "ann") is hers
        assert [None] * 8 + his[8:] == [streams.get(one.id, "bob") for one in his]

    def test_open_questions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rxllm.web.stream_registry._MAX_QUESTIONS", 3)
        streams = Streams()
        hers, his = (streams.open(reactivex.never(), client=user, user=user) for user in ("ann", "bob"))
        streams.open_question(hers.id, "c1")
        for number in range(10):
            streams.open_question(his.id, f"c{number}")
        assert streams.close_questions(hers.id, ["c1"], "used")
        assert not streams.close_questions(his.id, ["c1"], "used")
        assert streams.close_questions(his.id, ["c9"], "used")
        streams.drain(0)

    def test_names_of_conversations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rxllm.web.stream_registry._MAX_CHATS", 3)
        streams = Streams()
        streams.remember("ann", "talk", Chat("s", "m"))
        for number in range(10):
            streams.remember("bob", f"talk {number}", Chat("s", "m"))
        assert streams.chat("ann", "talk") is not None
        assert [None, None] == [streams.chat("bob", f"talk {number}") for number in (0, 7)]


class TestWatching:
    """A stream and those who watch it."""

    def test_a_stream_is_stopped_when_the_last_has_left(self) -> None:
        """Not before."""
        stream = ServedStream(reactivex.never())
        stream.start()
        bells = [lambda: None, lambda: None]
        for bell in bells:
            stream.watch(bell)
        stream.unwatch(bells[0])
        assert "open" == stream.state
        stream.unwatch(bells[1])
        assert "cancelled" == stream.state

    def test_one_that_lingers_waits_for_somebody_to_come_back(self) -> None:
        """And is stopped when nobody does."""
        ended = threading.Event()
        stream = ServedStream(reactivex.never(), linger=0.05, on_end=lambda _: ended.set())
        stream.start()
        stream.watch(len)  # type: ignore[arg-type]  # never called
        stream.unwatch(len)  # type: ignore[arg-type]
        assert ended.wait(60)
        assert "cancelled" == stream.state

    def test_a_source_that_fails_at_once_is_a_stream_that_failed(self) -> None:
        """Told to who watches, without its words where they are not ours."""
        stream = Streams().open(reactivex.throw(ValueError("the password is hunter2")))
        assert ("failed", ()) == (stream.state, stream.since(0))

    def test_the_end_is_seen_when_the_place_is_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that has read the end may ask again at once."""
        streams, source = Streams(per_client=1), Subject[object]()
        stream = streams.open(source, client="ann", linger=60)
        close, opened = stream._log.close, list[ServedStream]()

        def ask_again(error: Exception | None = None) -> None:
            close(error)
            assert stream.state == "completed"
            opened.append(streams.open(reactivex.empty(), client="ann"))

        monkeypatch.setattr(stream._log, "close", ask_again)
        source.on_completed()
        assert len(opened) == 1

    def test_a_stream_is_found_while_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the streams under way and the ended ones; a conversation as well, while another stream takes it."""
        streams, source = Streams(), Subject[object]()
        stream = streams.open(source, linger=60)

        class Entries(dict[Any, Any]):
            """Looked up by another thread while an entry is put."""

            def __init__(self, entries: dict[Any, Any], look: Callable[[], object]) -> None:
                super().__init__(entries)
                self.found = list[object]()
                self.thread = threading.Thread(target=lambda: self.found.append(look()))

            def __setitem__(self, key: object, value: object) -> None:
                self.thread.start()
                self.thread.join(0.2)  # with a lock it waits; without one it finds nothing
                super().__setitem__(key, value)

        streams.remember("", "talk", Chat(stream.id, "m"))
        chats = Entries(streams._chats._entries, lambda: streams.chat("", "talk"))
        ended = Entries(streams._ended._entries, lambda: streams.get(stream.id))
        monkeypatch.setattr(streams._chats, "_entries", chats)
        monkeypatch.setattr(streams._ended, "_entries", ended)
        streams.remember("", "talk", Chat(stream.id, "n"))
        source.on_completed()
        chats.thread.join(60)
        ended.thread.join(60)
        assert chats.found == [Chat(stream.id, "n")]
        assert ended.found == [stream]

    def test_a_watcher_that_took_less_does_not_hold_up_the_producer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes at the same time as one that takes all."""
        source = Subject[object]()
        stream = ServedStream(source, linger=60)
        stream.start()
        source.on_next(TextDelta("a"))

        class Number(int):
            """Compared while the other watcher takes."""

            def __gt__(self, other: int) -> bool:
                is_greater = super().__gt__(other)
                if not taken:
                    taken.append(True)
                    source.on_next(TextDelta("b"))
                    stream.since(0)
                return is_greater

        taken = list[bool]()
        after = stream._log.after
        first = [Entry[object](Number(1), TextDelta("a"))]
        monkeypatch.setattr(stream._log, "after", lambda *arguments: after(*arguments) if taken else first)
        stream.since(0)
        assert stream._taken_to == 2
        stream.stop()


class TestEndings:
    """A server that stops."""

    def test_draining_lets_streams_end_and_stops_the_rest(self) -> None:
        """And takes no new ones."""
        streams = Streams()
        source = Subject[object]()
        ends = streams.open(source, linger=60)
        stays = streams.open(reactivex.never(), linger=60)
        left_ended = threading.Event()
        streams.open(reactivex.never().pipe(reactivex.operators.finally_action(left_ended.set)), linger=60)
        for stream in (ends, stays):
            stream.watch(lambda: None)
        draining = threading.Thread(target=lambda: streams.drain(1.0))
        draining.start()
        assert left_ended.wait(60)
        source.on_next(StreamEnd(Response()))
        source.on_completed()
        draining.join()  # these watchers never leave: it waits for them as long as it ever does
        assert ["completed", "cancelled"] == [ends.state, stays.state]
        with pytest.raises(OverloadedError):
            streams.open(reactivex.never())

    def test_draining_waits_until_watchers_have_the_end(self) -> None:
        """A server closes its connections after that."""
        streams = Streams()
        stream = streams.open(reactivex.never())
        stopped = threading.Event()
        stream.watch(stopped.set)
        draining = threading.Thread(target=lambda: streams.drain(0))
        draining.start()
        assert stopped.wait(60)
        assert draining.is_alive()
        stream.unwatch(stopped.set)
        draining.join()

    def test_stopping_the_server_closes_what_is_under_way(self, llm: LLMServer) -> None:
        """The provider sees it."""
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        with running(Service({"m": model_of(llm)})) as url:
            response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
            gate.wait_until_reached()
        assert llm.wait_for_request().closed.wait(60)
        response.close()


def test_in_an_application_of_ones_own(llm: LLMServer) -> None:
    """An endpoint with a feed, and the whole service mounted beside it."""
    model = model_of(llm)

    async def ask(request: object) -> StreamResponse:
        return StreamResponse(sse(model.stream("Hi")))

    service = Service({"m": model})
    app = Starlette(routes=[Route("/ask", ask), Mount("/llm", asgi_app(service))])
    llm.enqueue("Hello there", "And here")
    with running(service, app=app) as url:
        assert '"text":"Hello' in requests.get(f"{url}/ask", timeout=60).text
        assert '"text":"And' in requests.post(f"{url}/llm/api/chat", json=HELLO, timeout=60).text


def test_background_tasks_run_after_the_stream(llm: LLMServer) -> None:
    """FastAPI sets them so for an endpoint with `BackgroundTasks`. They run also if the client has left."""
    model = model_of(llm)
    ended: queue.Queue[str] = queue.Queue()

    async def ask(request: Request) -> StreamResponse:
        response = StreamResponse(sse(model.stream("Hi")))
        response.background = BackgroundTask(ended.put, request.query_params["name"])
        return response

    llm.enqueue("Hello there", Reply("And", fault=Stall(after=1)))
    with running(None, app=Starlette(routes=[Route("/ask", ask)])) as url:
        assert '"text":"Hello' in requests.get(f"{url}/ask?name=whole", timeout=60).text
        assert "whole" == ended.get(timeout=60)
        with requests.get(f"{url}/ask?name=left", stream=True, timeout=60):
            assert ended.empty()
        assert "left" == ended.get(timeout=60)


class TestSlowReaders:
    """The producer is never far ahead of its fastest reader."""

    @pytest.fixture(autouse=True)
    def at_most_1000_ahead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rxllm.web.served_stream.MAX_UNREAD_CHARS", 1000)

    def begin(self, **options: object) -> tuple[ServedStream, threading.Event]:
        """A stream whose producer has much to say, and whether it has said everything."""
        source = Subject[object]()
        said = threading.Event()
        stream = ServedStream(source, linger=60, **options)  # type: ignore[arg-type]
        stream.start()
        stream.watch(lambda: None)

        def produce() -> None:
            for _ in range(100):
                source.on_next(TextDelta("x" * 100))
            said.set()

        threading.Thread(target=produce, daemon=True).start()
        return stream, said

    def test_it_goes_on_when_the_reader_does(self) -> None:
        """And everything arrives."""
        stream, said = self.begin()
        after = 0
        while not said.is_set():
            for entry in stream.since(after):
                after = entry.id
            assert stream.last - after <= 11 + 1
        assert 100 == stream.last

    def test_a_reader_that_is_interrupted_loses_no_count(self) -> None:
        """The producer says much while the reader is between two steps: it still goes on when that is read."""
        source, said = Subject[object](), threading.Event()
        stream = ServedStream(source, linger=60)
        stream.start()
        stream.watch(lambda: None)
        read = stream._log.after

        def produce() -> None:
            for _ in range(100):
                source.on_next(TextDelta("x" * 100))
            said.set()

        def interrupted(*arguments: int) -> list[Entry[object]]:
            stream._log.after = read  # type: ignore[method-assign]
            threading.Thread(target=produce, daemon=True).start()
            while stream.last < 11:  # where the producer waits
                threading.Event().wait(0.01)
            return read(*arguments)

        stream._log.after = interrupted  # type: ignore[method-assign, assignment]
        after = 0
        while not said.wait(0.01):
            for entry in stream.since(after):
                after = entry.id
        assert 100 == stream.last

    def test_the_last_reader_may_leave_inside_of_the_producers_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the garbage collector runs there and finds it: the producer does not wait for its own lock."""
        source = Subject[object]()
        stream = ServedStream(source)
        wait = threading.Condition.wait
        notify = list[object]().clear

        def leave_first(condition: threading.Condition, timeout: float | None = None) -> bool:
            if threading.current_thread() is producer and stream.is_watched:
                stream.unwatch(notify)
            return wait(condition, timeout)

        producer = threading.Thread(target=source.on_next, args=(TextDelta("x" * 2000),), daemon=True)
        stream.start()
        stream.watch(notify)
        monkeypatch.setattr(threading.Condition, "wait", leave_first)
        producer.start()
        producer.join(60)
        assert not producer.is_alive()
        assert "cancelled" == stream.state

    @pytest.mark.parametrize("end", ["the reader leaves", "the stream is stopped"])
    def test_it_waits_for_nobody(self, end: str) -> None:
        """Who has left, or who has stopped it."""
        stream, said = self.begin()
        while stream.last < 11:  # where the producer waits
            threading.Event().wait(0.01)
        assert stream.last == 11
        if end == "the stream is stopped":
            stream.stop()
        else:
            stream.unwatch(stream._watchers[0])
        assert said.wait(60)

    def test_it_waits_for_no_reader_that_has_vanished(self) -> None:
        """A closed event loop notifies nothing: the waiting producer checks its watchers itself."""
        stream, said = self.begin()
        has_vanished = threading.Event()
        stream.watch(lambda: not has_vanished.is_set())
        stream.unwatch(stream._watchers[0])
        while stream.last < 11:  # where the producer waits
            threading.Event().wait(0.01)
        has_vanished.set()
        assert said.wait(60)
