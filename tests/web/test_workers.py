"""Several processes that serve the same clients, with a real Redis between them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import reactivex
import redis
import requests
from reactivex import Observable

from rxllm.assistant import Assistant
from rxllm.errors import OverloadedError
from rxllm.messages import ToolCall
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.web import ChatRequest, ServedStream, Service
from rxllm.web.multiprocess import follower
from rxllm.web.multiprocess.redis_notes import RedisNotes
from rxllm.web.multiprocess.relayed_streams import RelayedStreams
from rxllm.web.stream_registry import Streams

from ..relay.processes import RedisServer, needs_redis
from .running import model_of, running
from .serving import of, refusal, served

pytestmark = needs_redis

WORDS = "one two three four five six seven eight"
CALL = ToolCall("call_1", "weather", {"city": "Oslo"})


def chunks_of(told: str) -> list[dict[str, object]]:
    """The chunks of a UI message stream, pieces of arguments that follow one another joined: their cut is by time."""
    chunks: list[dict[str, object]] = []
    for line in told.splitlines():
        payload = line.removeprefix("data: ")
        chunk = json.loads(payload) if payload.startswith("{") else {"type": payload}
        before = chunks[-1] if chunks else {}
        if chunk["type"] == "tool-input-delta" == before.get("type"):
            before["inputTextDelta"] = f"{before['inputTextDelta']}{chunk['inputTextDelta']}"
        elif payload:
            chunks.append(chunk)
    return chunks


class Worker:
    """A server's address, and what a client does there."""

    def __init__(self, url: str, kill: Callable[[], None] | None = None) -> None:
        self.url = url.rstrip("/")
        self.kill = kill

    def ask(self, **body: object) -> Reading:
        return Reading(self._send("POST", "/api/chat", json={"prompt": "Count", **body}))

    def resume(self, stream: str, after: int = 0) -> Reading:
        return Reading(self._send("GET", f"/api/streams/{stream}", headers={"last-event-id": str(after)}))

    def stop(self, stream: str) -> int:
        return self._send("DELETE", f"/api/streams/{stream}").status_code

    def approve(self, stream: str, call: str, *, approved: bool) -> int:
        body = {"call": call, "approved": approved, "reason": "no"}
        return self._send("POST", f"/api/streams/{stream}/approve", json=body).status_code

    def _send(self, method: str, path: str, **options: object) -> requests.Response:
        return requests.request(method, self.url + path, stream=True, timeout=60, **options)  # type: ignore[arg-type]  # passed on


