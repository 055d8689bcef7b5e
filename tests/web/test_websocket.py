"""WebSocket sessions, with the `websockets` client: asking, stopping, resuming, approving, and crowds."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator

import pytest
import reactivex
from reactivex import Observable
from reactivex.subject import Subject
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rxllm.assistant import Assistant
from rxllm.assistant.events import AssistantEvent
from rxllm.events import TextDelta, event_from_json
from rxllm.messages import ToolCall
from rxllm.testing import ErrorReply, Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Service, StreamBody
from rxllm.web.formats.websocket import WebSocketMessages

from .running import model_of, running

ENDS = ("end", "stopped", "error", "refused")


@pytest.fixture
def socket(url: str) -> Iterator[ClientConnection]:
    with open_socket(url) as made:
        yield made


def open_socket(url: str, **options: object) -> ClientConnection:
    return connect(f"{url.replace('http', 'ws')}/api/ws", proxy=None, max_size=None, **options)  # type: ignore[arg-type]  # passed on


def say(socket: ClientConnection, **command: object) -> None:
    socket.send(json.dumps(command))


def hear(socket: ClientConnection, *types: str) -> list[dict[str, object]]:
    """The messages up to the first of these types."""
    heard: list[dict[str, object]] = []
    while not heard or heard[-1]["type"] not in types:
        heard.append(json.loads(socket.recv(timeout=60)))
    return heard


def text_of(heard: list[dict[str, object]]) -> str:
    return "".join(str(message["text"]) for message in heard if message["type"] == "text_delta")


class TestASession:
    """One connection."""

    def test_a_prompt_is_answered(self, llm: LLMServer, socket: ClientConnection) -> None:
        """Each event is read back as what it was."""
        llm.enqueue("Hello there")
        say(socket, type="prompt", request="r1", body={"prompt": "Hi"})
        heard = hear(socket, *ENDS)
        assert ("started", "r1") == (heard[0]["type"], heard[0]["request"])
        assert ("Hello there", "end") == (text_of(heard), heard[-1]["type"])
        assert {heard[0]["stream"]} == {message["stream"] for message in heard}
        events = [event_from_json(json.dumps(message)) for message in heard[1:-1]]
        assert "Hello there" == "".join(event.text for event in events if isinstance(event, TextDelta))

    def test_stopping_and_a_new_prompt(self, llm: LLMServer, socket: ClientConnection) -> None:
        """The provider sees the close; the connection serves on."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate), "Next")
        say(socket, type="prompt", body={"prompt": "Hi"})
        stream = hear(socket, "text_delta")[0]["stream"]
        say(socket, type="stop", stream=stream)
        assert llm.wait_for_request().closed.wait(60)
        assert "stopped" == hear(socket, *ENDS)[-1]["type"]
        say(socket, type="prompt", body={"prompt": "Hi again"})
        assert "Next" == text_of(hear(socket, *ENDS))

    def test_two_streams_at_once(self, llm: LLMServer, socket: ClientConnection) -> None:
        """Told apart by their ids."""
        gate = Gate()
        llm.enqueue(Reply("slow one", gate=gate), "fast")
        say(socket, type="prompt", request="slow", body={"prompt": "a"})
        llm.wait_for_request()
        say(socket, type="prompt", request="fast", body={"prompt": "b"})
        assert "fast" == text_of(hear(socket, *ENDS))
        gate.open()
        assert "slow one" == text_of(hear(socket, *ENDS))

    def test_going_on_with_another_connection_and_stopping_there(
        self, llm: LLMServer, url: str, socket: ClientConnection
    ) -> None:
        """Resume and stop work together."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        say(socket, type="prompt", body={"prompt": "Hi"})
        last = hear(socket, "text_delta")[-1]
        socket.close()
        with open_socket(url) as other:
            say(other, type="resume", stream=last["stream"], after=last["seq"])
            gate.release()
            assert " two" == text_of(hear(other, "text_delta"))
            say(other, type="stop", stream=last["stream"])
            assert "stopped" == hear(other, *ENDS)[-1]["type"]
        assert llm.wait_for_request().closed.wait(60)

    def test_errors_are_told_where_they_belong(self, llm: LLMServer, socket: ClientConnection) -> None:
        """Of the stream, of the request, of the message."""
        llm.enqueue(ErrorReply(400, "too odd"))
        say(socket, type="prompt", body={"prompt": "Hi"})
        assert "too odd" in json.dumps(hear(socket, *ENDS)[-1])
        say(socket, type="prompt", request="r2", body={"prompt": "Hi", "model": "other"})
        refused = hear(socket, *ENDS)[-1]
        assert ("refused", "r2") == (refused["type"], refused["request"])
        say(socket, type="resume", stream="none")
        assert "none" == hear(socket, *ENDS)[-1]["stream"]
        for nonsense in ("nonsense", "[]", '{"type":"fly"}', "{" * 3000):
            socket.send(nonsense)
            assert "refused" == hear(socket, *ENDS)[-1]["type"]
        say(socket, type="ping")
        assert "pong" == hear(socket, "pong")[-1]["type"]

    @pytest.mark.parametrize(("approved", "deleted"), [(True, ["notes"]), (False, [])])
    def test_an_approval_is_given_by_the_client(self, llm: LLMServer, approved: bool, deleted: list[str]) -> None:
        """The assistant waits for it, and runs the tool or not."""
        gone: list[str] = []

        def delete(name: str) -> str:
            """Delete a file."""
            gone.append(name)
            return "deleted"

        def turn(request: ChatRequest) -> Observable[AssistantEvent]:
            assistant = Assistant(model_of(llm), tools=[delete], approve=request.approve)
            return assistant.stream(request.messages[-1])

        llm.enqueue(Reply("", tool_calls=(ToolCall("call_1", "delete", {"name": "notes"}),)), "As you wish")
        with running(Service({"assistant": turn})) as url, open_socket(url) as socket:
            say(socket, type="prompt", body={"prompt": "Delete my notes"})
            asked = hear(socket, "approval_request")[-1]
            say(socket, type="approve", stream=asked["stream"], call="call_1", approved=approved)
            heard = hear(socket, *ENDS)
        assert ("As you wish", "end") == (text_of(heard), heard[-1]["type"])
        assert deleted == gone

    def test_a_function_on_offer_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its words stay here; the connection serves on."""

        def broken(request: ChatRequest) -> Observable[object]:
            raise RuntimeError("the password is hunter2")

        with running(Service({"broken": broken})) as url, open_socket(url) as socket:
            say(socket, type="prompt", body={"prompt": "Hi"})
            refused = hear(socket, "refused")[-1]
            say(socket, type="ping")
            hear(socket, "pong")
        assert "hunter2" not in json.dumps(refused)
        assert "hunter2" in caplog.text


