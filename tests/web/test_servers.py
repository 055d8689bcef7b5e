"""The service in real servers of their own process: uvicorn, gunicorn, waitress, Werkzeug, nginx before it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import reactivex
import requests
import websockets.sync.client
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxllm.events import VendorEvent
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Guard, Service
from rxllm.web.served_stream import MAX_CHARS

from .running import model_of, running
from .serving import of, served

HERE = Path(__file__).parent
SECONDS = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that is ready; `{port}` in its words is its port."""
    port = free_port()
    command = [sys.executable, *(word.format(port=port) for word in words)]
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    env = {**os.environ, "PYTHONPATH": path}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            until(lambda: answers(url))
            yield server, url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/models", timeout=SECONDS).status_code == 200
    except requests.ConnectionError:
        return False


def until(condition: object) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]  # a function
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


class TestStoppingUvicorn:
    """`uvicorn app:app`, which waits for its connections before it says that it stops."""

    WORDS = ("-m", "uvicorn", "endless_app:endless_asgi", "--port", "{port}", "--log-level", "error")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_reader_of_events_gets_an_end(self, number: signal.Signals) -> None:
        """And the process ends."""
        with process(*self.WORDS) as (server, url):
            response = requests.post(f"{url}/api/chat", json={"prompt": "x"}, stream=True, timeout=SECONDS)
            lines = response.iter_lines(chunk_size=1)
            assert any(b"text_delta" in line for line in lines)
            server.send_signal(number)
            assert any(b'{"type":"stopped"}' in line for line in lines)
            server.wait(SECONDS)

    def test_a_websocket_gets_an_end(self) -> None:
        """Before it is closed."""
        with process(*self.WORDS) as (server, url):
            with websockets.sync.client.connect(url.replace("http", "ws") + "/api/ws") as connection:
                connection.send(json.dumps({"type": "prompt", "body": {"prompt": "x"}}))
                heard = [json.loads(connection.recv(SECONDS))]
                server.send_signal(signal.SIGTERM)
                while heard[-1]["type"] != "stopped":
                    heard.append(json.loads(connection.recv(SECONDS)))
            server.wait(SECONDS)


FEW_DESCRIPTORS = """
import resource, uvicorn
from endless_app import endless_asgi
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
uvicorn.run(endless_asgi, port={port}, loop="{loop}", log_level="error")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors")
def test_at_the_descriptor_limit_clients_are_refused_and_later_served() -> None:
    """With asyncio's own loop, which would try to accept them, and log that, thousands of times a second."""
    with process("-c", FEW_DESCRIPTORS.replace("{loop}", "asyncio")) as (_, url):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(address, SECONDS)) for _ in range(100)]
            assert b"" == clients[-1].recv(1)
        until(lambda: answers(url))


GUNICORN = "-m gunicorn -b 127.0.0.1:{port} -k gthread --threads 8 endless_app:quiet_wsgi"
WAITRESS = "-m waitress --listen=127.0.0.1:{port} --threads=8 endless_app:quiet_wsgi"
WERKZEUG = """
from werkzeug.serving import run_simple
from endless_app import quiet_wsgi
run_simple("127.0.0.1", {port}, quiet_wsgi, threaded=True)
"""
WSGI_SERVERS = {"gunicorn": GUNICORN.split(), "waitress": WAITRESS.split(), "werkzeug": ["-c", WERKZEUG]}


@pytest.mark.parametrize("name", WSGI_SERVERS)
def test_under_wsgi_a_client_that_leaves_is_noticed(name: str) -> None:
    """Before the first byte and after it; no thread waits for a client that has left."""
    if find_spec(name) is None:
        pytest.skip(f"the package {name} is not installed")
    with process(*WSGI_SERVERS[name]) as (_, url):
        port = int(url.rpartition(":")[2])
        for path, prompt, stream in (
            ("/api/chat", "quiet", True),
            ("/v1/chat/completions", "quiet", True),
            ("/v1/chat/completions", "talk", True),
            ("/v1/chat/completions", "talk", False),
        ):
            body = json.dumps({"messages": [{"role": "user", "content": prompt}], "stream": stream, "linger": 0})
            clients = [post(port, path, body) for _ in range(4)]
            until(lambda: live(url) == 4)
            for client in clients:
                client.close()
            until(lambda: live(url) == 0)