class Reading:
    """A stream's lines as they come."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.stream = response.headers.get("x-rxllm-stream", "")
        self.lines: list[dict[str, object]] = []
        self._response = response
        self._lines = response.iter_lines(chunk_size=1, decode_unicode=True)

    def until(self, *types: str, text: str | None = None) -> Reading:
        """Read to a line of these types, or until so much text is there."""
        while text is None or self.text != text:
            line = next(self._lines)
            if line.startswith("data: "):
                self.lines.append(json.loads(line.removeprefix("data: ")))
                if self.lines[-1]["type"] in types:
                    break
        return self

    def all(self) -> Reading:
        return self.until("end", "stopped", "error")

    def leave(self) -> None:
        self._response.close()

    @property
    def text(self) -> str:
        return "".join(str(line["text"]) for line in self.lines if line["type"] == "text_delta")

    def text_after(self, number: int) -> str:
        """What the deltas after this one say."""
        deltas = [line for line in self.lines if line["type"] == "text_delta"]
        return "".join(str(line["text"]) for line in deltas if int(str(line["seq"])) > number)

    @property
    def numbers(self) -> list[int]:
        return [int(str(line["seq"])) for line in self.lines if "seq" in line]


@pytest.fixture
def workers(llm: LLMServer, redis_server: RedisServer) -> Iterator[tuple[Worker, Worker]]:
    """Two `rxllm serve` processes."""
    with (
        served(*of(llm), "--redis", redis_server.url) as (a, first),
        served(*of(llm), "--redis", redis_server.url) as (b, second),
    ):
        yield Worker(first, a.kill), Worker(second, b.kill)


class TestProcesses:
    """`rxllm serve --redis URL`, twice."""

    def test_a_stream_goes_on_at_another(self, llm: LLMServer, workers: tuple[Worker, Worker]) -> None:
        """After any event: nothing is lost, nothing repeated, the numbers are the same, and it is asked once."""
        here, there = workers
        gate = Gate(3)
        llm.enqueue(Reply(WORDS, gate=gate))
        first = here.ask().until(text="one two three")
        seen = first.numbers
        readings = {after: there.resume(first.stream, after) for after in (0, *seen)}
        readings[0].until(text="one two three")
        gate.open()
        first.all()
        for after, reading in readings.items():
            assert first.text_after(after) == reading.all().text
            assert sorted(set(reading.numbers)) == reading.numbers
            assert reading.numbers[0] > after
            assert (first.numbers[-1], "end") == (reading.numbers[-1], reading.lines[-1]["type"])
        assert 204 == there.resume(first.stream, first.numbers[-1] + 1).status
        assert WORDS == there.resume(first.stream).all().text
        assert 1 == len(llm.requests)

    def test_a_stop_reaches_the_process_that_asks(self, llm: LLMServer, workers: tuple[Worker, Worker]) -> None:
        """The provider sees the connection close, and all readers that it was stopped."""
        here, there = workers
        llm.enqueue(Reply(WORDS, gate=Gate(2)))
        first = here.ask().until(text="one two")
        second = there.resume(first.stream).until(text="one two")
        assert 204 == there.stop(first.stream)
        assert llm.wait_for_request().closed.wait(60)
        for reading in (first, second, there.resume(first.stream), here.resume(first.stream)):
            assert ("one two", "stopped") == (reading.all().text, reading.lines[-1]["type"])

    def test_a_process_that_dies_is_noticed(self, llm: LLMServer, workers: tuple[Worker, Worker]) -> None:
        """Its streams' readers get one typed error, with all that came before it, when its lease has run out."""
        here, there = workers
        llm.enqueue(Reply(WORDS, gate=Gate(2)))
        stream = here.ask().until(text="one two").stream
        reading = there.resume(stream).until(text="one two")
        assert here.kill is not None
        here.kill()
        last = reading.all().lines[-1]
        assert ("one two", "error") == (reading.text, last["type"])
        error = last["error"]
        assert isinstance(error, dict)
        assert ("StreamInterruptedError", True) == (error["kind"], "producer" in error["message"])
        again = there.resume(stream).all()
        assert ("one two", last) == (again.text, again.lines[-1])

    def test_a_process_that_is_told_to_end_sends_its_readers_away(
        self, llm: LLMServer, redis_server: RedisServer
    ) -> None:
        """Without an end, so that they go on elsewhere; the stream itself is another's, and lives."""
        gate = Gate(2)
        llm.enqueue(Reply(WORDS, gate=gate))
        words = (*of(llm), "--redis", redis_server.url)
        with served(*words) as (_, first), served(*words) as (process, second):
            here, there = Worker(first), Worker(second)
            stream = here.ask().until(text="one two").stream
            reading = there.resume(stream).until(text="one two")
            process.send_signal(signal.SIGINT)
            with pytest.raises(StopIteration):
                reading.all()
            process.wait(60)
            gate.open()
            rest = here.resume(stream, reading.numbers[-1]).all()
        assert ("three four five six seven eight", "end") == (rest.text.strip(), rest.lines[-1]["type"])

    def test_what_is_nowhere_is_not_found(self, workers: tuple[Worker, Worker]) -> None:
        """At any of them, whatever the name looks like."""
        for name in ("nothing", "a%7Db", "x" * 500):
            assert 404 == workers[0].resume(name).status

    def test_use_chat_resumes_and_stops_anywhere(self, llm: LLMServer, workers: tuple[Worker, Worker]) -> None:
        """By the name that the client has for the conversation."""
        here, there = workers
        llm.enqueue(Reply(WORDS, gate=Gate(2)))
        messages = [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
        body = {"id": "talk", "messages": messages, "resumable": True}
        first = requests.post(f"{here.url}/api/ui-chat", json=body, stream=True, timeout=60)
        second = requests.get(f"{there.url}/api/ui-chat/talk/stream", stream=True, timeout=60)
        told = [response.iter_lines(chunk_size=1, decode_unicode=True) for response in (first, second)]
        begins = [next(line for line in lines if '"start"' in line) for lines in told]
        assert begins[0] == begins[1]
        assert 204 == requests.delete(f"{there.url}/api/ui-chat/talk/stream", timeout=60).status_code
        assert llm.wait_for_request().closed.wait(60)
        assert all(any('"abort"' in line for line in lines) for lines in told)
        assert 204 == requests.get(f"{there.url}/api/ui-chat/talk/stream", timeout=60).status_code


@contextlib.contextmanager
def two_workers(service_of: Callable[[], Service]) -> Iterator[tuple[Worker, Worker]]:
    """Two services in this process, that know of each other only what is in Redis."""
    with running(service_of()) as first, running(service_of()) as second:
        yield Worker(first), Worker(second)


class TestApproval:
    """A question that is asked by one process, and answered at another."""

    def services(self, llm: LLMServer, redis_server: RedisServer, ran: list[str]) -> Callable[[], Service]:
        def weather(city: str) -> str:
            """Say what the weather is like in a city."""
            ran.append(city)
            return "sun"

        def careful(request: ChatRequest) -> Observable[object]:
            return Assistant(model_of(llm), tools=[weather], approve=request.approve).stream(request.messages)

        return lambda: Service({"careful": careful}, streams=RelayedStreams(redis_server.url))

    @pytest.mark.parametrize(("approved", "ran"), [(True, ["Oslo"]), (False, [])])
    def test_by_the_streams_id(self, llm: LLMServer, redis_server: RedisServer, approved: bool, ran: list[str]) -> None:
        """The stream goes on where it is."""
        cities: list[str] = []
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        with two_workers(self.services(llm, redis_server, cities)) as (here, there):
            first = here.ask().until("approval_request")
            second = there.resume(first.stream).until("approval_request")
            assert 204 == there.approve(first.stream, "call_1", approved=approved)
            assert ["Done", "Done"] == [first.all().text, second.all().text]
        assert ran == cities
        assert [True] == [not line["refused"] for line in second.lines if line["type"] == "tool_end"] or not approved

    def test_it_is_not_lost_if_redis_fails_before_it_is_passed_on(
        self, llm: LLMServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same answer may be given again; the other one may not."""
        cities: list[str] = []
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        with two_workers(self.services(llm, redis_server, cities)) as (here, there):
            first = here.ask().until("approval_request")
            with monkeypatch.context() as broken:
                broken.setattr(RedisNotes, "answer", unreachable)
                assert 503 == there.approve(first.stream, "call_1", approved=True)
            assert 400 == there.approve(first.stream, "call_1", approved=False)
            assert 204 == there.approve(first.stream, "call_1", approved=True)
            assert "Done" == first.all().text
            assert 400 == here.approve(first.stream, "call_1", approved=True)
        assert ["Oslo"] == cities

    @pytest.mark.parametrize("seen", [True, False])
    def test_by_use_chats_own_message(self, llm: LLMServer, redis_server: RedisServer, seen: bool) -> None:
        """Whether or not the page has come by there before."""
        cities: list[str] = []
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        asked = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
        body = {"id": f"talk-{seen}", "resumable": True, "messages": [asked]}
        with two_workers(self.services(llm, redis_server, cities)) as (here, there):
            told = requests.post(f"{here.url}/api/ui-chat", json=body, timeout=60).text
            if seen:
                path = f"{there.url}/api/ui-chat/talk-{seen}/stream"
                assert chunks_of(told) == chunks_of(requests.get(path, timeout=60).text)
            question = next(line for line in told.splitlines() if "tool-approval-request" in line)
            answer = {"id": json.loads(question.removeprefix("data: "))["approvalId"], "approved": True}
            part = {"type": "tool-weather", "toolCallId": "call_1", "input": CALL.arguments, "approval": answer}
            parts = [{"type": "step-start"}, {**part, "state": "approval-responded"}]
            body["messages"] = [asked, {"id": "a", "role": "assistant", "parts": parts}]
            rest = requests.post(f"{there.url}/api/ui-chat", json=body, timeout=60).text
        assert ("Done" in rest, "tool-output-available" in rest, ["Oslo"], 2) == (True, True, cities, len(llm.requests))


def test_a_stream_lives_while_another_process_watches_it(
    llm: LLMServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is stopped when nobody does, anywhere."""
    monkeypatch.setattr(follower, "WATCHED_SECONDS", 0.6)
    monkeypatch.setattr(follower, "_LINGER_SECONDS", 0.1)
    gate = Gate(2)
    llm.enqueue(Reply(WORDS, gate=gate))
    looks = threading.Semaphore(0)

    def service() -> Service:
        streams = RelayedStreams(redis_server.url)
        get = streams._notes.get

        def look(name: str) -> bytes | None:
            looks.release()
            return get(name)

        monkeypatch.setattr(streams._notes, "get", look)
        return Service({"m": model_of(llm)}, streams=streams, linger=0.2)

    with two_workers(service) as (here, there):
        first = here.ask().until(text="one two")
        second = there.resume(first.stream).until(text="one two")
        first.leave()
        for _ in range(6):  # more than the watchers' word lasts without being renewed
            assert looks.acquire(timeout=60)
        assert not llm.wait_for_request().closed.is_set()
        second.leave()
        assert llm.wait_for_request().closed.wait(60)


def test_when_redis_is_away_nothing_begins_and_what_runs_goes_on(llm: LLMServer, tmp_path: Path) -> None:
    """The client learns that, and nothing of where it is; what can do without it does."""
    redis = RedisServer(tmp_path)
    gate = Gate(2)
    llm.enqueue(Reply(WORDS, gate=gate), "Alone")
    service = Service({"m": model_of(llm)}, streams=RelayedStreams(redis.url))
    with running(service) as url:
        here = Worker(url)
        reading = here.ask().until(text="one two")
        redis.kill()
        refused = requests.post(f"{url}/api/chat", json={"prompt": "Hi"}, timeout=60)
        assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
        assert str(redis.port) not in refused.text
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        whole = requests.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
        assert "Alone" == whole["choices"][0]["message"]["content"]
        redis.start()
        gate.open()
        assert (WORDS, "end") == (reading.all().text, reading.lines[-1]["type"])
        assert WORDS == Worker(url).resume(reading.stream).all().text
    redis.kill()


def test_redis_is_there_or_it_is_said(llm: LLMServer) -> None:
    """At once, not with the first stream."""
    assert "Redis" in refusal(*of(llm), "--redis", "redis://127.0.0.1:9/0")


def test_without_redis_nothing_of_it_is_loaded() -> None:
    """Who has one server needs no more packages than before."""
    program = "import sys, rxllm.cli.serve; print([name for name in sys.modules if 'redis' in name or 'relay' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == told.stdout.strip()


def unreachable(*_: object) -> None:
    raise OverloadedError("Redis is away", status_code=503)


class TestQuestions:
    """Approvals that any process takes, and one of them once."""

    @pytest.mark.parametrize("shared", [True, False])
    def test_several_are_closed_together_or_not_at_all(self, redis_server: RedisServer, shared: bool) -> None:
        """One that is refused uses up none of the others."""
        streams = RelayedStreams(redis_server.url, prefix="several") if shared else Streams()
        for call in ("c1", "c2", "c3"):
            streams.open_question("stream", call)
        assert streams.close_questions("stream", ["c3"], "denied")
        assert not streams.close_questions("stream", ["c1", "c3"], "used")
        assert not streams.close_questions("stream", ["c1", "c4"], "used")
        assert streams.close_questions("stream", ["c1", "c2"], "used")
        assert not streams.close_questions("stream", ["c1"], "approved")

    def test_a_question_is_answered_once_in_all_processes(self, redis_server: RedisServer) -> None:
        """Also by one that was started after it was asked."""
        asking = RelayedStreams(redis_server.url, prefix="questions")
        asking.open_question("stream", "call")
        restarted = RelayedStreams(redis_server.url, prefix="questions")
        assert asking.secret == restarted.secret
        assert restarted.close_questions("stream", ["call"], "used")
        asking.open_question("stream", "call")  # another reader is shown the question, which changes nothing
        for streams in (asking, restarted):
            assert not streams.close_questions("stream", ["call"], "used")
            assert not streams.close_questions("stream", ["call"], "approved")
            assert not streams.close_questions("stream", ["other"], "used")

    def test_a_redis_that_lost_the_secret_has_it_again(self, redis_server: RedisServer) -> None:
        """With whatever is signed or checked next, so that a process that starts later takes it."""
        asking = RelayedStreams(redis_server.url, prefix="lost")
        elsewhere = RelayedStreams(redis_server.url, prefix="lost").open(reactivex.never(), user="ann", linger=60)
        uses: list[Callable[[], object]] = [
            lambda: asking.open_question("stream", "call"),
            lambda: asking.close_questions("stream", ["call"], "used"),
            lambda: asking.chat("ann", "chat"),
            lambda: asking.get(elsewhere.id, "ann"),
        ]
        with redis.Redis.from_url(redis_server.url) as keys:
            for use in uses:
                assert keys.delete("lost:secret")
                use()
                assert asking.secret == RelayedStreams(redis_server.url, prefix="lost").secret
        elsewhere.stop()

    def test_no_user_takes_all_places_for_streams_of_other_processes(self, redis_server: RedisServer) -> None:
        """Each has as many as of its own; a server without users does not count them."""
        one = RelayedStreams(redis_server.url, prefix="places")
        other = RelayedStreams(redis_server.url, prefix="places", per_client=1)
        users = ("ann", "ann", "bob", "", "")
        streams = [(user, one.open(reactivex.never(), client="c", user=user, linger=60)) for user in users]
        watched: list[tuple[str, ServedStream]] = []
        notify = threading.Event().set
        for user, stream in streams:
            if user in [name for name, _ in watched if name]:
                with pytest.raises(OverloadedError):
                    other.get(stream.id, user)
                continue
            followed = other.get(stream.id, user)
            assert followed is not None
            followed.watch(notify)
            watched.append((user, followed))
        assert ["ann", "bob", "", ""] == [user for user, _ in watched]
        for _, followed in watched:
            followed.unwatch(threading.Event().set)
        one.drain(0)

    def test_a_stream_that_is_watched_after_the_shutdown_began(self, redis_server: RedisServer) -> None:
        """Its watcher continues in another process, as those before it do."""
        one, other = (RelayedStreams(redis_server.url, prefix="late") for _ in range(2))
        stream = one.open(reactivex.never(), linger=60)
        found = other.get(stream.id)
        assert isinstance(found, follower.FollowedStream)
        other.drain(0)
        rung = threading.Event()
        found.watch(rung.set)
        assert found.is_released
        assert rung.is_set()
        found.unwatch(rung.set)
        one.drain(0)

    def test_a_stream_is_its_users_in_all_processes(self, redis_server: RedisServer) -> None:
        """Its id is signed for that user."""
        one, other = (RelayedStreams(redis_server.url, prefix="users") for _ in range(2))
        stream = one.open(reactivex.never(), user="ann", linger=60)
        assert other.get(stream.id, "ann") is not None
        assert other.get(stream.id, "bob") is None
        stream.stop()