def test_bytes_are_commands_too(socket: ClientConnection, caplog: pytest.LogCaptureFixture) -> None:
    """What is no command is refused, and the connection goes on."""
    for message in (b"", b"\xff\x00"):
        socket.send(message)
        hear(socket, "refused")
    socket.send(b'{"type": "ping"}')
    hear(socket, "pong")
    assert [] == [record for record in caplog.records if record.levelname == "ERROR"]


class TestWhoMayConnect:
    """The same rules as for HTTP."""

    def test_a_page_of_another_origin_may_not(self, url: str) -> None:
        """Browsers send the origin; we look at it."""
        with pytest.raises(InvalidStatus):
            open_socket(url, origin="https://evil.example")

    def test_no_more_than_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And again when one has left."""
        monkeypatch.setattr("rxllm.web.asgi.MAX_WEBSOCKETS", 1)
        with running(Service({"m": lambda _: reactivex.never()})) as url:
            with open_socket(url) as _, pytest.raises(InvalidStatus), open_socket(url):
                pass
            say_when_there_is_room(url, type="ping")

    def test_no_more_of_one_client_than_its_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Others still come in."""
        monkeypatch.setattr("rxllm.web.asgi.MAX_WEBSOCKETS_PER_CLIENT", 1)
        service = Service(
            {"m": lambda _: reactivex.never()}, authenticate=lambda http: http.headers.get("authorization")
        )
        ann, bob = {"authorization": "ann"}, {"authorization": "bob"}
        with running(service) as url, open_socket(url, additional_headers=ann):
            with pytest.raises(InvalidStatus), open_socket(url, additional_headers=ann):
                pass
            with open_socket(url, additional_headers=bob) as other:
                say(other, type="ping")
                hear(other, "pong")

    def test_who_does_not_read_is_not_heard(self, url: str) -> None:
        """Replies do not pile up: commands wait on the way here until the replies before them are taken."""
        names = [secrets.token_hex(15_000) for _ in range(1500)]
        with open_socket(url, max_queue=1) as socket:
            asking = threading.Thread(target=lambda: [say(socket, type="stop", stream=name) for name in names])
            asking.start()
            assert names == [hear(socket, "refused")[-1]["stream"] for _ in names]
            asking.join()


