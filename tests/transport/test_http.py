"""The transport: every body read as it comes, every failure ours, and closed at once in any phase."""

from __future__ import annotations

import gzip
import itertools
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from rxllm._protocol import WireRequest
from rxllm._runtime.platform import is_readable
from rxllm._transport.body import MAX_ERROR_BYTES, Body
from rxllm._transport.connections import Call, CallAborted, CallPhase
from rxllm._transport.http import Transport
from rxllm.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    LLMError,
    ProtocolError,
    RateLimitError,
    StreamInterruptedError,
)

from ..raw_server import LIMIT, Connection, RawServer, full_backlog
from .opening import open_response, way  # noqa: F401 - a fixture

KEY = "sk-secret-0123456789"


def nothing(_: CallPhase) -> None:
    pass


def request_to(url: str, **headers: str) -> WireRequest:
    return WireRequest(url, {"Authorization": f"Bearer {KEY}", **headers}, b"{}")


def open_body(url: str, transport: Transport | None = None, call: Call | None = None) -> Body:
    return open_response(transport or Transport(), request_to(url), call or Call(nothing))


def blocks_of(body: Body) -> Iterator[bytes]:
    while not body.at_end:
        yield body.read()


def read_all(body: Body) -> bytes:
    try:
        return b"".join(blocks_of(body))
    finally:
        body.close()


def answering(*args: object, **kwargs: object) -> Callable[[Connection], None]:
    """A handler that gives the same answer to each request of a connection."""

    def handle(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.respond(*args, **kwargs)  # type: ignore[arg-type]

    return handle


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (chunked(b"Hello ", b"world"), [CHUNKED]),
        (b"Hello world", []),
        (b"Hello world", ["Connection: close"]),
        (gzip.compress(b"Hello world"), ["Content-Encoding: gzip"]),
        (chunked(gzip.compress(b"Hello world")), [CHUNKED, "Content-Encoding: gzip"]),
        (zlib.compress(b"Hello world"), ["Content-Encoding: deflate"]),
        (b"Hello world", ["Content-Encoding: none"]),
        (chunked(b"Hello world"), [CHUNKED, "Content-Encoding: UTF-8", CHUNKED]),
    ],
    ids=["chunked", "length", "close", "gzip", "chunked gzip", "deflate", "none", "chunked said twice"],
)
def test_a_body_is_read_whatever_its_framing(body: bytes, headers: list[str]) -> None:
    """Chunked, with a length, up to the close, and compressed; also if headers say what is not so."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(body, *headers)

    with RawServer(handle) as server:
        assert read_all(open_body(server.url)) == b"Hello world"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_bytes_are_handed_on_as_they_come(framing: str) -> None:
    """A read returns what is there: it does not wait for a block to fill."""
    proceed = threading.Event()
    header = {"chunked": CHUNKED, "length": "Content-Length: 6", "close": "Connection: close"}[framing]
    pieces = [b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"] if framing == "chunked" else [b"one", b"two"]

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(pieces[0], header)
        proceed.wait(LIMIT)
        connection.send(pieces[1])

    with RawServer(handle) as server:
        body = open_body(server.url)
        assert body.read() == b"one"
        proceed.set()
        assert read_all(body) == b"two"


@pytest.mark.parametrize("headers", [[CHUNKED], []], ids=["chunked", "length"])
def test_a_connection_serves_again(headers: list[str]) -> None:
    """A body read to its end gives its connection back."""
    payload = chunked(b"data") if headers else b"data"
    transport = Transport()
    with RawServer(answering(payload, *headers)) as server:
        for _ in range(3):
            assert read_all(open_body(server.url, transport)) == b"data"
        assert len(server.connections) == 1
        transport.close()


def test_the_tail_after_the_last_event_is_drained() -> None:
    """A stream that stops reading at its terminal event keeps the connection where the rest is at hand."""
    transport = Transport()
    with RawServer(answering(chunked(b"the end", b"tail"), CHUNKED)) as server:
        for _ in range(2):
            body = open_body(server.url, transport)
            body.read()
            body.finish()
        assert len(server.connections) == 1
        transport.close()


def test_closing_closes_idle_connections_now() -> None:
    """Whoever still holds an answer does not hold its connection."""
    transport = Transport()
    with RawServer(answering(b"all")) as server:
        body = open_body(server.url, transport)
        assert body.read() == b"all"
        body.finish()
        transport.close()
        assert server.connections[0].closed.wait(LIMIT)
    assert body.status == 200


def test_a_tail_that_does_not_come_closes_the_connection() -> None:
    """A server that holds the connection open after the last event is not waited for."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"7\r\nthe end\r\n", CHUNKED)
        connection.wait_closed()

    with RawServer(handle) as server:
        body = open_body(server.url)
        assert body.read() == b"the end"
        assert not body.finish()
        body.close()
        assert server.connections[0].closed.wait(LIMIT)


