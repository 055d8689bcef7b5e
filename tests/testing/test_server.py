"""The scripted server, seen by clients that are not ours: `requests` and bare sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from itertools import repeat

import pytest
import requests

from rxllm.events import FinishReason, Usage
from rxllm.messages import ToolCall
from rxllm.testing import (
    Drop,
    ErrorReply,
    Fail,
    Gate,
    Hang,
    KeepAlive,
    LLMServer,
    RawReply,
    Reply,
    Reset,
    Stall,
    Truncate,
    WireName,
)

WEATHER = ToolCall("call_1", "weather", {"city": "Zürich"})
PATHS: Mapping[WireName, str] = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini-test:streamGenerateContent?alt=sse",
    "ollama": "/api/chat",
}
MESSAGES = [{"role": "user", "content": "Say it again"}]
BODIES: Mapping[WireName, Mapping[str, object]] = {
    "openai-chat": {"model": "gpt-test", "messages": MESSAGES, "stream_options": {"include_usage": True}},
    "openai-responses": {"model": "gpt-test", "input": "Say it again"},
    "anthropic": {
        "model": "claude-test",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Say it again"}]}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Say it again"}]}]},
    "ollama": {"model": "llama-test", "messages": MESSAGES},
}
every_wire = pytest.mark.parametrize("wire", PATHS)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


def ask(server: LLMServer, wire: WireName = "ollama", **options: object) -> requests.Response:
    """Ask over `wire` with a client that knows nothing of us."""
    return requests.post(server.url + PATHS[wire], json=BODIES[wire], timeout=30, **options)  # type: ignore[arg-type]  # plain keywords of requests.post


def events_in(body: str) -> list[dict[str, object]]:
    """The JSON documents of a body, whether SSE or NDJSON."""
    lines = [line.removeprefix("data: ") for line in body.splitlines() if not line.startswith(("event: ", ":"))]
    return [json.loads(line) for line in lines if line and line != "[DONE]"]


class TestProtocols:
    """What goes over each wire."""

    @every_wire
    def test_the_prompt_is_echoed_in_the_protocol_of_the_request(self, server: LLMServer, wire: WireName) -> None:
        """A server that was told nothing says the prompt back, at each protocol's path."""
        answer = ask(server, wire)
        assert answer.status_code == 200
        assert "".join(_texts(wire, events_in(answer.content.decode()))) == "Say it again"
        assert answer.headers["content-type"].startswith(
            "application/x-ndjson" if wire == "ollama" else "text/event-stream"
        )

    @every_wire
    def test_reasoning_and_tool_calls_are_told(self, server: LLMServer, wire: WireName) -> None:
        """What a model thinks and the tools it asks for are in the protocol's own words."""
        server.enqueue(Reply("So.", reasoning="Let me see", tool_calls=[WEATHER]))
        body = ask(server, wire).content.decode()
        assert '"weather"' in body
        assert "call_1" in body
        assert "Let" in body
        assert events_in(body)

    @every_wire
    @pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter", "refusal", "other"])
    def test_every_finish_reason_ends_the_answer(self, server: LLMServer, wire: WireName, finish: FinishReason) -> None:
        """Each way to finish is a whole answer on each wire."""
        server.enqueue(Reply("x", finish_reason=finish))
        body = ask(server, wire).content.decode()
        assert any(word in body for word in _TERMINAL[wire])

    @every_wire
    def test_usage_is_what_was_given(self, server: LLMServer, wire: WireName) -> None:
        """Given counts go on the wire as they are; None goes not at all."""
        counted = Usage(input_tokens=4321, output_tokens=8765, total_tokens=13086, cached_input_tokens=17)
        server.enqueue(Reply("x", usage=counted), Reply("x", usage=None))
        told = ask(server, wire).text
        assert "4321" in told or wire == "anthropic"
        assert "8765" in told
        assert "8765" not in ask(server, wire).text

    @every_wire
    def test_errors_have_the_vendors_form(self, server: LLMServer, wire: WireName) -> None:
        """An HTTP error holds the message where this vendor's clients look for it."""
        server.enqueue(ErrorReply(429, "slow down", headers={"retry-after": "1"}))
        answer = ask(server, wire)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        error = answer.json()["error"]
        assert (error if wire == "ollama" else error["message"]) == "slow down"

    def test_usage_on_chat_completions_is_sent_only_when_asked_for(self, server: LLMServer) -> None:
        """As the real API does."""
        body = {"model": "m", "messages": MESSAGES}
        assert "usage" not in requests.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).text

    def test_paths_without_a_version_and_of_azure_are_known(self, server: LLMServer) -> None:
        """People write base URLs in many ways."""
        for path in ("/chat/completions", "/openai/deployments/d/chat/completions?api-version=1", "/v1/responses/"):
            assert requests.post(server.url + path, json=BODIES["openai-chat"], timeout=60).status_code == 200

    def test_the_models_are_listed(self) -> None:
        """For clients that look before they ask, in the forms of OpenAI and Ollama."""
        with LLMServer(models=("a", "b")) as server:
            listed = requests.get(f"{server.url}/v1/models", timeout=60).json()["data"]
            assert [model["id"] for model in listed] == ["a", "b"]
            tags = requests.get(f"{server.url}/api/tags", timeout=60).json()["models"]
            assert [model["name"] for model in tags] == ["a", "b"]
            assert requests.get(f"{server.url}/api/version", timeout=60).json()["version"]
            assert requests.get(f"{server.url}/elsewhere", timeout=60).status_code == 404
            assert server.requests == []


