"""Scripted streams and models, on virtual time."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx
from reactivex.testing import ReactiveTest, TestScheduler

from rxllm import operators as ops
from rxllm.errors import LLMError, OverloadedError, RateLimitError, StreamInterruptedError
from rxllm.events import Response, StreamEnd, StreamStart, TextDelta, TokenEvent, Usage, UsageUpdate
from rxllm.messages import TextPart, ToolCall
from rxllm.testing import Drop, ErrorReply, Fail, Hang, Reply, ScriptedModel, Stall, Step, Truncate, marble, scripted

on_next, on_error, on_completed = ReactiveTest.on_next, ReactiveTest.on_error, ReactiveTest.on_completed
WEATHER = ToolCall("call_1", "weather", {"city": "Paris"})


def end(text: str) -> StreamEnd:
    parts = (TextPart(text),) if text else ()
    return StreamEnd(Response(text=text, finish_reason="stop", raw_finish_reason="stop", parts=parts))


class TestScripted:
    """Events at given times."""

    def test_steps_come_at_their_times_and_the_end_holds_them_all(self) -> None:
        """Times count from the subscription; the end follows the last step."""
        clock = TestScheduler()
        observer = clock.start(lambda: scripted([(1, "a"), (1, TextDelta("b")), (7.5, "c")], scheduler=clock))
        assert observer.messages == [
            on_next(201.0, TextDelta("a")),
            on_next(201.0, TextDelta("b")),
            on_next(207.5, TextDelta("c")),
            on_next(207.5, end("abc")),
            on_completed(207.5),
        ]

    def test_the_subscribers_scheduler_is_taken_where_none_was_given(self) -> None:
        """As with reactivex's own timed sources; without steps the end comes at once."""
        observer = TestScheduler().start(lambda: scripted([]))
        assert observer.messages == [on_next(200.0, end("")), on_completed(200.0)]

    def test_a_script_may_bring_its_own_end(self) -> None:
        """After which nothing comes."""
        mine = StreamEnd(Response(text="all of it"))
        observer = TestScheduler().start(lambda: scripted([(1, mine), (2, "never")]))
        assert observer.messages == [on_next(201.0, mine), on_completed(201.0)]

    def test_an_error_holds_the_answer_so_far(self) -> None:
        """As the errors of real streams do; the script's own error is left as it is."""
        failure = RateLimitError("slow down")
        steps: list[Step] = [(1, "a"), (2, failure), (3, "never")]
        for _ in range(2):
            observer = TestScheduler().start(lambda: scripted(steps))
            error = observer.messages[-1].value.exception
            assert isinstance(error, RateLimitError)
            assert error.partial is not None
            assert error.partial.text == "a"
        assert failure.partial is None

    def test_silence_without_end(self) -> None:
        """What is to never end does not."""
        observer = TestScheduler().start(lambda: scripted([(1, "a")], ends=False))
        assert observer.messages == [on_next(201.0, TextDelta("a"))]

    def test_an_endless_script_stops_where_it_is_disposed(self) -> None:
        """Also from inside on_next."""
        steps = ((float(number), str(number)) for number in count())
        observer = TestScheduler().start(lambda: scripted(steps).pipe(ops.text(), rx.take(3)))
        assert observer.messages == [on_next(200.0, "0"), on_next(201.0, "1"), on_next(202.0, "2"), on_completed(202.0)]
        assert next(steps)[0] == 3.0

    def test_without_any_scheduler_a_thread_plays_it(self) -> None:
        """And ends with it."""
        before = set(threading.enumerate())
        assert scripted([(0.0, "a"), (0.001, "b")]).pipe(ops.response()).run().text == "ab"
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
            assert not thread.is_alive()


class TestMarble:
    """The same, drawn."""

    def test_elements_are_pieces_of_text(self) -> None:
        """Or numbers, or what the lookup says; `|` ends the answer."""
        lookup = {"u": UsageUpdate(Usage(output_tokens=2))}
        observer = TestScheduler().start(lambda: marble("-ab-1-(c,u)|", timespan=1, lookup=lookup))
        events = [message.value.value for message in observer.messages[:-1]]
        assert events[:4] == [TextDelta("ab"), TextDelta("1"), TextDelta("c"), lookup["u"]]
        assert isinstance(events[4], StreamEnd)
        assert (events[4].response.text, events[4].response.usage.output_tokens) == ("ab1c", 2)
        assert [message.time for message in observer.messages] == [201, 204, 206, 206, 211, 211]

    def test_a_hash_is_an_error(self) -> None:
        """The given one, or an interrupted stream."""
        for error, kind in ((None, StreamInterruptedError), (OverloadedError("too much"), OverloadedError)):
            observer = TestScheduler().start(lambda error=error: marble("a-#", error=error))
            assert isinstance(observer.messages[-1].value.exception, kind)

    def test_a_diagram_without_an_end_has_none(self) -> None:
        """Silence follows."""
        assert len(TestScheduler().start(lambda: marble("-a--")).messages) == 1


