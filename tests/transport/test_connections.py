"""Connections: what is sent, to which address, on which connection, and what is pooled."""

from __future__ import annotations

import base64
import errno
import io
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from rxllm._protocol import WireRequest
from rxllm._runtime.platform import socket_options
from rxllm._transport import dns_lookup, pool
from rxllm._transport.connections import Call, CallAborted, CallPhase
from rxllm._transport.http import Transport
from rxllm._transport.http1 import check_headers
from rxllm.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    LLMError,
    ProtocolError,
)

from ..raw_server import LIMIT, Connection, RawServer, full_backlog
from .opening import open_response, way  # noqa: F401 - a fixture

if sys.platform == "linux":
    import fcntl
    import termios

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def call() -> Call:
    return Call(lambda _: None)


def unread(sock: socket.socket) -> int:
    """How many bytes have arrived."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


def post(transport: Transport, url: str, body: bytes = b"{}") -> bytes:
    """Send a request and return the whole body of its response."""
    opened = open_response(transport, WireRequest(url, {}, body), call())
    blocks: list[bytes] = []
    while not opened.at_end:
        blocks.append(opened.read())
    opened.close()
    return b"".join(blocks)


def serving(*answers: bytes) -> Callable[[Connection], None]:
    """A handler that gives these answers on each connection, then closes it."""

    def handle(connection: Connection) -> None:
        for answer in answers:
            connection.read_request()
            connection.send(answer)

    return handle


class TestInterimResponses:
    """RFC 9110, section 15.2."""

    def test_they_are_skipped(self) -> None:
        """Each caller receives the answer to its own request."""
        hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        transport = Transport()
        with RawServer(serving(*(hints + ANSWER + b"%04d" % number for number in range(3)))) as server:
            assert [post(transport, server.url) for _ in range(3)] == [b"0000", b"0001", b"0002"]
            assert len(server.connections) == 1

    def test_switching_protocols_is_an_error_and_nothing_is_pooled(self) -> None:
        """What follows is not HTTP."""
        transport = Transport()

        def handle(connection: Connection) -> None:
            connection.read_request()
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" if connection.number == 0 else ANSWER + b"next")

        with RawServer(handle) as server:
            with pytest.raises(ProtocolError, match="101"):
                post(transport, server.url)
            assert post(transport, server.url) == b"next"

    def test_too_many_are_an_error(self) -> None:
        """They do not keep a stream waiting for ever."""
        with RawServer(serving(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)) as server, pytest.raises(ProtocolError):
            post(Transport(), server.url)


class TestPool:
    """A connection is pooled only when the peer owes nothing."""

    @pytest.mark.parametrize(
        "answer",
        [
            ANSWER + b"more than four",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nsurplus",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
            b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ],
        ids=["longer than its length", "surplus after the last chunk", "close", "HTTP/1.0", "two framings"],
    )
    def test_after_anything_unexpected_the_connection_is_closed(self, answer: bytes) -> None:
        """The next request has a new one."""
        transport = Transport()
        with RawServer(serving(answer, answer)) as server:
            for _ in range(2):
                assert post(transport, server.url)
            assert len(server.connections) == 2

    def test_a_request_is_repeated_once_however_many_connections_are_stale(self) -> None:
        """On a new connection, and without a retry of the model."""
        transport = Transport()
        requests_seen: list[int] = []
        ready, stale = threading.Barrier(6), threading.Event()

        def handle(connection: Connection) -> None:
            connection.read_request()
            requests_seen.append(connection.number)
            if connection.number < 5:
                ready.wait(LIMIT)
                connection.send(ANSWER + b"body")
                connection.read_request()  # the second request on this connection is not answered
                requests_seen.append(connection.number)
            else:
                connection.send(ANSWER + b"last")

        with RawServer(handle) as server:
            threads = [threading.Thread(target=post, args=(transport, server.url)) for _ in range(5)]
            for thread in threads:
                thread.start()
            ready.wait(LIMIT)
            for thread in threads:
                thread.join(LIMIT)
            stale.set()
            assert post(transport, server.url) == b"last"
        assert len(requests_seen) == 5 + 1 + 1

    @pytest.mark.parametrize("page", [b"", b"<html>Request Timeout</html>"], ids=["no body", "body"])
    def test_an_idle_timeout_that_crosses_the_request_is_repeated(self, page: bytes) -> None:
        """408 with Connection: close on a reused connection answers no request (RFC 9110, section 15.5.9).

        Its body is no part of the next response.
        """
        timeout = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(page)
        timeout += page
        transport = Transport()

        def handle(connection: Connection) -> None:
            connection.read_request()
            connection.send(ANSWER + (b"both" if connection.number else b"body"))
            connection.read_request()
            connection.send(timeout)

        with RawServer(handle) as server:
            assert [post(transport, server.url), post(transport, server.url)] == [b"body", b"both"]

    def test_it_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In number; the connection that has been idle longest is closed."""
        monkeypatch.setattr(pool, "MAX_IDLE", 2)
        transport, ready = Transport(), threading.Barrier(4)

        def handle(connection: Connection) -> None:
            connection.read_request()
            ready.wait(LIMIT)
            connection.send(ANSWER + b"body")
            connection.wait_closed()

        with RawServer(handle) as server:
            threads = [threading.Thread(target=post, args=(transport, server.url)) for _ in range(3)]
            for thread in threads:
                thread.start()
            ready.wait(LIMIT)
            for thread in threads:
                thread.join(LIMIT)
            assert len(transport.pool._idle) == 2
            transport.close()

    def test_what_has_been_idle_for_too_long_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gateways drop such connections without a word."""
        monkeypatch.setattr(pool, "MAX_IDLE_SECONDS", 0.0)
        transport = Transport()
        with RawServer(serving(ANSWER + b"body", ANSWER + b"body")) as server:
            for _ in range(2):
                post(transport, server.url)
            assert len(server.connections) == 2


class TestAddresses:
    """RFC 8305: every address is tried."""

    def resolve(self, monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, Any]) -> None:
        def addresses_of(host: str, port: int) -> list[dns_lookup.Address]:
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]

        monkeypatch.setattr(dns_lookup, "addresses", addresses_of)

    def test_one_that_does_not_answer_does_not_hold_up_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with a broken IPv6."""
        with full_backlog() as dead, RawServer(serving(ANSWER + b"body")) as server:
            self.resolve(
                monkeypatch, (socket.AF_INET, ("127.0.0.1", dead)), (socket.AF_INET, ("127.0.0.1", server.port))
            )
            assert post(Transport(), f"http://api.test:{server.port}") == b"body"

    def test_one_that_refuses_is_passed_over_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Any number of them."""
        with RawServer(serving()) as closed:
            refusing = closed.port
        with RawServer(serving(ANSWER + b"body")) as server:
            dead = [(socket.AF_INET, ("127.0.0.1", refusing))] * 20
            self.resolve(monkeypatch, *dead, (socket.AF_INET, ("127.0.0.1", server.port)))
            assert post(Transport(), f"http://api.test:{server.port}") == b"body"

    def test_if_all_fail_the_error_is_the_last_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection error."""
        with RawServer(serving()) as closed:
            self.resolve(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", closed.port))] * 3)
        with pytest.raises(APIConnectionError, match="refused"):
            post(Transport(), "http://api.test:9")

    def test_the_families_alternate(self) -> None:
        """Beginning with the first one's."""
        found: list[dns_lookup.Address] = [
            (family, 1, 6, "", number) for number, family in enumerate([socket.AF_INET6] * 3 + [socket.AF_INET] * 2)
        ]
        assert [address[4] for address in dns_lookup.interleaved(found)] == [0, 3, 1, 4, 2]

    @pytest.mark.parametrize(
        ("failure", "error"),
        [
            (UnicodeError("label too long"), ConfigurationError),
            (socket.gaierror(socket.EAI_NONAME, "unknown"), APIConnectionError),
            (KeyError("a broken resolver"), LLMError),
        ],
        ids=["not a name", "unknown", "anything else"],
    )
    def test_a_look_up_that_fails_is_a_typed_error(
        self, failure: Exception, error: type[LLMError], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At once, whatever the resolver raises."""

        def fail(host: str, port: int) -> list[dns_lookup.Address]:
            raise failure

        monkeypatch.setattr(dns_lookup, "addresses", fail)
        with pytest.raises(error):
            post(Transport(), "http://api.test/")

    def test_a_resolver_that_hangs_costs_one_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls that wait for the same name share it, and each can be aborted."""
        released = threading.Event()

        def hang(host: str, port: int) -> list[dns_lookup.Address]:
            released.wait(LIMIT)
            return []

        monkeypatch.setattr(dns_lookup, "addresses", hang)
        connecting = threading.Semaphore(0)
        calls = [Call(lambda phase: connecting.release() if phase == "connecting" else None) for _ in range(20)]
        outcomes: list[type[BaseException]] = []

        def work(each: Call) -> None:
            try:
                open_response(Transport(), WireRequest(f"http://hang-{id(released)}.test/", {}, b""), each)
            except CallAborted as aborted:
                outcomes.append(type(aborted))

        threads = [threading.Thread(target=work, args=(each,)) for each in calls]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert connecting.acquire(timeout=LIMIT)
        for each in calls:
            each.abort()
        for thread in threads:
            thread.join(LIMIT)
        assert outcomes == [CallAborted] * 20
        assert sum(thread.name == "rxllm-dns" for thread in threading.enumerate()) <= 1
        released.set()

    def test_keepalive_is_on(self) -> None:
        """With an idle time below those of NAT gateways (120 s and more)."""
        options = {(level, name): value for level, name, value in socket_options()}
        assert options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
        assert options[socket.IPPROTO_TCP, socket.TCP_NODELAY] == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert options[socket.IPPROTO_TCP, socket.TCP_KEEPIDLE] <= 60


class TestBodies:
    """What is read of a response that is not the answer, and how the request's body is sent."""

    def test_of_a_redirect_nothing(self) -> None:
        """However long it is; the connection is closed."""
        sent = 0

        def handle(connection: Connection) -> None:
            nonlocal sent
            connection.read_request()
            connection.send(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 2000000000\r\n\r\n")
            while not connection.closed.is_set():
                connection.send(b"x" * 65536)
                sent += 65536

        with RawServer(handle) as server, pytest.raises(APIStatusError, match="302"):
            post(Transport(), server.url)
        assert sent < 50_000_000

    @pytest.mark.parametrize("coding", ["br", "none", "gzip, gzip"])
    def test_an_error_whose_body_cannot_be_decoded_is_still_that_error(self, coding: str) -> None:
        """Gateways compress their pages unasked; the status says enough."""
        head = f"HTTP/1.1 401 No\r\nContent-Encoding: {coding}\r\nContent-Length: 3\r\n\r\n"
        with RawServer(serving(head.encode() + b"\xff\x00\xfe")) as server, pytest.raises(AuthenticationError):
            post(Transport(), server.url)

    def test_an_error_whose_body_stalls_is_still_that_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wrong key is no timeout."""
        monkeypatch.setattr("rxllm._transport.body._ERROR_SECONDS", 0.2)

        def handle(connection: Connection) -> None:
            connection.read_request()
            connection.send(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\n{"error": ')
            connection.wait_closed()

        with RawServer(handle) as server, pytest.raises(AuthenticationError):
            post(Transport(), server.url)

    def test_a_slow_upload_reports_its_progress(self) -> None:
        """So that its limit starts anew with each part."""
        phases: list[CallPhase] = []

        def handle(connection: Connection) -> None:
            connection.read_request()
            connection.send(ANSWER + b"body")

        with RawServer(handle) as server:
            body = open_response(Transport(), WireRequest(server.url, {}, b"x" * 3_000_000), Call(phases.append))
            body.close()
        assert phases.count("sending") >= 3
        assert phases[-1] == "waiting"

    @pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel how many bytes wait")
    def test_a_stalled_upload_that_is_aborted_is_reset(self) -> None:
        """The peer sees the end at once, although it has not read: an ordinary end waits behind the unsent bytes."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stalled = call()
            request = WireRequest(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, b"x" * 50_000_000)
            outcome: list[BaseException] = []

            def upload() -> None:
                try:
                    Transport().send(request, stalled).read()
                except BaseException as error:
                    outcome.append(error)

            thread = threading.Thread(target=upload, daemon=True)
            thread.start()
            with listener.accept()[0] as peer:
                arrived, before = unread(peer), -1
                while arrived != before or not arrived:
                    before = arrived
                    thread.join(0.1)
                    arrived = unread(peer)
                stalled.abort()
                thread.join(LIMIT)
                ended = select.poll()
                ended.register(peer, select.POLLRDHUP)
                assert ended.poll(LIMIT * 1000)
        assert isinstance(outcome[0], CallAborted)

    def test_no_socket_tells_of_an_empty_body(self) -> None:
        """Its end came with the head, so the socket does not become readable."""
        with RawServer(serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
            body = open_response(Transport(), WireRequest(server.url, {}, b"{}"), call())
            assert body.fileno() is None
            body.close()

    def test_a_wait_for_a_connection_is_reported(self) -> None:
        """So that other requests start meanwhile."""
        waits = threading.Event()
        with full_backlog() as port:
            slow = Call(lambda phase: waits.set() if phase == "connecting" else None)
            request = WireRequest(f"http://127.0.0.1:{port}", {}, b"{}")
            thread = threading.Thread(target=lambda: waits.wait(LIMIT) and slow.abort())
            thread.start()
            with pytest.raises(CallAborted):
                Transport().send(request, slow)
            thread.join(LIMIT)
            assert waits.is_set()

    def test_an_answer_before_the_upload_ends_is_read(self) -> None:
        """A server may refuse a request that is too large, and close."""

        def handle(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

        with RawServer(handle) as server, pytest.raises(APIStatusError, match="413"):
            post(Transport(), server.url, b"x" * 30_000_000)

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/2 200 OK\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            b"HTTP/1.1 99 Low\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: secret, chunked\r\n\r\n",
        ],
        ids=["version", "protocol", "status", "long header", "many headers", "two lengths", "coding"],
    )
    def test_a_bad_head_is_a_protocol_error(self, head: bytes) -> None:
        """The server's fault, not a setting's, and not repeated."""
        with RawServer(serving(head)) as server, pytest.raises(ProtocolError) as caught:
            post(Transport(), server.url)
        assert not caught.value.transient


class TestHeaders:
    """Headers that the user sets."""

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Expect", "TE", "Upgrade"])
    def test_those_that_frame_the_request_are_refused(self, name: str) -> None:
        """They would change where the request ends."""
        with pytest.raises(ConfigurationError, match=name):
            check_headers({name: "1"})

    @pytest.mark.parametrize("value", [5, None, b"bytes", "line\r\nbreak", "nul\0"])
    def test_values_that_cannot_be_sent_are_refused(self, value: Any) -> None:
        """The message names the header."""
        with pytest.raises(ConfigurationError, match="X-User"):
            check_headers({"X-User": value})


class Sending(HTTPAdapter):
    """An adapter with its own way of sending."""

    def send(self, *args: Any, **kwargs: Any) -> Any:
        return super().send(*args, **kwargs)


class KeepAlive(HTTPAdapter):
    """An adapter that sets an option of its sockets, as requests_toolbelt's TCPKeepAliveAdapter does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=[(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9)], **kwargs)


class TestSession:
    """A user's session keeps every promise, or is refused."""

    def test_a_session_or_adapter_with_its_own_send_is_refused(self) -> None:
        """Its connections could not be stopped."""

        class Session(requests.Session):
            def send(self, *args: Any, **kwargs: Any) -> Any:
                return super().send(*args, **kwargs)

        session = requests.Session()
        session.mount("http://", Sending())
        for each in (Session(), session):
            with pytest.raises(ConfigurationError, match="send"):
                Transport(each)

    def test_one_mounted_for_the_servers_address_is_refused_too(self) -> None:
        """When it is used."""
        session = requests.Session()
        session.mount("http://127.0.0.1", Sending())
        with pytest.raises(ConfigurationError, match="Sending"):
            post(Transport(session), "http://127.0.0.1:9/")

    def test_it_is_not_changed(self) -> None:
        """Its adapters stay, and its cookies are kept."""
        session = requests.Session()
        mine = HTTPAdapter(max_retries=3)
        session.mount("http://", mine)
        answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 4\r\n\r\nbody"
        with RawServer(serving(answer)) as server:
            assert post(Transport(session), server.url) == b"body"
        assert session.get_adapter("http://x") is mine
        assert session.cookies.get_dict() == {"a": "1"}

    def test_without_a_session_no_cookie_is_kept(self) -> None:
        """A server's cookies would grow, and go out with other callers' requests."""
        seen: list[str | None] = []

        def handle(connection: Connection) -> None:
            for _ in range(2):
                _, headers, _ = connection.read_request()
                seen.append(headers.get("cookie"))
                connection.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 4\r\n\r\nbody")

        transport = Transport()
        with RawServer(handle) as server:
            for _ in range(2):
                post(transport, server.url)
        assert seen == [None, None]

    def test_settings_that_cannot_be_hashed_are_used(self) -> None:
        """The package requests takes them too. The connection is kept for the next request."""

        class Own(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
                option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, bytearray(struct.pack("i", 1)))
                super().init_poolmanager(*args, socket_options=[option], **kwargs)

        def handle(connection: Connection) -> None:
            for _ in range(2):
                connection.read_request()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")

        session = requests.Session()
        session.mount("http://", Own())
        session.cert = ["a.pem", "b.pem"]  # type: ignore[assignment]  # requests does not check it
        transport = Transport(session)
        with RawServer(handle) as server:
            assert [post(transport, server.url) for _ in range(2)] == [b"body", b"body"]

    def test_an_adapters_socket_options_are_used_and_the_call_can_be_aborted(self) -> None:
        """With any adapter that only configures."""
        session = requests.Session()
        session.mount("http://", KeepAlive())
        waiting = threading.Event()
        each = call()
        outcome: list[BaseException] = []

        def work() -> None:
            try:
                open_response(Transport(session), WireRequest(server.url, {}, b"{}"), each)
            except CallAborted as aborted:
                outcome.append(aborted)

        def handle(connection: Connection) -> None:
            connection.read_request()
            waiting.set()
            connection.wait_closed()

        with RawServer(handle) as server:
            thread = threading.Thread(target=work)
            thread.start()
            assert waiting.wait(LIMIT)
            each.abort()
            thread.join(LIMIT)
            assert server.connections[0].closed.wait(LIMIT)
        assert len(outcome) == 1

    def test_a_hook_that_raises_is_a_typed_error(self) -> None:
        """And the connection is closed."""
        session = requests.Session()
        session.hooks["response"] = [lambda response, **_: 1 / 0]

        def handle(connection: Connection) -> None:
            connection.read_request()
            connection.send(ANSWER)
            connection.wait_closed()

        with RawServer(handle) as server:
            with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
                post(Transport(session), server.url)
            assert server.connections[0].closed.wait(LIMIT)

    def test_digest_authentication_sends_again_and_the_second_answer_can_be_aborted(self) -> None:
        """Its hook asks for a second request, on the same connection."""
        session = requests.Session()
        session.auth = requests.auth.HTTPDigestAuth("user", "secret")
        sent: list[str] = []
        each = call()

        def handle(connection: Connection) -> None:
            for _ in range(2):
                sent.append(connection.read_request()[1].get("authorization", ""))
                challenge = b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
                if len(sent) == 1:
                    connection.send(b"HTTP/1.1 401 No\r\n%b\r\nContent-Length: 4\r\n\r\nnone" % challenge)
                else:
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
                    connection.wait_closed()

        with RawServer(handle) as server:
            body = open_response(Transport(session), WireRequest(server.url, {}, b"{}"), each)
            assert body.read() == b"body"
            assert (len(server.connections), sent[0], sent[1][:16]) == (1, "", "Digest username=")
            each.abort()
            assert server.connections[0].closed.wait(LIMIT)
            with pytest.raises(CallAborted):
                body.read()
            body.close()

    def test_an_adapter_whose_settings_cannot_be_used_is_refused(self) -> None:
        """Instead of connections without them."""

        class Fingerprint(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
                super().init_poolmanager(*args, assert_fingerprint="aa" * 20, **kwargs)

        session = requests.Session()
        session.mount("https://", Fingerprint())
        with pytest.raises(ConfigurationError, match="assert_fingerprint"):
            Transport(session)

    @pytest.mark.parametrize("closes", [False, True])
    @pytest.mark.parametrize("reads", [False, True])
    @pytest.mark.parametrize("new_connection", [False, True])
    def test_a_request_that_a_hook_sends_again_can_be_aborted(
        self, closes: bool, reads: bool, new_connection: bool
    ) -> None:
        """Whatever the hook does with the first response."""
        waiting = threading.Event()

        def hook(response: requests.Response, **settings: Any) -> requests.Response:
            if response.status_code != 401:
                return response
            if reads:
                assert response.content == b"no"
            if closes:
                response.close()
            adapter: Any = response
            again: requests.Response = adapter.connection.send(response.request, **settings)
            return again

        def handle(connection: Connection) -> None:
            if connection.number == 0:
                connection.read_request()
                headers = ["Connection: close", "Content-Length: 2"] if new_connection else []
                connection.respond(b"no", *headers, status="401 No")
                if new_connection:
                    connection.wait_closed()
                    return
            try:
                connection.read_request()
            except ConnectionResetError:
                return
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
            connection.wait_closed()

        session = requests.Session()
        session.hooks["response"] = [hook]
        each = call()
        outcome: list[BaseException] = []

        def work() -> None:
            body = open_response(Transport(session), WireRequest(server.url, {}, b"{}"), each)
            try:
                while body.read():
                    waiting.set()
            except CallAborted as aborted:
                outcome.append(aborted)
            finally:
                body.close()

        with RawServer(handle) as server:
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            assert waiting.wait(LIMIT)
            each.abort()
            thread.join(LIMIT)
            assert len(outcome) == 1
            assert server.connections[-1].closed.wait(LIMIT)

    def test_a_hook_that_replaces_what_is_read_is_told_so(self) -> None:
        """Its bytes are not ignored in silence."""

        def hook(response: requests.Response, **_: Any) -> requests.Response:
            response.raw = io.BytesIO(b"other")
            return response

        session = requests.Session()
        session.hooks["response"] = [hook]
        with RawServer(serving(ANSWER + b"body")) as server, pytest.raises(ConfigurationError, match="raw"):
            post(Transport(session), server.url)

    def test_the_request_has_one_length(self) -> None:
        """Also if an auth function of the session's sets one, in its own case."""
        seen: list[bytes] = []

        def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
            prepared.headers["content-length"] = "7"
            return prepared

        def handle(connection: Connection) -> None:
            while b"{}" not in b"".join(seen):
                seen.append(connection.receive())
            connection.send(ANSWER + b"body")

        session = requests.Session()
        session.auth = auth
        with RawServer(handle) as server:
            assert post(Transport(session), server.url) == b"body"
        assert b"".join(seen).lower().count(b"content-length") == 1


class TestProxies:
    """HTTP proxies, tunnels and SOCKS."""

    @pytest.mark.parametrize(
        ("given", "sent"), [("user", "user:"), ("us:p%C3%A9", "us:p\u00e9"), ("us:%E2%82%AC", "us:\u20ac")]
    )
    def test_credentials_are_utf_8(self, given: str, sent: str) -> None:
        """And have a colon (RFC 7617, section 2)."""
        seen: list[str | None] = []

        def handle(connection: Connection) -> None:
            seen.append(connection.read_request()[1].get("proxy-authorization"))
            connection.send(ANSWER + b"body")

        with RawServer(handle) as proxy:
            session = requests.Session()
            session.proxies = {"http": proxy.url.replace("//", f"//{given}@")}
            assert post(Transport(session), "http://api.test/v1") == b"body"
        assert seen == [f"Basic {base64.b64encode(sent.encode()).decode()}"]

    def test_plain_http_goes_through_the_proxy_with_its_credentials(self) -> None:
        """As an absolute URL (RFC 9112, section 3.2.2)."""
        seen: list[tuple[bytes, str | None]] = []

        def handle(connection: Connection) -> None:
            line, headers, _ = connection.read_request()
            seen.append((line, headers.get("proxy-authorization")))
            connection.send(ANSWER + b"body")

        with RawServer(handle) as proxy:
            session = requests.Session()
            session.proxies = {"http": proxy.url.replace("//", "//user:p%40ss@")}
            assert post(Transport(session), "http://api.test/v1") == b"body"
        credentials = base64.b64encode(b"user:p@ss").decode()
        assert seen == [(b"POST http://api.test/v1 HTTP/1.1", f"Basic {credentials}")]

    def test_a_tunnels_answer_may_come_together_with_interim_ones(self) -> None:
        """No further bytes are waited for."""

        def handle(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            connection.wait_closed()

        with RawServer(handle) as proxy:
            session = requests.Session()
            session.proxies = {"https": proxy.url}
            with pytest.raises(APIConnectionError, match="403"):
                post(Transport(session), "https://api.test/")

    @pytest.mark.parametrize("status", [403, 407])
    def test_a_tunnel_that_is_refused_is_final(self, status: int) -> None:
        """The same request would be refused again; the message says how."""
        with RawServer(serving(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)) as proxy:
            session = requests.Session()
            session.proxies = {"https": proxy.url}
            with pytest.raises(APIConnectionError, match=str(status)) as caught:
                post(Transport(session), "https://api.test/")
        assert not caught.value.transient

    def test_socks_without_its_package_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """PySocks is an extra of requests."""
        monkeypatch.setitem(__import__("sys").modules, "socks", None)
        session = requests.Session()
        session.proxies = {"http": "socks5h://127.0.0.1:9"}
        with pytest.raises(ConfigurationError, match="PySocks"):
            post(Transport(session), "http://api.test/")

    @pytest.mark.parametrize("proxy", ["http://u:hunter2@host:99999", "http://", "ftp://host"])
    def test_a_bad_address_is_refused_without_its_password(self, proxy: str) -> None:
        """The message names where it may come from."""
        session = requests.Session()
        session.proxies = {"http": proxy}
        with pytest.raises(ConfigurationError, match="proxy") as caught:
            post(Transport(session), "http://api.test/")
        assert "hunter2" not in str(caught.value)


def test_a_forked_child_does_not_keep_the_connection_open() -> None:
    """Closing shuts the socket down, so the server sees it although another process has it open."""
    closing = threading.Event()

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
        if connection.wait_closed():
            closing.set()

    with RawServer(handle) as server:
        body = open_response(Transport(), WireRequest(server.url, {}, b"{}"), call())
        inherited = socket.socket(fileno=body._connection.sock.dup().detach())  # as a child would have it
        body.close()
        assert closing.wait(LIMIT)
        inherited.close()


def test_no_descriptor_is_an_error_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE reaches the caller as a connection error."""

    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("rxllm._transport.connections.socket.socket", refuse)
    with pytest.raises(APIConnectionError, match="Too many open files"):
        post(Transport(), "http://127.0.0.1:9/")