class TestScripts:
    """Saying what is to be answered."""

    def test_replies_come_in_turn_and_then_the_default(self) -> None:
        """Text, values and functions all stand for replies."""
        with LLMServer("one", Reply("two"), default=lambda request: f"three to {request.model}") as server:
            assert [_said(server) for _ in range(4)] == ["one", "two", "three to llama-test", "three to llama-test"]
            server.enqueue("five")
            assert _said(server) == "five"

    def test_requests_are_recorded(self, server: LLMServer) -> None:
        """What came in can be asserted on: headers, body, model, prompt, and which attempt it was."""
        for wire in ("gemini", "anthropic", "anthropic"):
            ask(server, wire, headers={"X-Api-Key": "secret"})  # type: ignore[arg-type]  # a literal
        first, second, third = server.requests
        assert (first.wire, first.model, first.prompt) == ("gemini", "gemini-test", "Say it again")
        assert (second.method, second.path, second.headers["x-api-key"]) == ("POST", "/v1/messages", "secret")
        assert second.json["model"] == "claude-test"
        assert [request.attempt for request in (first, second, third)] == [1, 1, 2]
        assert second.answered.is_set()
        assert "attempt=2" in repr(third)

    def test_a_script_that_raises_answers_so(self, server: LLMServer) -> None:
        """A mistake in the test's own function is an HTTP error that shows it, not a hang."""
        server.default = lambda request: str(request.json["no such key"])
        answer = ask(server)
        assert answer.status_code == 500
        assert "KeyError" in answer.text

    def test_a_gate_holds_each_piece(self, server: LLMServer) -> None:
        """A piece goes out when the test says so: no test needs to sleep."""
        gate = Gate()
        server.enqueue(Reply("a b c", gate=gate))
        with ask(server, stream=True) as answer:
            gate.wait_until_reached(10)
            gate.release()
            assert b'"a"' in answer.raw.read1()
            gate.wait_until_reached(10)
            assert not server.requests[0].answered.is_set()
            gate.open()
            assert b'"done":true' in answer.raw.read()
        assert server.requests[0].answered.wait(60)

    def test_a_gate_that_nothing_reaches_says_so(self) -> None:
        """A test that waits in vain fails with a reason."""
        with pytest.raises(TimeoutError, match="gate"):
            Gate().wait_until_reached(0.01)

    def test_a_request_that_does_not_come_is_said(self, server: LLMServer) -> None:
        """A test that waits in vain fails with a reason."""
        with pytest.raises(TimeoutError, match="0 requests"):
            server.wait_for_request(timeout=0.01)

    def test_an_endless_answer_ends_with_its_client(self, server: LLMServer) -> None:
        """Pieces may be an endless iterable, paced or not."""
        for delay in (0.0, 0.001):
            server.enqueue(Reply(pieces=repeat("x"), delay=delay))
            with ask(server, stream=True) as answer:
                assert answer.raw.read1()
            assert server.requests[-1].closed.wait(60)

    @pytest.mark.parametrize("framing", ["chunked", "length", "close"])
    def test_each_framing_gives_the_same_body(self, server: LLMServer, framing: str) -> None:
        """How the end of the body is told is the script's choice."""
        server.enqueue(Reply("a b", framing=framing), RawReply(b"12345", framing=framing))  # type: ignore[arg-type]  # of a list above
        assert _said(server) == "a b"
        assert ask(server).content == b"12345"

    def test_recorded_bytes_go_out_as_they_are(self, server: LLMServer) -> None:
        """In pieces of one size, of given sizes, or whole; with any status and headers."""
        for cuts in (None, 1, [2, 0, 1], [9]):
            reply = RawReply(b"\xff{}\r\n", cuts=cuts, status=206, headers={"X-Odd": "yes"}, content_type="text/odd")
            server.enqueue(reply)
            answer = ask(server)
            assert (answer.status_code, answer.content, answer.headers["x-odd"]) == (206, b"\xff{}\r\n", "yes")
            assert answer.headers["content-type"] == "text/odd"

    def test_bare_bytes_need_not_be_http(self, server: LLMServer) -> None:
        """The whole response may be the script's own."""
        server.enqueue(RawReply(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", framing="bare"))
        assert ask(server).text == "ok"
        server.enqueue(RawReply(b"SSH-2.0-nonsense\r\n", framing="bare"))
        with pytest.raises(requests.ConnectionError):
            ask(server)

    def test_a_body_sent_in_chunks_is_read(self, server: LLMServer) -> None:
        """Some clients do not know how long their request is."""
        body = json.dumps(BODIES["ollama"]).encode()
        answer = requests.post(server.url + "/api/chat", data=iter([body[:9], body[9:]]), timeout=60)
        assert "".join(_texts("ollama", events_in(answer.text))) == "Say it again"


class TestFaults:
    """Answers that go wrong as they were told to."""

    @pytest.mark.parametrize("fault", [Drop(2), Reset(2)])
    def test_the_connection_ends_in_the_middle(self, server: LLMServer, fault: Drop | Reset) -> None:
        """After so many pieces, with the body unfinished, in each framing."""
        server.enqueue(Reply("a b c", fault=fault), Reply("a b c", fault=fault, framing="length"))
        for _ in range(2):
            with ask(server, stream=True) as answer, pytest.raises(requests.RequestException):
                _ = answer.content
        assert not server.requests[0].answered.is_set()

    @every_wire
    def test_a_truncated_answer_is_a_whole_body(self, server: LLMServer, wire: WireName) -> None:
        """HTTP ends well, and nothing terminal was said."""
        server.enqueue(Reply("a b c", fault=Truncate(2)), Reply("a b c", fault=Truncate()))
        for text in ("a b", "a b c"):
            body = ask(server, wire).text
            assert text == "".join(_texts(wire, events_in(body)))
            assert not any(word in body for word in _TERMINAL[wire])

    @every_wire
    def test_a_failing_answer_holds_the_vendors_error(self, server: LLMServer, wire: WireName) -> None:
        """Inside the stream, after so many pieces."""
        server.enqueue(Reply("a b c", fault=Fail(2, "out of order", "overloaded_error")))
        body = ask(server, wire).text
        assert "".join(_texts(wire, events_in(body))) == "a b"
        assert "out of order" in body
        assert wire == "ollama" or "overloaded_error" in body.lower()

    @every_wire
    def test_keep_alives_come_without_end(self, server: LLMServer, wire: WireName) -> None:
        """The connection lives, and says nothing."""
        server.enqueue(Reply("a b c", fault=KeepAlive(0, every=0.001)))
        with ask(server, wire, stream=True) as answer:
            seen = b"".join(answer.raw.read1() for _ in range(12))
        assert server.requests[0].closed.wait(60)
        assert b'"a"' not in seen

    @pytest.mark.parametrize("reply", [Hang(), Reply("a b", fault=Stall(1)), Reply("a b", fault=Stall())])
    def test_a_silent_server_notices_that_its_client_leaves(self, server: LLMServer, reply: Hang | Reply) -> None:
        """Before the headers, in the middle, after the last event."""
        server.enqueue(reply)
        host, port = server.url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        client.sendall(b"POST /api/chat HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        request = server.wait_for_request()
        if isinstance(reply, Reply):
            assert client.recv(10) == b"HTTP/1.1 2"
        assert not request.closed.is_set()
        client.close()
        assert request.closed.wait(60)
        assert request.closed_at is not None

    def test_raw_bytes_end_in_faults_too(self, server: LLMServer) -> None:
        """After so many of their pieces."""
        server.enqueue(RawReply(b"abcdef", cuts=2, fault=Truncate(1)), RawReply(b"abcdef", cuts=2, fault=Drop(2)))
        assert ask(server).text == "ab"
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            ask(server)


class TestConnections:
    """What happens to sockets and threads."""

    def test_connections_are_kept_alive(self, server: LLMServer) -> None:
        """One connection serves many requests, until the client wants it closed."""
        with requests.Session() as session:
            for _ in range(3):
                session.post(server.url + "/api/chat", json=BODIES["ollama"], timeout=60)
        assert server.connections == 1
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60) as client:
            client.sendall(b"POST /api/chat HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
            answer = b"".join(iter(lambda: client.recv(65536), b""))  # ends when the server closes
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.connections == 2

    def test_leaving_after_the_answer_is_noticed_too(self, server: LLMServer) -> None:
        """`closed` says that the connection has gone, whenever that was."""
        with requests.Session() as session:
            session.post(server.url + "/api/chat", json=BODIES["ollama"], timeout=60)
            assert not server.requests[0].closed.is_set()
        assert server.requests[0].closed.wait(60)

    def test_what_is_not_http_is_hung_up_on(self, server: LLMServer) -> None:
        """The server survives any client."""
        host, port = server.url.removeprefix("http://").split(":")
        for garbage in (b"\x16\x03\x01\r\n", b"POST /api/chat HTTP/1.1\r\ncontent-length: many\r\n\r\n", b"\r\n"):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(garbage)
                client.settimeout(60)
                assert client.recv(10) == b""
        assert _said(server) == "Say it again"

    def test_a_request_that_breaks_off_is_none(self, server: LLMServer) -> None:
        """Half a body is not recorded as a request."""
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /api/chat HTTP/1.1\r\ncontent-length: 9\r\n\r\n{}")
            client.shutdown(socket.SHUT_WR)
            client.settimeout(60)
            assert client.recv(10) == b""
        assert server.requests == []

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_pieces_that_raise_end_the_connection(self, server: LLMServer) -> None:
        """A mistake in the script is seen by the test run, and does not leave the client waiting."""
        server.enqueue(Reply(pieces=(str(1 // divisor) for divisor in (1, 0))))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            ask(server)
        assert _said(server) == "Say it again"

    def test_nothing_stays_after_close(self) -> None:
        """No thread and no open port, whatever was under way; closing twice is harmless."""
        before = threading.active_count()
        gate = Gate()
        with LLMServer(
            Hang(), Reply("a b", gate=gate), Reply("a b", fault=Stall(1)), Reply(pieces=repeat("x"))
        ) as server:
            host, port = server.url.removeprefix("http://").split(":")
            clients = [socket.create_connection((host, int(port))) for _ in range(5)]
            for client in clients[:4]:
                client.sendall(b"POST /api/chat HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            server.wait_for_request(4)
        server.close()
        assert before == threading.active_count()
        assert not any(request.closed.is_set() for request in server.requests)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        for client in clients:
            client.close()

    def test_a_port_may_be_chosen(self) -> None:
        """For programs whose configuration names it."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with LLMServer(port=port) as server:
            assert server.url == f"http://127.0.0.1:{port}"
            assert server.base_url("anthropic") == server.url
            assert server.base_url("groq") == server.url + "/v1"


def test_the_fixture_is_there_without_an_import(llm_server: LLMServer) -> None:
    """The package brings a pytest plugin."""
    assert _said(llm_server) == "Say it again"


_TERMINAL: Mapping[WireName, tuple[str, ...]] = {
    "openai-chat": ("[DONE]",),
    "openai-responses": ("response.completed", "response.incomplete"),
    "anthropic": ("message_stop",),
    "gemini": ("finishReason",),
    "ollama": ('"done":true',),
}


def _said(server: LLMServer) -> str:
    return "".join(_texts("ollama", events_in(ask(server).content.decode())))


def _texts(wire: WireName, events: list[dict[str, object]]) -> Iterator[str]:
    """The pieces of text in a stream, read by hand."""
    for event in events:
        match wire, event:
            case "openai-chat", {"choices": [{"delta": {"content": str(text)}}]}:
                yield text
            case "openai-responses", {"type": "response.output_text.delta", "delta": str(text)}:
                yield text
            case "anthropic", {"delta": {"type": "text_delta", "text": str(text)}}:
                yield text
            case "gemini", {"candidates": [{"content": {"parts": [{"text": str(text), **rest}]}}]} if not rest:
                yield text
            case "ollama", {"message": {"content": str(text)}}:
                yield text
