"""A crowd: once a request is sent, no thread waits for the head of its response; and every promise holds there."""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

import rxllm
from rxllm import LLMError, StreamingModel, Timeout
from rxllm._core.thread_choice import admission
from rxllm._runtime.thread_cache import Workers
from rxllm._transport import body

from ..raw_server import LIMIT, Connection, RawServer

EVENTS = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(EVENTS)


@pytest.fixture(autouse=True)
def crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream is one too many to have a thread."""
    monkeypatch.setattr("rxllm._core.thread_choice.CROWD", 0)


class Ends:
    """How streams end: with their text, or an error."""

    def __init__(self) -> None:
        self.results: list[str | Exception] = []
        self._one = threading.Semaphore(0)

    def subscribe(self, model: StreamingModel) -> Any:
        text: list[str] = []
        stream = model.stream("Hi").pipe(rxllm.operators.text())
        return stream.subscribe(text.append, self._end, lambda: self._end("".join(text)))

    def wait(self, count: int = 1) -> Any:
        """The result of the last of `count` streams."""
        for _ in range(count):
            assert self._one.acquire(timeout=LIMIT)
        return self.results[-1]

    def _end(self, result: str | Exception) -> None:
        self.results.append(result)
        self._one.release()


def model_at(server: RawServer, scheme: str = "http", **options: Any) -> StreamingModel:
    url = server.url.replace("http:", f"{scheme}:")
    options = {"max_retries": 0, **options}
    return rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=url, **options)


def result_of(handle: Callable[[Connection], object], **options: Any) -> Any:
    with RawServer(handle) as server, model_at(server, **options) as model:
        ends = Ends()
        ends.subscribe(model)
        return ends.wait()


def answer(connection: Connection, data: bytes = HEAD + EVENTS) -> None:
    connection.read_request()
    connection.send(data)


class Held:
    """A server that has read all requests before it answers any, in the way of `answer`."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, connection: Connection) -> None:
        connection.read_request()
        self.came.release()
        assert self.go_on.wait(LIMIT)
        connection.send(HEAD + EVENTS)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.came.acquire(timeout=LIMIT)


def waiting_threads() -> list[str]:
    """The threads that read one stream, once those that only start it have ended, or lead the reactor."""
    limit = time.monotonic() + LIMIT
    for thread in threading.enumerate():
        while thread.is_alive() and thread.name.startswith("rxllm-openai") and time.monotonic() < limit:
            thread.join(0.01)  # nothing tells when it gets another name
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rxllm-openai")]


def test_no_thread_waits_for_a_head() -> None:
    """However many streams wait; and all of them are answered."""
    held = Held()
    with RawServer(held) as server, model_at(server) as model:
        ends = Ends()
        for _ in range(30):
            ends.subscribe(model)
        held.wait(30)
        assert waiting_threads() == []
        held.go_on.set()
        ends.wait(30)
    assert ends.results == ["Hello"] * 30


def test_streams_that_expire_before_they_start_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """They free their places for others when their turn comes."""
    monkeypatch.setattr(admission, "_is_busy", lambda: True)  # requests start every 20 ms only
    with RawServer(answer) as server, model_at(server, timeout=Timeout(total=0.1)) as model:
        ends = Ends()
        for _ in range(30):
            ends.subscribe(model)
        ends.wait(30)
    assert any(isinstance(result, rxllm.APITimeoutError) for result in ends.results)
    pause = threading.Event()
    for _ in range(int(LIMIT * 100)):
        if not admission.waiting and not admission._starting:
            return
        pause.wait(0.01)
    raise AssertionError(f"{admission.waiting} wait, {len(admission._starting)} start")