class TestScriptedModel:
    """A model without HTTP."""

    def test_an_answer_has_the_events_of_a_real_one(self) -> None:
        """Start, pieces, tool calls, usage, end: paced on the scheduler."""
        clock = TestScheduler()
        reply = Reply("Hello world", reasoning="hm", tool_calls=[WEATHER], delay=10, id="r1", model="m")
        observer = clock.start(lambda: ScriptedModel(reply, scheduler=clock).stream("a b c"))
        names = [(m.time, type(m.value.value).__name__) for m in observer.messages[:-1]]
        assert names == [
            (200, "StreamStart"),
            (200, "ReasoningDelta"),
            (210, "TextDelta"),
            (220, "TextDelta"),
            *[(230, name) for name in ("ToolCallStart", "ToolCallDelta", "ToolCallDelta", "ToolCallEnd")],
            (230, "UsageUpdate"),
            (230, "StreamEnd"),
        ]
        response = observer.messages[-2].value.value.response
        assert (response.text, response.reasoning, response.tool_calls) == ("Hello world", "hm", (WEATHER,))
        assert (response.finish_reason, response.id, response.model) == ("tool_calls", "r1", "m")
        assert response.usage == Usage(input_tokens=3, output_tokens=4, total_tokens=7)

    @pytest.mark.parametrize(
        ("reply", "kind", "said"),
        [
            (Reply("a b c", fault=Drop(2)), StreamInterruptedError, "a b"),
            (Reply("a b c", fault=Truncate()), StreamInterruptedError, "a b c"),
            (Reply("a b c", fault=Fail(1, "too much", "overloaded_error")), OverloadedError, "a"),
            (ErrorReply(429, "slow down", headers={"Retry-After": "3"}), RateLimitError, ""),
            (ErrorReply(503, b"<html>busy</html>"), OverloadedError, ""),
            (RateLimitError("as given"), RateLimitError, ""),
        ],
    )
    def test_what_goes_wrong_is_a_real_providers_error(
        self, reply: Reply | ErrorReply | LLMError, kind: type[LLMError], said: str
    ) -> None:
        """The same script gives the same error here as over HTTP."""
        model = ScriptedModel(reply)
        with pytest.raises(kind) as caught:
            model.chat("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == said
        assert [call.state for call in model.calls] == ["failed"]
        assert caught.value.retry_after == (3.0 if said == "" and "slow" in str(caught.value) else None)

    @pytest.mark.parametrize("reply", [Hang(), Reply("a", fault=Stall(1))])
    def test_silence_lasts_until_it_is_disposed(self, reply: Hang | Reply) -> None:
        """And the call says that it was."""
        clock = TestScheduler()
        model = ScriptedModel(reply, scheduler=clock)
        observer = clock.start(lambda: model.stream("Hi"))
        assert all(isinstance(m.value.value, StreamStart | TextDelta) for m in observer.messages)
        assert [call.state for call in model.calls] == ["disposed"]

    def test_each_subscription_is_a_call(self) -> None:
        """Replies are taken in turn, functions asked, streams of one's own passed on, then the default."""
        own: reactivex.Observable[TokenEvent] = scripted([(0, "own")])
        model = ScriptedModel("one", lambda call: f"{call.options.get('temperature')}", own)
        stream = model.stream("Hi", temperature=0.5)
        assert model.calls == []
        assert [stream.pipe(ops.response()).run().text for _ in range(4)] == ["one", "0.5", "own", "Hi"]
        assert [call.prompt for call in model.calls] == ["Hi"] * 4
        assert "completed" in repr(model.calls[0])
        assert ScriptedModel(default="always").chat("?").text == "always"

    @pytest.mark.parametrize("wrong", [Reply(pieces=(str(1 // (2 - n)) for n in range(3))), Reply(pieces=[1]), 5, None])
    def test_what_cannot_be_played_ends_the_stream(self, wrong: Any) -> None:
        """An iterable that raises, and what is no reply: with the error, not in silence."""
        with pytest.raises((ZeroDivisionError, TypeError)):
            ScriptedModel(wrong).chat("Hi")