def test_a_pooled_connection_that_the_server_closed_is_replaced() -> None:
    """Nobody notices that the server hung up between two requests."""
    transport = Transport()
    hang_up = threading.Event()

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"data")
        if connection.number == 0:
            # Let the second request in, then close without an answer: the client cannot have known.
            with suppress(ConnectionResetError):
                connection.read_request()
            hang_up.set()
        else:
            connection.wait_closed()

    with RawServer(handle) as server:
        assert read_all(open_body(server.url, transport)) == b"data"
        assert read_all(open_body(server.url, transport)) == b"data"
        assert hang_up.is_set()
        assert len(server.connections) == 2
        transport.close()


@pytest.mark.parametrize(
    ("unsolicited", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", 4),
        (b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 2),
        (b"\r\n", 2),
    ],
    ids=["an answer", "an idle timeout", "a blank line"],
)
def test_what_a_server_sends_on_an_idle_connection_is_nobodys_answer(unsolicited: bytes, connections: int) -> None:
    """The connection is closed; and a server that has sent an answer too many gets no second request on any other."""
    transport, send = Transport(), threading.Event()

    def handle(connection: Connection) -> None:
        for number in itertools.count():
            connection.read_request()
            connection.respond(b"mine")
            if connection.number == number == 0 and send.wait(LIMIT):
                connection.send(unsolicited)

    with RawServer(handle) as server:
        assert read_all(open_body(server.url, transport)) == b"mine"
        (idle,) = transport.pool._idle
        send.set()
        while not is_readable(idle.sock):  # until the bytes have arrived
            threading.Event().wait(0.001)
        for _ in range(3):
            assert read_all(open_body(server.url, transport)) == b"mine"
        assert len(server.connections) == connections
        transport.close()


def test_what_arrives_after_a_connection_was_taken_is_nobodys_answer() -> None:
    """It is checked again, right before the request is written."""
    transport = Transport()
    send, sent = threading.Event(), threading.Event()

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"mine")
        if connection.number == 0 and send.wait(LIMIT):
            connection.respond(b"stolen")
            sent.set()

    def on_phase(phase: CallPhase) -> None:
        send.set()
        assert sent.wait(LIMIT)

    with RawServer(handle) as server:
        assert read_all(open_body(server.url, transport)) == b"mine"
        assert read_all(open_body(server.url, transport, Call(on_phase))) == b"mine"
        assert len(server.connections) == 2
        transport.close()


def test_a_connection_in_use_when_its_pool_closes_is_not_kept() -> None:
    """It closes with its answer; the next request makes one that is kept."""

    def handle(connection: Connection) -> None:
        for _ in range(2):
            connection.read_request()
            connection.respond(b"mine")
        connection.wait_closed()

    transport = Transport()
    with RawServer(handle) as server:
        body = open_body(server.url, transport)
        transport.close()
        assert read_all(body) == b"mine"
        assert [read_all(open_body(server.url, transport)) for _ in range(2)] == [b"mine"] * 2
        assert len(server.connections) == 2
        transport.close()


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"5\r\nHel", [CHUNKED], StreamInterruptedError),
        (b"5\r\nHello\r\n", [CHUNKED], StreamInterruptedError),
        (b"zz\r\nHello\r\n0\r\n\r\n", [CHUNKED], ProtocolError),
        (b"Hello", ["Content-Length: 50"], StreamInterruptedError),
        (gzip.compress(b"Hello")[:12] + b"not gzip at all", ["Content-Encoding: gzip"], ProtocolError),
        (b"Hello", ["Content-Encoding: zz-top"], ProtocolError),
    ],
    ids=["in a chunk", "between chunks", "bad chunk size", "short of its length", "corrupt gzip", "unknown encoding"],
)
def test_a_broken_body_is_a_typed_error(body: bytes, headers: list[str], error: type[LLMError]) -> None:
    """A connection that ends too early is an interruption; bytes that cannot be read are a protocol error."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(body, *headers)

    with RawServer(handle) as server, pytest.raises(error):
        read_all(open_body(server.url))


def test_a_reset_in_the_body_is_an_interruption() -> None:
    """A TCP reset after some of the answer."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"5\r\nHello\r\n", CHUNKED)
        arrived.wait(LIMIT)
        connection.reset()

    arrived = threading.Event()
    with RawServer(handle) as server:
        body = open_body(server.url)
        assert body.read() == b"Hello"
        arrived.set()
        with pytest.raises(StreamInterruptedError):
            read_all(body)