def test_a_head_may_come_in_parts_and_after_interim_responses() -> None:
    """Byte by byte, with 1xx responses before it."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        data = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD
        for position in range(len(data)):
            connection.send(data[position : position + 1])
        connection.send(EVENTS)

    assert result_of(handle) == "Hello"


def test_disposing_closes_the_connection_before_the_head() -> None:
    """Nothing is delivered, and the next stream works."""
    held = Held()

    def handle(connection: Connection) -> None:
        if not connection.number:
            connection.read_request()
            held.came.release()
            connection.wait_closed()
        else:
            answer(connection)

    with RawServer(handle) as server, model_at(server) as model:
        ends = Ends()
        stream = ends.subscribe(model)
        held.wait(1)
        stream.dispose()
        assert server.connections[0].closed.wait(LIMIT)
        ends.subscribe(model)
        assert ends.wait() == "Hello"
    assert ends.results == ["Hello"]


@pytest.mark.parametrize("sent", [b"", HEAD[:20], b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["nothing", "part", "1xx"])
@pytest.mark.parametrize(
    ("limits", "phase"),
    [({"first_token": 0.2}, "first_token"), ({"silence": 0.2}, "silence"), ({"total": 0.2}, "total")],
)
def test_each_time_limit_holds_before_the_head(limits: dict[str, float], phase: str, sent: bytes) -> None:
    """The error says which limit has passed, and the connection is closed."""

    def handle(connection: Connection) -> None:
        answer(connection, sent)
        connection.wait_closed()

    error = result_of(handle, timeout=Timeout(**limits))
    assert isinstance(error, rxllm.APITimeoutError)
    assert error.phase == phase


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"", rxllm.APIConnectionError, "without an answer"),
        (HEAD[:30], rxllm.APIConnectionError, "without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", rxllm.ProtocolError, "not HTTP/1"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", rxllm.ProtocolError, "101"),
        (b"HTTP/1.1 102 P\r\n\r\n" * 100, rxllm.ProtocolError, "interim"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, rxllm.ProtocolError, "exceed"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 9\r\n\r\n", rxllm.APIStatusError, "redirects"),
        (
            b"HTTP/1.1 401 No\r\nContent-Length: 30\r\n\r\n" + b'{"error": {"message": "bad"}}\n',
            rxllm.AuthenticationError,
            "bad",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", rxllm.StreamError, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b"x", rxllm.StreamError, ""),
    ],
    ids=["closed", "cut", "no HTTP", "101", "100 times 102", "long", "redirect", "401", "empty", "cut body"],
)
def test_a_broken_answer_is_an_error_of_its_stream(data: bytes, kind: type[LLMError], text: str) -> None:
    """Of the same type as on a thread of its own."""
    error = result_of(lambda connection: answer(connection, data))
    assert isinstance(error, kind)
    assert text in str(error)


@pytest.mark.parametrize("is_crowd", [False, True], ids=["thread", "crowd"])
def test_what_came_with_a_broken_chunk_is_delivered(is_crowd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error follows at once, with all that had arrived, although the connection stays open."""
    monkeypatch.setattr("rxllm._core.thread_choice.CROWD", 0 if is_crowd else 1000)
    delta = EVENTS.partition(b"\n\n")[0] + b"\n\n"

    def handle(connection: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer(connection, head + b"%x\r\n%b\r\nno number\r\n" % (len(delta), delta))
        connection.wait_closed()

    error = result_of(handle)
    assert isinstance(error, rxllm.ProtocolError)
    assert error.partial is not None
    assert error.partial.text == "Hello"


@pytest.mark.parametrize("is_split", [False, True], ids=["first read", "later read"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_came_before_corrupt_compressed_bytes_is_delivered(coding: str, is_split: bool) -> None:
    """The error follows at once, with all that had arrived, although the connection stays open."""
    delta = EVENTS.partition(b"\n\n")[0] + b"\n\n"
    compressor = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    packed = [compressor.compress(delta) + compressor.flush(zlib.Z_SYNC_FLUSH) for _ in range(3)]
    delivered = threading.Event()

    def handle(connection: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 9999\r\n\r\n" % coding.encode()
        answer(connection, head + packed[0] if is_split else head)
        if is_split:
            assert delivered.wait(LIMIT)
        connection.send(b"".join(packed[is_split:]) + b"\xff" * 20)
        connection.wait_closed()

    errors: list[Any] = []
    ended = threading.Event()
    with RawServer(handle) as server, model_at(server) as model:
        model.stream("Hi").subscribe(lambda _: delivered.set(), lambda error: (errors.append(error), ended.set()))
        assert ended.wait(LIMIT)
    assert isinstance(errors[0], rxllm.ProtocolError)
    assert errors[0].partial.text == "Hello" * 3


def test_compressed_bytes_that_are_no_text_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come before the next text, or before corrupt bytes."""
    compressor = zlib.compressobj(wbits=31)
    delta = EVENTS.partition(b"\n\n")[0] + b"\n\n"
    start, text = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH) for data in (b"", delta))
    sizes: list[int] = []

    def recover(decoder: Any, compressed: bytes) -> bytes:
        sizes.append(len(compressed))
        return before_corruption(decoder, compressed)

    before_corruption = body._before_corruption
    monkeypatch.setattr(body, "_before_corruption", recover)

    def handle(connection: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n"
        answer(connection, head + start + b"\0\0\0\xff\xff" * 200_000 + text + b"\xff" * 20)
        connection.wait_closed()

    error = result_of(handle)
    assert isinstance(error, rxllm.ProtocolError)
    assert error.partial is not None
    assert error.partial.text == "Hello"
    assert sizes[0] <= body.BLOCK_BYTES


def test_error_bodies_that_stall_delay_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read on threads of their own, and each stream has its status."""
    monkeypatch.setattr("rxllm._transport.body._ERROR_SECONDS", 1.0)

    def handle(connection: Connection) -> None:
        if connection.number < 10:
            answer(connection, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\n{")
            connection.wait_closed()
        else:
            answer(connection)

    with RawServer(handle) as server, model_at(server) as model:
        ends = Ends()
        for _ in range(10):
            ends.subscribe(model)
        ends.subscribe(model)
        ends.wait(11)
    assert ends.results.count("Hello") == 1
    assert sum(isinstance(result, rxllm.AuthenticationError) for result in ends.results) == 10


def test_a_request_on_a_stale_connection_is_sent_once_more() -> None:
    """The server closes the pooled connection when the second request has come."""
    requests_read = threading.Semaphore(0)

    def handle(connection: Connection) -> None:
        answer(connection)
        if not connection.number:
            connection.read_request()
            requests_read.release()

    with RawServer(handle) as server, model_at(server) as model:
        ends = Ends()
        for _ in range(2):
            ends.subscribe(model)
            assert ends.wait() == "Hello"
        assert requests_read.acquire(timeout=LIMIT)
        assert len(server.connections) == 2


def test_a_connection_that_has_begun_to_answer_is_not_sent_to_again() -> None:
    """Not even after a 1xx response alone."""

    def handle(connection: Connection) -> None:
        answer(connection)
        answer(connection, b"HTTP/1.1 103 Early Hints\r\n\r\n")

    with RawServer(handle) as server, model_at(server) as model:
        ends = Ends()
        ends.subscribe(model)
        assert ends.wait() == "Hello"
        ends.subscribe(model)
        assert isinstance(ends.wait(), rxllm.APIConnectionError)
        assert len(server.connections) == 1


def test_a_compressed_body_is_read() -> None:
    """As it comes, and like any other."""
    first, rest = EVENTS[: EVENTS.index(b"\n\n") + 2], EVENTS[EVENTS.index(b"\n\n") + 2 :]
    compressor = zlib.compressobj(wbits=31)
    packed = compressor.compress(first) + compressor.flush(zlib.Z_SYNC_FLUSH)
    delivered = threading.Event()
    results: list[str] = []

    def handle(connection: Connection) -> None:
        answer(connection, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + packed[:10])
        connection.send(packed[10:])
        assert delivered.wait(LIMIT)
        connection.send(compressor.compress(rest) + compressor.flush())

    with RawServer(handle) as server, model_at(server) as model:
        for event in rxllm.iter_events(model.stream("Hi")):
            delivered.set()
            results.append(getattr(event, "text", ""))
    assert "".join(results) == "Hello"


def test_hooks_of_a_session_are_called() -> None:
    """They may block, or send another request."""
    with requests.Session() as session:
        seen: list[int] = []
        session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
        assert result_of(answer, session=session) == "Hello"
        assert seen == [200]


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ssl.SSLContext, requests.Session]]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile(dir=str(tmp_path)) as path, requests.Session() as session:
        session.verify = path
        yield context, session


def test_no_thread_waits_because_of_session_tickets(tls: tuple[ssl.SSLContext, requests.Session]) -> None:
    """TLS 1.3 sends them after the handshake: the socket is readable, but no answer has come."""
    context, session = tls
    held = Held()

    def handle(connection: Connection) -> None:
        connection.start_tls(context)
        held(connection)

    with RawServer(handle) as server, model_at(server, "https", session=session) as model:
        ends = Ends()
        for _ in range(5):
            ends.subscribe(model)
        held.wait(5)
        assert waiting_threads() == []
        reading = {thread.name for thread in threading.enumerate() if thread.name.startswith("rxllm-reactor")}
        assert len(reading) <= 2  # the leader and its follower
        held.go_on.set()
        ends.wait(5)
    assert ends.results == ["Hello"] * 5


def test_large_tls_records_are_read_to_their_end(tls: tuple[ssl.SSLContext, requests.Session]) -> None:
    """What OpenSSL has already taken from the socket does not make it readable."""
    context, session = tls
    delta = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % (b"x" * 40_000)

    def handle(connection: Connection) -> None:
        connection.start_tls(context)
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + delta + EVENTS)
        connection.wait_closed()

    with RawServer(handle) as server, model_at(server, "https", session=session) as model:
        ends = Ends()
        ends.subscribe(model)
        assert ends.wait() == "x" * 40_000 + "Hello"


def test_without_a_thread_for_what_blocks_the_stream_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a typed error."""
    held, start = Held(), Workers.run

    def refuse(self: Workers, name: str, task: Callable[[], None]) -> None:
        if name.startswith("rxllm-openai"):
            raise RuntimeError("can't start new thread")
        start(self, name, task)  # the reactor's; what starts a request does not come here

    def handle(connection: Connection) -> None:
        connection.read_request()
        held.came.release()
        assert held.go_on.wait(LIMIT)
        connection.send(b"HTTP/1.1 500 Broken\r\nContent-Length: 9\r\n\r\n")
        connection.wait_closed()

    monkeypatch.setattr(Workers, "run", refuse)
    with RawServer(handle) as server, model_at(server) as model:
        ends = Ends()
        ends.subscribe(model)
        held.wait(1)
        assert waiting_threads() == []
        held.go_on.set()
        error = ends.wait()
        assert isinstance(error, rxllm.APIConnectionError)
        assert "can't start new thread" in str(error)
        assert server.connections[0].closed.wait(LIMIT)
