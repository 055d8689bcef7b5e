"""Keys stay where they belong, TLS is checked, and hostile servers get nowhere."""

from __future__ import annotations

import logging
import pickle
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

import rxllm
from rxllm.testing import Drop, ErrorReply, LLMServer, RawReply, Reply

from ..raw_server import LIMIT, Connection, RawServer

T = TypeVar("T")
KEY = "sk-very-secret-0123456789"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def model_at(base_url: str, **options: object) -> rxllm.StreamingModel:
    settings: dict[str, object] = {"model": "m", "api_key": KEY, "base_url": base_url, "max_retries": 0}
    return rxllm.create_streaming_model("openai", **(settings | options))  # type: ignore[arg-type]  # any option


def error_of(model: rxllm.StreamingModel) -> rxllm.LLMError:
    with pytest.raises(rxllm.LLMError) as caught:
        model.chat("Hi")
    return caught.value


class TestKeys:
    """The key is on the wire, and nowhere else."""

    @pytest.mark.parametrize(
        "reply",
        [
            ErrorReply(401, f"Incorrect API key provided: {KEY[:4]}***"),
            ErrorReply(500, "oops"),
            Reply(pieces=["a", "b"], fault=Drop(after=1)),
            RawReply(b"<html>", content_type="text/html"),
            RawReply(b"data: {broken\n\n"),
        ],
        ids=["401", "500", "cut", "html", "not json"],
    )
    def test_in_no_error(self, reply: ErrorReply | Reply | RawReply, caplog: pytest.LogCaptureFixture) -> None:
        """Not in the message, the repr, the attributes, a pickle, the traceback or the log at its most talkative."""
        with caplog.at_level(logging.DEBUG), LLMServer(reply) as server:
            error = error_of(model_at(server.base_url()))
        told = [str(error), repr(error), str(vars(error)), caplog.text, "".join(traceback.format_exception(error))]
        assert all(KEY not in text for text in told)
        assert KEY.encode() not in pickle.dumps(error)

    def test_in_no_repr(self) -> None:
        """Neither of the model nor of a request."""
        model = model_at("https://example.com/v1")
        assert KEY not in repr(model) + str(model)
        assert KEY not in repr(rxllm.create_streaming_model("anthropic", model="m", api_key=KEY))

    def test_in_no_connection_error(self) -> None:
        """A server that cannot be reached: its address is named, the key is not, nor a gemini query."""
        with LLMServer() as server:
            url = server.base_url()
        assert KEY not in str(error_of(model_at(url)))

    def test_credentials_in_the_address_are_refused_without_repeating_them(self) -> None:
        """They would end in logs."""
        with pytest.raises(rxllm.ConfigurationError) as caught:
            model_at(f"https://user:{KEY}@example.com/v1")
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize("bad", ["\r\nX-Evil: 1", "\n", "\x00"])
    def test_a_key_with_a_control_character_is_refused(self, bad: str) -> None:
        """It would end the header, and begin another."""
        with pytest.raises(rxllm.ConfigurationError) as caught:
            model_at("https://example.com/v1", api_key=KEY + bad)
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize(("provider", "header"), [("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")])
    def test_no_redirect_carries_it_elsewhere(self, provider: str, header: str) -> None:
        """Of all headers requests strips only Authorization on a redirect to another host: none is followed."""
        with LLMServer() as other:
            away = RawReply(b"", status=307, headers={"Location": f"{other.url}/v1/messages"})
            with LLMServer(away) as server:
                model = rxllm.create_streaming_model(
                    provider, model="m", api_key=KEY, base_url=server.base_url(provider), max_retries=0
                )
                assert isinstance(error_of(model), rxllm.APIStatusError)
                assert server.requests[0].headers[header] == KEY
            assert other.connections == 0

    def test_a_proxy_of_the_environment_does_not_see_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests to a loopback server go there directly, key and all."""
        with LLMServer() as proxy, LLMServer("direct") as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            assert model_at(server.base_url()).chat("Hi").text == "direct"
            assert proxy.connections == 0


class TestTLS:
    """Certificates are checked; an own CA can be given; and a TLS stream stops as fast as any."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        """A certificate authority that nobody knows."""
        return trustme.CA()

    @pytest.fixture
    def server(self, authority: trustme.CA) -> Iterator[RawServer]:
        """Answers "Hello" over TLS; then waits for the close if the model is "stall", else completes."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        def handle(connection: Connection) -> None:
            connection.start_tls(context)
            body = connection.read_request()[2]
            stall = b'"stall"' in body
            connection.respond(HELLO + (b"" if stall else DONE), "Connection: close")
            if stall:
                connection.wait_closed()

        with RawServer(handle) as running:
            yield running

    def test_an_unknown_certificate_is_refused(self, server: RawServer) -> None:
        """And not tried again."""
        error = error_of(model_at(server.url.replace("http:", "https:"), max_retries=2))
        assert isinstance(error, rxllm.APIConnectionError)
        assert "certificate" in str(error).lower()
        assert len(server.connections) == 1

    def test_an_own_authority_is_accepted(self, server: RawServer, authority: trustme.CA, tmp_path: Path) -> None:
        """As requests takes it: session.verify."""
        with authority.cert_pem.tempfile(dir=str(tmp_path)) as path:
            session = requests.Session()
            session.verify = path
            model = model_at(server.url.replace("http:", "https:"), session=session)
            assert model.chat("Hi").text == "Hello"
            session.close()

    def test_a_stalled_stream_stops(self, server: RawServer, authority: trustme.CA, tmp_path: Path) -> None:
        """The raw socket under TLS is shut down: the server sees it, and the worker ends."""
        with authority.cert_pem.tempfile(dir=str(tmp_path)) as path:
            session = requests.Session()
            session.verify = path
            model = model_at(server.url.replace("http:", "https:"), session=session, model="stall")
            got = threading.Event()
            stop = model.stream("Hi").subscribe(lambda event: got.set())
            assert got.wait(LIMIT)
            stop.dispose()
            assert server.connections[0].closed.wait(LIMIT)
            session.close()

    def test_an_answer_too_many_within_tls_in_tls_is_nobodys(self, authority: trustme.CA, tmp_path: Path) -> None:
        """Through an HTTPS proxy: it arrives with the answer before it, and waits decrypted by the outer TLS only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "api.test").configure_cert(context)

        def handle(connection: Connection) -> None:
            connection.start_tls(context)
            connection.read_request()
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            inner = InnerTLS(connection, context)
            while True:
                while b'"messages"' not in inner.read():
                    pass
                inner.write(answer(HELLO + DONE), answer(HELLO.replace(b"Hello", b"stolen") + DONE))

        with RawServer(handle) as proxy, authority.cert_pem.tempfile(dir=str(tmp_path)) as path:
            session = requests.Session()
            session.verify = path
            session.proxies = {"https": proxy.url.replace("http:", "https:")}
            with model_at("https://api.test", session=session) as model:
                assert [model.chat("Hi").text for _ in range(3)] == ["Hello"] * 3
                assert len(proxy.connections) == 3

    @pytest.mark.parametrize("granted", [False, True])
    def test_a_failed_tunnel_leaves_no_connection(self, authority: trustme.CA, tmp_path: Path, granted: bool) -> None:
        """To an HTTPS proxy, while the error is kept: the tunnel is refused, or TLS through it fails."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        def handle(connection: Connection) -> None:
            connection.start_tls(context)
            connection.read_request()
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nno TLS" if granted else b"HTTP/1.1 407 No\r\n\r\n")
            connection.wait_closed()

        with RawServer(handle) as proxy, authority.cert_pem.tempfile(dir=str(tmp_path)) as path:
            session = requests.Session()
            session.verify = path
            session.proxies = {"https": proxy.url.replace("http:", "https:")}
            error = error_of(model_at("https://api.test", session=session))
            assert proxy.connections[0].closed.wait(LIMIT)
            assert isinstance(error, rxllm.APIConnectionError)

    def test_a_verifying_context_of_the_users_is_never_weakened(self, server: RawServer) -> None:
        """verify=False of one request would switch off the verification of all others."""
        context = ssl.create_default_context()

        class Verifying(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **options: Any) -> None:
                super().init_poolmanager(*args, ssl_context=context, **options)

        session = requests.Session()
        session.mount("https://", Verifying())
        session.verify = False
        model = model_at(server.url.replace("http:", "https:"), session=session)
        assert isinstance(error_of(model), rxllm.ConfigurationError)
        session.verify = True
        assert "certificate" in str(error_of(model)).lower()
        assert context.verify_mode == ssl.CERT_REQUIRED


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class InnerTLS:
    """A server's end of TLS within the TLS of `connection`."""

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._do(self._tls.do_handshake)

    def read(self) -> bytes:
        return self._do(self._tls.read)

    def write(self, *records: bytes) -> None:
        """Send a TLS record for each argument, all at once."""
        for record in records:
            self._tls.write(record)
        self._connection.send(self._outgoing.read())

    def _do(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._connection.receive())
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._connection.send(self._outgoing.read())