def test_an_error_answer_is_its_error() -> None:
    """The server's words, status and request id; nothing of the request's headers."""
    body = b'{"error": {"message": "Incorrect key"}}'
    with RawServer(answering(body, "x-request-id: req_1", status="401 Unauthorized")) as server:
        with pytest.raises(AuthenticationError, match="Incorrect key") as caught:
            open_body(server.url)
        assert caught.value.request_id == "req_1"
        assert KEY not in repr(caught.value) + str(caught.value) + str(vars(caught.value))


def test_a_retry_after_is_passed_on() -> None:
    """The wait that a 429 asks for is on the error."""
    with RawServer(answering(b"{}", "Retry-After: 7", status="429 Too Many Requests")) as server:
        with pytest.raises(RateLimitError) as caught:
            open_body(server.url)
        assert caught.value.retry_after == 7.0


def test_an_endless_error_body_is_cut() -> None:
    """No more than 64 KiB of an error are read; then the connection closes."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"", "Connection: close", status="400 Bad Request")
        sent = 0
        with suppress(OSError):
            while sent < 100 * MAX_ERROR_BYTES:
                connection.send(b"x" * 65536)
                sent += 65536
        stopped_at.append(sent)
        connection.closed.set()

    stopped_at: list[int] = []
    with RawServer(handle) as server:
        with pytest.raises(APIStatusError):
            open_body(server.url)
        assert server.connections[0].closed.wait(LIMIT)
        assert stopped_at[0] < 100 * MAX_ERROR_BYTES


def test_a_redirect_is_not_followed() -> None:
    """A key goes to the host it was given for, and to no other."""
    with RawServer(answering(b"stolen")) as other:
        target = f"Location: {other.url}/steal?code=1"
        with RawServer(answering(b"", target, status="307 Temporary Redirect")) as server:
            with pytest.raises(APIStatusError, match="redirects") as caught:
                open_body(server.url)
            assert "code=1" not in str(caught.value)
        assert other.connections == []


def test_not_modified_is_no_redirect() -> None:
    """A broken cache sends 304 to a request that has no copy."""
    with RawServer(answering(b"", status="304 Not Modified")) as server, pytest.raises(APIStatusError) as caught:
        open_body(server.url)
    assert "HTTP 304" == str(caught.value)


def test_netrc_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unasked, requests would send what .netrc holds for the host instead of the key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password pass\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[str] = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request()[1]["authorization"])
        connection.respond(b"ok")

    with RawServer(handle) as server:
        read_all(open_body(server.url))
    assert seen == [f"Bearer {KEY}"]


def test_a_header_with_a_line_break_is_refused() -> None:
    """Header injection is a configuration error, and the message does not repeat the value."""
    request = request_to("http://127.0.0.1:9", **{"X-Extra": f"a\r\n{KEY}"})
    with pytest.raises(ConfigurationError) as caught:
        open_response(Transport(), request, Call(nothing))
    assert KEY not in str(caught.value)


def test_a_refused_connection_is_a_connection_error() -> None:
    """Nothing listens there."""
    with RawServer(lambda connection: None) as server:
        url = server.url
    with pytest.raises(APIConnectionError, match="refused"):
        open_body(url)


def test_an_unknown_host_is_a_connection_error() -> None:
    """The name does not resolve, and the message speaks of that and of nothing of ours."""
    with pytest.raises(APIConnectionError, match=r"^no answer from http://nobody\.invalid: gaierror: "):
        open_body("http://nobody.invalid/")


def test_an_answer_that_is_not_http_is_a_protocol_error() -> None:
    """Another protocol answers on that port, so the request is not repeated."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    with RawServer(handle) as server, pytest.raises(ProtocolError, match="SSH"):
        open_body(server.url)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\n\r\n"])
