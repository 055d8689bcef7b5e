"""Streams of a service in another process, read back as Observables over SSE."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import reactivex

from rxllm.assistant.events import StepStart
from rxllm.errors import AuthenticationError, LLMError, NotFoundError, StreamInterruptedError
from rxllm.events import Response, StreamEnd, TextDelta
from rxllm.sinks.iterate import iter_events
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.web import Guard, Service, client

from .running import model_of, running


class Proxy:
    """A TCP relay whose connections can be cut."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)
            target.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    made = Proxy(url)
    yield made
    made.close()


def text_of(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestReading:
    """`ask` and `watch`."""

    def test_an_answer_comes_whole(self, llm: LLMServer, url: str) -> None:
        """With its end and what it cost; options and model go along."""
        llm.enqueue("Hello there")
        events = list(iter_events(client.ask(url, "Hi", model="m", options={"temperature": 0.5})))
        assert "Hello there" == text_of(events)
        assert isinstance(events[-1], StreamEnd)
        assert events[-1].response.usage.output_tokens
        assert ("Hi", 0.5) == (llm.requests[0].prompt, llm.requests[0].json["temperature"])

    def test_disposing_stops_the_stream_there(self, llm: LLMServer, url: str) -> None:
        """The provider behind the service sees it."""
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        came = threading.Event()
        subscription = client.ask(url, "Hi").subscribe(lambda event: isinstance(event, TextDelta) and came.set())
        assert came.wait(60)
        subscription.dispose()
        assert llm.wait_for_request().closed.wait(60)

    def test_a_broken_connection_is_gone_on_with(self, llm: LLMServer, proxy: Proxy) -> None:
        """Nothing lost, nothing twice, one request."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three four", gate=gate))
        events: list[object] = []
        for event in iter_events(client.ask(proxy.url, "Hi")):
            events.append(event)
            if text_of(events) in ("one", "one two three") and isinstance(event, TextDelta):
                proxy.cut()
                gate.release(2)
        assert "one two three four" == text_of(events)
        assert 1 == len(llm.requests)

    def test_errors_are_what_they_are_here(self, llm: LLMServer, url: str) -> None:
        """Of the same class, told once, and not tried again."""
        llm.enqueue(ErrorReply(401, "no such key"), Reply("one two", fault=Drop(1)))
        with pytest.raises(AuthenticationError, match="no such key"):
            list(iter_events(client.ask(url, "Hi")))
        events: list[object] = []
        with pytest.raises(StreamInterruptedError):
            events.extend(iter_events(client.ask(url, "Hi")))
        with pytest.raises(NotFoundError):
            list(iter_events(client.ask(url, "Hi", model="other")))
        with pytest.raises(NotFoundError):
            list(iter_events(client.watch(url, "none")))
        assert 2 == len(llm.requests)

    def test_watching_a_stream_of_others(self, url: str, service: Service) -> None:
        """From where one likes; an assistant's events come too."""
        told = [StepStart(0), TextDelta("one"), StepStart(1), TextDelta("two"), StreamEnd(Response("onetwo"))]
        stream = service.publish(reactivex.from_iterable(told))
        events = list(iter_events(client.watch(url, stream.id)))
        assert told[:-1] == events[:-1]
        assert told[2:-1] == list(iter_events(client.watch(url, stream.id, after=2)))[:-1]

    def test_a_stream_that_was_stopped_is_an_error(self, llm: LLMServer, url: str, service: Service) -> None:
        """Half an answer never looks whole."""
        stream = service.publish(reactivex.concat(reactivex.of(TextDelta("one")), reactivex.never()))
        stream.stop()
        with pytest.raises(StreamInterruptedError, match="stopped"):
            list(iter_events(client.watch(url, stream.id)))

    def test_a_token(self, llm: LLMServer) -> None:
        """For servers that need one."""
        with running(Service({"m": model_of(llm)}, guard=Guard(token="s3cret"))) as url:
            assert "Hi" == text_of(list(iter_events(client.ask(url, "Hi", token="s3cret"))))
            with pytest.raises(LLMError):
                list(iter_events(client.ask(url, "Hi", token="wrong")))