class TestHostileServers:
    """What a server sends cannot exhaust or park the client."""

    def test_a_decompression_bomb_is_bounded(self) -> None:
        """Inflated bytes count, not those on the wire."""
        import gzip

        bomb = gzip.compress(b"data: " + b"x" * 60_000_000)
        with LLMServer(RawReply(bomb, headers={"Content-Encoding": "gzip"})) as server:
            error = error_of(model_at(server.base_url()))
        assert isinstance(error, rxllm.ProtocolError)
        assert "longer than" in str(error)

    def test_the_bound_can_be_set(self) -> None:
        """max_event_bytes is per model."""
        with LLMServer(RawReply(b"data: " + b"x" * 5000 + b"\n\n", cuts=500)) as server:
            error = error_of(model_at(server.base_url(), max_event_bytes=1000))
        assert "1000 bytes" in str(error)

    @pytest.mark.parametrize("wait", ["1e9", "inf", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
    def test_a_hostile_retry_after_does_not_park_the_client(self, wait: str) -> None:
        """The error comes at once, and says what was asked."""
        with LLMServer(default=ErrorReply(429, "wait", headers={"retry-after": wait})) as server:
            error = error_of(model_at(server.base_url(), max_retries=2))
            assert isinstance(error, rxllm.RateLimitError)
            assert len(server.requests) == 1