def test_a_head_ends_at_its_first_blank_line(blank: bytes, size: int) -> None:
    """A body may contain the other kind of blank line: a chunked one ends with it. However the bytes are cut."""
    data = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked" + blank + b"5\r\nHello\r\n0\r\n\r\n"

    def handle(connection: Connection) -> None:
        connection.read_request()
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])

    with RawServer(handle) as server:
        assert read_all(open_body(server.url)) == b"Hello"


def test_empty_lines_without_end_are_refused() -> None:
    """Before the response, where a few are allowed, they do not fill the memory."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        while True:
            connection.send(b"\r\n" * 1000)

    with RawServer(handle) as server, pytest.raises(ProtocolError, match="exceed"):
        open_body(server.url)


def test_a_failed_tls_handshake_is_a_connection_error_and_final() -> None:
    """A server that does not speak TLS will not speak it on the second try."""

    def handle(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(handle) as server:
        with pytest.raises(APIConnectionError, match="TLS") as caught:
            open_body(server.url.replace("http:", "https:"))
        assert not caught.value.transient


def test_a_connection_that_is_closed_in_the_tls_handshake_is_a_transient_error() -> None:
    """The server, or something before it, may be overloaded."""

    def read_first_bytes(connection: Connection) -> None:
        connection.receive()

    with RawServer(read_first_bytes) as server:
        with pytest.raises(APIConnectionError) as caught:
            open_body(server.url.replace("http:", "https:"))
        assert caught.value.transient


def test_a_callers_session_is_used() -> None:
    """Its headers and hooks hold."""
    session = requests.Session()
    session.headers["X-Team"] = "blue"
    seen: list[str] = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request()[1]["x-team"])
        connection.respond(b"ok")

    with RawServer(handle) as server:
        assert read_all(open_body(server.url, Transport(session))) == b"ok"
    assert seen == ["blue"]
    session.close()


class TestAbort:
    """From another thread, in every phase: the blocked thread wakes, and the server sees the close."""

    def abort_while_opening(self, url: str, reached: Callable[[], bool]) -> None:
        call = Call(nothing)
        ended: list[BaseException] = []

        def work() -> None:
            try:
                read_all(open_body(url, call=call))
            except BaseException as error:
                ended.append(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        assert reached()
        call.abort()
        call.abort()
        worker.join(LIMIT)
        assert not worker.is_alive()
        assert [type(error) for error in ended] == [CallAborted]

    def test_before_it_begins(self) -> None:
        """An aborted call sends nothing."""
        call = Call(nothing)
        call.abort()
        with RawServer(answering(b"ok")) as server, pytest.raises(CallAborted):
            open_body(server.url, call=call)

    def test_while_connecting(self) -> None:
        """A TCP connect that hangs ends at once."""
        with full_backlog() as port:
            self.abort_while_opening(f"http://127.0.0.1:{port}", lambda: True)

    @pytest.mark.parametrize("phase", ["tls", "headers", "chunked", "length", "close"])
    def test_while_waiting(self, phase: str) -> None:
        """In the TLS handshake, before the headers, and in a body of each framing."""
        reached = threading.Event()
        header = {"chunked": CHUNKED, "length": "Content-Length: 99", "close": "Connection: close"}.get(phase)

        def handle(connection: Connection) -> None:
            if phase != "tls":
                connection.read_request()
            if header is not None:
                connection.respond(b"3\r\none\r\n", header)
            reached.set()
            connection.wait_closed()

        with RawServer(handle) as server:
            url = server.url.replace("http:", "https:") if phase == "tls" else server.url
            self.abort_while_opening(url, lambda: reached.wait(LIMIT))
            assert server.connections[0].closed.wait(LIMIT)

    def test_not_once_the_connection_serves_another(self) -> None:
        """An abort that comes too late harms nobody."""
        transport = Transport()
        first, second = Call(nothing), Call(nothing)
        with RawServer(answering(chunked(b"data"), CHUNKED)) as server:
            assert read_all(open_body(server.url, transport, first)) == b"data"
            body = open_body(server.url, transport, second)
            first.abort()
            assert read_all(body) == b"data"
            second.abort()
            assert read_all(open_body(server.url, transport)) == b"data"
            assert len(server.connections) == 1
            transport.close()
