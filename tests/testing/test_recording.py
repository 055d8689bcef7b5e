"""Recordings: a stream of events replayed, and the bytes on the wire replayed by a real server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

import rxllm
from rxllm import operators as ops
from rxllm.errors import APITimeoutError, LLMError, RateLimitError, StreamError, StreamInterruptedError
from rxllm.events import StreamEnd, TextDelta, TokenEvent
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.testing.recording import record_wire, replay, wire_replies

from ..operators.kit import Boom, answer, play, whole
from ..operators.pacing.test_pace import MIXED
from ..operators.threads import LIMIT, Seen

KEY = "sk-test-abcdefghijklmnop"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a recording may go."""
    return tmp_path / "stream.jsonl"


class TestReplay:
    """Events and their times."""

    def test_gives_the_events_at_their_times(self, path: Path) -> None:
        """On virtual time to the tick."""
        play(ops.record(path), MIXED)
        scheduler = TestScheduler()
        messages = scheduler.start(lambda: replay(path, scheduler=scheduler)).messages
        assert [*MIXED, None] == [getattr(message.value, "value", None) for message in messages]
        assert [200 + 10 * n for n in range(1, 14)] == [message.time for message in messages]

    def test_at_another_speed(self, path: Path) -> None:
        """Twice as fast, or without any waiting."""
        play(ops.record(path), answer("a", "b"))
        for speed, times in {2: [205, 210, 215, 220], None: [200] * 4}.items():
            scheduler = TestScheduler()
            messages = scheduler.start(
                lambda speed=speed, on=scheduler: replay(path, speed=speed, scheduler=on)
            ).messages
            assert times == [message.time for message in messages]

    def test_plays_on_a_thread_of_its_own_by_default(self, path: Path) -> None:
        """As a model's stream does, any number of times."""
        play(ops.record(path), answer("a", "b"))
        for _ in range(2):
            seen = Seen()
            seen.subscribe(replay(path, speed=None))
            seen.wait()
            assert answer("a", "b") == seen.values
            assert threading.get_ident() not in seen.threads

    @pytest.mark.parametrize(
        "error",
        [
            RateLimitError(
                "slow down", provider="openai", model="m", status_code=429, request_id="r1", retry_after=2.5
            ),
            APITimeoutError("nothing more came", phase="idle", partial=whole("a")),
            StreamInterruptedError("cut", partial=whole("a", "b")),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_ends_with_the_recorded_error(self, path: Path, error: LLMError) -> None:
        """Of the same type, with the same content."""
        play(ops.record(path), [TextDelta("a")], error=error)
        seen = Seen()
        seen.subscribe(replay(path, speed=None))
        seen.wait()
        assert type(error) is type(seen.error)
        assert facts(error) == facts(seen.error)

    def test_an_error_that_is_none_of_ours_becomes_one(self, path: Path) -> None:
        """With its type in the message."""
        play(ops.record(path), [], error=Boom("bang"))
        seen = Seen()
        seen.subscribe(replay(path, speed=None))
        seen.wait()
        assert isinstance(seen.error, StreamError)
        assert str(seen.error) == "Boom: bang"

    @pytest.mark.parametrize("cut", ["disposed", "file"])
    def test_a_recording_that_was_cut_off_ends_as_an_interrupted_stream(self, path: Path, cut: str) -> None:
        """Never as a complete one."""
        play(ops.record(path), answer("a", "b"), disposed=225)
        if cut == "file":
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        seen = Seen()
        seen.subscribe(replay(path, speed=None))
        seen.wait()
        assert [TextDelta("a"), TextDelta("b")] == seen.values
        assert isinstance(seen.error, StreamInterruptedError)

    def test_a_recording_is_in_the_file_at_once(self, path: Path) -> None:
        """While the stream runs; and a last line that is cut in the middle does not spoil the rest."""
        source: Subject[TokenEvent] = Subject()
        recording = source.pipe(ops.record(path)).subscribe()
        for event in MIXED[:5]:
            source.on_next(event)
        text = path.read_bytes()
        assert text.count(b"\n") == 5
        recording.dispose()
        path.write_bytes(text[:-3])
        seen = Seen()
        seen.subscribe(replay(path, speed=None))
        assert seen.ended.wait(LIMIT)
        assert MIXED[:4] == seen.values
        assert isinstance(seen.error, StreamInterruptedError)

    def test_disposing_ends_the_playing(self, path: Path) -> None:
        """At once."""
        play(ops.record(path), answer("a", "b", "c"))
        scheduler = TestScheduler()
        messages = scheduler.start(lambda: replay(path, scheduler=scheduler), disposed=225).messages
        assert [TextDelta("a"), TextDelta("b")] == [message.value.value for message in messages]

    def test_a_file_that_is_no_recording_is_an_error_that_names_the_line(self, path: Path) -> None:
        """And not a stream that ends well."""
        path.write_text('{"at":0.1,"event":{"type":"text_delta","text":"a"}}\nnonsense\n')
        seen = Seen()
        seen.subscribe(replay(path, speed=None))
        seen.wait()
        assert isinstance(seen.error, ValueError)
        assert "line 2" in str(seen.error)

    def test_refuses_a_speed_that_is_none(self, path: Path) -> None:
        """At once."""
        with pytest.raises(ValueError, match="speed"):
            replay(path, speed=0)


class TestWire:
    """Bytes, over the whole road."""

    @pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "ollama"])
    def test_a_replayed_answer_is_the_recorded_one(self, path: Path, provider: str) -> None:
        """The same events, from a real server that sends what was recorded."""
        with LLMServer(Reply("Grüße an alle, und 😀 dazu", id="a1")) as server:
            recorded = asked(server, provider, session=record_wire(path))
        with LLMServer(*wire_replies(path)) as server:
            replayed = asked(server, provider)
        assert recorded.values[:-1] == replayed.values[:-1]
        assert isinstance(replayed.values[-1], StreamEnd)
        assert replayed.values[-1].response.text == "Grüße an alle, und 😀 dazu"

    def test_an_answer_that_broke_off_breaks_off(self, path: Path) -> None:
        """The same error, with the same partial answer."""
        with LLMServer(Reply(pieces=["a", "b", "c"], fault=Drop(2))) as server:
            recorded = asked(server, "openai", session=record_wire(path))
        with LLMServer(*wire_replies(path)) as server:
            replayed = asked(server, "openai")
        for seen in (recorded, replayed):
            assert isinstance(seen.error, StreamInterruptedError)
            assert seen.error.partial is not None
            assert seen.error.partial.text == "ab"

    def test_an_error_response_is_recorded_too(self, path: Path) -> None:
        """With its status and its body."""
        with LLMServer(ErrorReply(429, "slow down")) as server:
            asked(server, "openai", session=record_wire(path))
        with LLMServer(*wire_replies(path)) as server:
            seen = asked(server, "openai")
        assert isinstance(seen.error, RateLimitError)
        assert "slow down" in str(seen.error)

    def test_a_disposed_stream_leaves_what_was_read(self, path: Path) -> None:
        """Up to the moment of disposal."""
        gate = Gate()
        with LLMServer(Reply(pieces=["a", "b", "c"], gate=gate)) as server:
            came = threading.Event()
            seen = Seen(lambda event: came.set() if event == TextDelta("a") else None)
            model = model_at(server, "openai", session=record_wire(path))
            subscription = seen.subscribe(model.stream("hi"))
            gate.release(1)
            assert came.wait(LIMIT)
            subscription.dispose()
            assert server.wait_for_request().closed.wait(LIMIT)
        (reply,) = wire_replies(path)
        assert b'"a"' in reply.body
        assert b'"b"' not in reply.body

    def test_no_key_is_in_the_file(self, path: Path) -> None:
        """Neither the one that was sent nor one that came back."""
        body = f'{{"error":{{"message":"Incorrect API key provided: {KEY}"}}}}'.encode()
        with LLMServer(ErrorReply(401, body)) as server:
            seen = asked(server, "openai", session=record_wire(path), api_key=KEY)
        assert seen.error is not None
        assert KEY not in path.read_text()
        assert "authorization" not in path.read_text().lower()


def model_at(server: LLMServer, provider: str, **options: Any) -> rxllm.StreamingModel:
    """A model of `provider` at the loopback server."""
    return rxllm.create_streaming_model(
        provider, model="m", base_url=server.base_url(provider), max_retries=0, **options
    )


def asked(server: LLMServer, provider: str, **options: Any) -> Seen:
    """What came of one question."""
    seen = Seen()
    seen.subscribe(model_at(server, provider, **options).stream("hi"))
    seen.wait()
    return seen


def facts(error: Exception | None) -> dict[str, object]:
    """All that an error says."""
    assert isinstance(error, LLMError)
    return {**vars(error), "message": str(error), "transient": error.transient}