def live(url: str) -> int:
    return int(requests.get(f"{url}/live", timeout=SECONDS).text)


def post(port: int, path: str, body: str, *, send: int | None = None) -> socket.socket:
    """Send a request, or the first bytes of its body; read nothing."""
    client = socket.create_connection(("127.0.0.1", port))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    client.sendall(f"{head}\r\n{body[:send]}".encode())
    client.settimeout(SECONDS)
    return client


class TestBodies:
    """They are not read before it is known who sends them, and do not take for ever."""

    def test_a_request_without_the_token_is_refused_before_its_body(self, llm: LLMServer) -> None:
        """And the connection closes."""
        with running(Service({"m": model_of(llm)}, guard=Guard(token="t"))) as url:
            client = post(int(url.rpartition(":")[2]), "/v1/chat/completions", "x" * 10_000_000, send=1000)
            assert client.recv(12) == b"HTTP/1.1 401"
            client.close()

    def test_a_body_that_stops_midway_is_refused(self, url: str) -> None:
        """After some seconds."""
        client = post(int(url.rpartition(":")[2]), "/api/chat", "x" * 1000, send=10)
        assert client.recv(12) == b"HTTP/1.1 408"
        client.close()

    def test_of_many_at_once_some_are_refused(self, llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are held in memory while they arrive; those before them are not harmed."""
        monkeypatch.setattr("rxllm.web.asgi.MAX_BODY_BYTES_AT_ONCE", 100_000)
        llm.enqueue("Hello")
        with running(Service({"m": model_of(llm)})) as url:
            port, body = int(url.rpartition(":")[2]), json.dumps({"prompt": "x" * 90_000})
            with post(port, "/api/chat", body, send=89_000) as first, post(port, "/api/chat", body) as second:
                assert second.recv(100).startswith(b"HTTP/1.1 503")
                first.sendall(body[89_000:].encode())
                assert first.recv(100).startswith(b"HTTP/1.1 200")

    def test_one_that_says_it_is_too_large_is_refused_at_once(self, url: str) -> None:
        """Without a byte of it."""
        client = post(int(url.rpartition(":")[2]), "/api/chat", "x" * 17_000_000, send=0)
        assert client.recv(12) == b"HTTP/1.1 413"
        client.close()


DOCUMENTED = [
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
]
ORIGIN = {"origin": "https://app.example.com"}


def test_a_reader_that_takes_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its producer, which says more than the kernel takes for it, is disposed."""
    monkeypatch.setattr("rxllm.web.asgi.STALLED_SECONDS", 0.5)
    disposed, said = threading.Event(), 0

    def endless(_: ChatRequest) -> Observable[object]:
        def subscribe(observer: abc.ObserverBase[object], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            def produce() -> None:
                nonlocal said
                while not disposed.is_set():
                    said += 1
                    observer.on_next(VendorEvent("large", {"data": "x" * 20_000}))

            threading.Thread(target=produce, daemon=True).start()
            return Disposable(disposed.set)

        return reactivex.create(subscribe)

    body = json.dumps({"prompt": "x", "linger": 0})
    with running(Service({"m": endless})) as url, post(int(url.rpartition(":")[2]), "/api/chat", body):
        assert disposed.wait(SECONDS)
    assert said * 100 < MAX_CHARS


def test_the_connection_of_a_client_that_takes_nothing_is_aborted(llm: LLMServer) -> None:
    """To close it would leave its descriptor open behind what the client does not take."""
    llm.enqueue(Reply("\u65e5" * 1_900_000))  # more bytes than the kernel takes for the client
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    with served(*of(llm), HEADER_SECONDS="0.5", STALLED_SECONDS="0.5") as (server, url), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", urlsplit(url).port))
        client.sendall(head.encode() + body)
        port = client.getsockname()[1]

        def is_held() -> bool:
            """Return whether the server has a descriptor for this client."""
            held = psutil.Process(server.pid).net_connections("tcp")
            return any(connection.raddr and connection.raddr.port == port for connection in held)

        until(is_held)
        assert client.recv(12) == b"HTTP/1.1 200"
        until(lambda: not is_held())


class TestNginx:
    """The configuration that docs/web.md gives, and nginx's own defaults."""

    @pytest.fixture
    def nginx(self, tmp_path: Path) -> object:
        """Start nginx before a server, with these lines in its location; returns the address."""
        binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if binary is None:
            pytest.skip("nginx is not installed")
        started: list[subprocess.Popen[bytes]] = []

        def start(upstream: str, lines: Sequence[str]) -> str:
            port = free_port()
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            temp = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
            location = f"location / {{ proxy_pass {upstream}; {' '.join(lines)} }}"
            http = f"access_log off; {temp} server {{ listen 127.0.0.1:{port}; {location} }}"
            main = f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/log;"
            conf = f"{main} events {{}} http {{ {http} }}"
            (tmp_path / "nginx.conf").write_text(conf)
            started.append(subprocess.Popen([binary, "-c", tmp_path / "nginx.conf", "-p", tmp_path]))
            until(lambda: answers(f"http://127.0.0.1:{port}"))
            return f"http://127.0.0.1:{port}"

        yield start
        for server in started:
            server.kill()
            server.wait()

    @pytest.mark.parametrize("lines", [[], DOCUMENTED])
    def test_tokens_pass_as_they_come(self, llm: LLMServer, url: str, nginx, lines: list[str]) -> None:
        """Nothing is buffered."""
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        front = nginx(url, lines)
        with requests.post(f"{front}/api/chat", json={"prompt": "Hi"}, stream=True, timeout=SECONDS) as response:
            found = response.iter_lines(chunk_size=1)
            assert any(b'"one"' in line for line in found)
            gate.open()
            assert any(b'" two"' in line for line in found)

    def test_the_page_behind_it_has_the_hosts_origin(self, url: str, nginx) -> None:
        """With the documented line; other origins stay out."""
        front = nginx(url, DOCUMENTED)
        for origin, status in ((front, 200), ("https://evil.example", 403)):
            assert (
                status == requests.get(f"{front}/api/models", headers={"origin": origin}, timeout=SECONDS).status_code
            )


class TestOrigins:
    """A page of an allowed origin reads everything, errors included."""

    @pytest.fixture
    def guarded(self, llm: LLMServer) -> Iterator[str]:
        guard = Guard(origins=frozenset(ORIGIN.values()), token="t")
        with running(Service({"m": model_of(llm)}, guard=guard)) as url:
            yield url

    def test_a_preflight_allows_the_headers_that_it_asks_for(self, guarded: str) -> None:
        """It bears no token, and the SDKs have ever more headers."""
        wanted = "authorization, content-type, x-stainless-lang, x-stainless-retry-count, anthropic-version"
        asked = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
        answer = requests.options(f"{guarded}/v1/responses", headers={**ORIGIN, **asked}, timeout=SECONDS)
        assert (204, wanted) == (answer.status_code, answer.headers["access-control-allow-headers"])

    @pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"x-api-key": "t"}, 404)])
    def test_errors_can_be_read(self, guarded: str, headers: dict[str, str], status: int) -> None:
        """With the header that says when to try again."""
        answer = requests.get(f"{guarded}/v1/nothing", headers={**ORIGIN, **headers}, timeout=SECONDS)
        assert status == answer.status_code
        assert ORIGIN["origin"] == answer.headers["access-control-allow-origin"]
        assert "retry-after" in answer.headers["access-control-expose-headers"]

    def test_a_failure_before_the_first_token_can_be_read(self, llm: LLMServer, guarded: str) -> None:
        """It is sent instead of a stream."""
        from rxllm.testing import ErrorReply

        llm.enqueue(ErrorReply(429, "slow down"))
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
        headers = {**ORIGIN, "x-api-key": "t"}
        answer = requests.post(f"{guarded}/v1/chat/completions", json=body, headers=headers, timeout=SECONDS)
        assert (429, ORIGIN["origin"]) == (answer.status_code, answer.headers["access-control-allow-origin"])
