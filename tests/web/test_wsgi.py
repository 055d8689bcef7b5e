"""The same service and the same feeds under WSGI: Flask, and a real threaded server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import reactivex as rx
import requests
from reactivex import operators

from rxllm.errors import RateLimitError
from rxllm.events import Response, StreamEnd, TextDelta
from rxllm.testing import ErrorReply, Gate, LLMServer, Reply, ScriptedModel
from rxllm.web import Service, openai_chunks, sse, ui_messages
from rxllm.web.wsgi import StreamApplication, wsgi_app

from .running import model_of

flask = pytest.importorskip("flask", reason="the package flask is not installed")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(app: object) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, _Server, _Handler)  # type: ignore[arg-type]  # any WSGI application
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def text_of(body: str) -> str:
    data = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    return "".join(line["text"] for line in data if line["type"] == "text_delta")


@pytest.fixture
def url(llm: LLMServer) -> Iterator[str]:
    """A Flask application with endpoints of its own, and the whole service below /llm."""
    app = flask.Flask("test")
    model = model_of(llm)

    @app.get("/ask")
    def ask() -> object:
        return StreamApplication(sse(model.stream(flask.request.args["prompt"])), keep_alive=0.05)

    @app.get("/ui")
    def ui() -> object:
        return StreamApplication(ui_messages(model.stream("Hi"), message_id="m1"))

    @app.get("/chunks")
    def chunks() -> object:
        return StreamApplication(openai_chunks(model.stream("Hi")))

    inner = wsgi_app(Service({"m": model}))

    def both(environ: dict[str, object], start_response: object) -> object:
        path = str(environ["PATH_INFO"])
        if path.startswith("/llm"):
            return inner({**environ, "PATH_INFO": path[4:]}, start_response)  # type: ignore[arg-type]  # as given
        return app(environ, start_response)

    with serving(both) as address:
        yield address


class TestFlask:
    """A feed is a view's answer."""

    def test_tokens_come_as_they_come(self, llm: LLMServer, url: str) -> None:
        """And the rest after them."""
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        response = requests.get(f"{url}/ask?prompt=Hi", stream=True, timeout=60)
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        assert any('"text":"one"' in line for line in lines)
        gate.open()
        assert any('"text":" two"' in line for line in lines)
        assert "Hi" == llm.requests[0].prompt

    def test_the_ui_message_stream_has_its_header(self, llm: LLMServer, url: str) -> None:
        """Without it `useChat` reads plain text."""
        response = requests.get(f"{url}/ui", timeout=60)
        assert "v1" == response.headers["x-vercel-ai-ui-message-stream"]
        assert '{"type":"start","messageId":"m1"}' in response.text

    def test_a_failure_before_the_first_token_is_a_status(self, llm: LLMServer, url: str) -> None:
        """Where the protocol has it so."""
        llm.enqueue(ErrorReply(429, "slow down"))
        assert 429 == requests.get(f"{url}/chunks", timeout=60).status_code

    def test_a_client_that_leaves_ends_the_stream(self, llm: LLMServer, url: str) -> None:
        """Seen with the next keep-alive."""
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        response = requests.get(f"{url}/ask?prompt=Hi", stream=True, timeout=60)
        gate.wait_until_reached()
        response.close()
        assert llm.wait_for_request().closed.wait(60)


class TestTheService:
    """All of it but the WebSocket."""

    def test_asking_resuming_and_the_page(self, llm: LLMServer, url: str) -> None:
        """As under ASGI."""
        llm.enqueue("Hello there")
        response = requests.post(f"{url}/llm/api/chat", json={"prompt": "Hi"}, timeout=60)
        assert "Hello there" == text_of(response.text)
        again = requests.get(f"{url}/llm/api/streams/{response.headers['x-rxllm-stream']}", timeout=60)
        assert "Hello there" == text_of(again.text)
        assert "<title>rxllm chat</title>" in requests.get(f"{url}/llm/", timeout=60).text

    def test_openai_clients(self, llm: LLMServer, url: str) -> None:
        """Whole answers and models."""
        llm.enqueue("Hello there")
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        answer = requests.post(f"{url}/llm/v1/chat/completions", json=body, timeout=60).json()
        assert "Hello there" == answer["choices"][0]["message"]["content"]
        assert "m" == requests.get(f"{url}/llm/v1/models", timeout=60).json()["data"][0]["id"]