def test_who_is_far_behind_is_sent_a_little_at_a_time() -> None:
    """What is sent to one that reads slowly waits here: it is never more than some of what it lacks."""
    source = Subject[object]()
    stream = Service({"m": lambda _: source}).publish(source)
    stream.watch(lambda: None)
    body = StreamBody(stream, WebSocketMessages(stream.id))

    def produce() -> None:  # blocks while the watcher is too far behind
        for _ in range(10_000):
            source.on_next(TextDelta("x" * 100))
        source.on_completed()

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    takes: list[list[str]] = []
    while producer.is_alive() or body.is_behind:
        takes.append(body.take())
    producer.join()
    takes.append(body.take())
    heard = [json.loads(message) for messages in takes for message in messages if message]
    assert max(len(message) for messages in takes for message in messages) < 100_000
    assert 1_000_000 == len(text_of(heard))
    assert ("end", True) == (heard[-1]["type"], body.ended)


def say_when_there_is_room(url: str, **command: object) -> None:
    """The place of a connection that was closed is free as soon as the server has noticed."""
    for _ in range(1000):
        with contextlib.suppress(InvalidStatus), open_socket(url) as socket:
            say(socket, **command)
            return
    raise AssertionError("there is no room again")


def test_two_hundred_on_one_stream_and_one_of_them_frozen() -> None:
    """The others have it all, while the frozen one costs no more than its connection: nothing waits for it here."""
    source = Subject[object]()
    with running(Service({"m": lambda _: source}), drain=1) as url, contextlib.ExitStack() as stack:
        first = stack.enter_context(open_socket(url))
        say(first, type="prompt", body={"prompt": "Hi"})
        stream = hear(first, "started")[0]["stream"]
        sockets = [stack.enter_context(open_socket(url, ping_interval=None)) for _ in range(199)]
        for socket in sockets:
            say(socket, type="resume", stream=stream)
            say(socket, type="ping")
        for socket in sockets:
            hear(socket, "pong")
        frozen = stack.enter_context(open_socket(url, max_queue=1, ping_interval=None, close_timeout=0.1))
        say(frozen, type="resume", stream=stream)
        heard: list[int] = []
        threads = [
            threading.Thread(target=lambda socket=socket: heard.append(len(text_of(hear(socket, "end")))))
            for socket in [first, *sockets]
        ]
        for thread in threads:
            thread.start()
        piece = "x" * 100
        for _ in range(20_000):
            source.on_next(TextDelta(piece))
        source.on_completed()
        for thread in threads:
            thread.join(60)
        assert [2_000_000] * 200 == heard