ASKED = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def echo_url() -> Iterator[str]:
    """A service that repeats its input, on a server that reads bodies in chunks, as gunicorn does too."""
    from werkzeug.serving import make_server as make_werkzeug  # it comes with flask

    echo = wsgi_app(Service({"m": ScriptedModel()}))
    server = make_werkzeug("127.0.0.1", 0, echo, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestRequests:
    """Bodies and methods that servers pass on as they are."""

    def test_a_body_in_chunks(self, echo_url: str) -> None:
        """It has no length."""
        response = requests.post(f"{echo_url}/api/chat", data=iter([b'{"prompt":', b'"Hello"}']), timeout=60)
        assert (200, "Hello") == (response.status_code, text_of(response.text))

    def test_a_body_in_chunks_that_is_too_large(self, echo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """No more of it is read than the limit."""
        monkeypatch.setattr("rxllm.web.wsgi.MAX_BODY_BYTES", 1000)
        response = requests.post(f"{echo_url}/api/chat", data=iter([b"x" * 1001]), timeout=60)
        assert 413 == response.status_code

    def test_a_body_that_breaks_off(self, echo_url: str) -> None:
        """It is an error of the client."""
        host, port = echo_url.removeprefix("http://").split(":")
        head = f"POST /api/chat HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert sent(int(port), head + "no number\r\n").startswith(b"HTTP/1.1 400 ")

    def test_head_has_no_body(self, echo_url: str) -> None:
        """On a connection that stays open, one would be taken for the next response."""
        _, _, port = echo_url.rpartition(":")
        started = requests.post(f"{echo_url}/api/chat", json={"prompt": "Hello"}, timeout=60)
        for path in ("/", "/api/models", "/nothing", f"/api/streams/{started.headers['x-rxllm-stream']}"):
            answer = sent(int(port), f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 404 " if path == "/nothing" else b"HTTP/1.1 200 ")
            assert answer.endswith(b"\r\n\r\n")
            assert 1 == answer.count(b"\r\n\r\n")


def sent(port: int, request: str) -> bytes:
    """Send a request; return all that is answered until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


class TestAWholeAnswerThatFailsLate:
    """After more than one keep-alive. Clients would take any document with the status 200 for an answer."""

    @pytest.fixture
    def app(self) -> object:
        late = rx.timer(1.5).pipe(operators.flat_map(lambda _: rx.throw(RateLimitError("slow down", status_code=429))))
        return wsgi_app(Service({"late": lambda _: late}), keep_alive=0.05)

    def test_where_leaving_clients_are_seen_it_is_a_status(self, app: object) -> None:
        waitress = pytest.importorskip("waitress", reason="the package waitress is not installed")
        server = waitress.create_server(app, host="127.0.0.1", port=0)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.effective_port}/v1/chat/completions"
        try:
            assert 429 == requests.post(url, json=ASKED, timeout=60).status_code
        finally:
            server.close()
            thread.join(60)

    def test_elsewhere_it_is_no_document(self, app: object) -> None:
        with serving(app) as url:
            response = requests.post(f"{url}/v1/chat/completions", json=ASKED, timeout=60)
            with pytest.raises(requests.JSONDecodeError):
                response.json()


def test_the_helper_of_openai_for_responses_takes_keep_alives_of_a_slow_model() -> None:
    """It accepts no event before `response.created`."""
    openai = pytest.importorskip("openai", reason="the package openai is not installed")
    end = StreamEnd(Response(text="one", finish_reason="stop"))
    slow = rx.timer(1.0).pipe(operators.flat_map(lambda _: rx.of(TextDelta("one"), end)))
    with (
        serving(wsgi_app(Service({"slow": lambda _: slow}), keep_alive=0.05)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
        client.responses.stream(model="slow", input="Hi") as stream,
    ):
        stream.until_done()
        assert "one" == stream.get_final_response().output_text
