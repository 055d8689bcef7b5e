"""What a stream has brought, and cost, when it is over."""

from __future__ import annotations

import threading

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

import rxllm
from rxllm import Message, Response, Usage
from rxllm.events import StreamReset, TextDelta, TokenEvent, UsageUpdate
from rxllm.operators.final_response import finally_response
from rxllm.testing import LLMServer, Reply, Stall

from . import kit
from .kit import Boom, Case, OperatorContract
from .virtual import START, answer, cold, play

LIMIT = 60.0

CASES = [
    Case("finally_response", lambda: finally_response(lambda _: None), kit.answer("a", "b"), kit.answer("a", "b")),
]


class TestContract(OperatorContract):
    """The contract."""

    cases = CASES


class TestFinallyResponse:
    """Once, however it ended."""

    def test_a_whole_answer(self) -> None:
        """What StreamEnd holds, before on_completed."""
        told: list[Response] = []
        seen: list[object] = []
        events = answer("a", "b", usage=Usage(3, 2, 5))
        stream = rx.from_iterable(events).pipe(finally_response(told.append))
        stream.subscribe(on_completed=lambda: seen.append(len(told)))
        assert [response.text for response in told] == ["ab"]
        assert told[0].usage == Usage(3, 2, 5)
        assert seen == [1]

    def test_a_failure(self) -> None:
        """What the error knows; else what was seen."""
        partial = Response(text="a", usage=Usage(3, 1, 4))
        for error in (rxllm.StreamInterruptedError("cut", partial=partial), Boom()):
            told: list[Response] = []
            scheduler = TestScheduler()
            events: list[TokenEvent] = [START, UsageUpdate(Usage(3, 1, 4)), TextDelta("a")]
            stream = cold(scheduler, events, error).pipe(finally_response(told.append))
            assert play(scheduler, lambda stream=stream: stream).error is error
            assert [(response.text, response.usage) for response in told] == [("a", Usage(3, 1, 4))]

    @pytest.mark.parametrize("disposed", [3, 100])
    def test_disposing(self, disposed: float) -> None:
        """At that moment, with what had arrived; and once, though it may be disposed again."""
        told: list[Response] = []
        scheduler = TestScheduler()
        events: list[TokenEvent] = [START, TextDelta("Hello there"), TextDelta(", you")]
        stream = rx.concat(cold(scheduler, events, step=1), rx.never()).pipe(
            finally_response(told.append, [Message.user("Say hello to me")])
        )
        play(scheduler, lambda: stream, disposed=disposed)
        (response,) = told
        assert response.text == ("Hello there" if disposed == 3 else "Hello there, you")
        assert response.usage.estimated
        assert response.usage.output_tokens == (3 if disposed == 3 else 4)
        assert response.usage.input_tokens == 4

    def test_the_vendor_has_the_last_word(self) -> None:
        """No estimate where there is a count."""
        told: list[Response] = []
        events: list[TokenEvent] = [UsageUpdate(Usage(7, 1)), TextDelta("a"), UsageUpdate(Usage(7, 2))]
        stream = rx.concat(rx.from_iterable(events), rx.never())
        stream.pipe(finally_response(told.append)).subscribe().dispose()
        assert told[0].usage == Usage(7, 2)

    def test_what_never_began_cost_nothing(self) -> None:
        """Nothing is made up."""
        told: list[Response] = []
        rx.never().pipe(finally_response(told.append, "Hi")).subscribe().dispose()
        assert told == [Response()]

    def test_a_reset_voids_the_text(self) -> None:
        """As it does everywhere."""
        told: list[Response] = []
        events: list[TokenEvent] = [TextDelta("a"), StreamReset("again"), TextDelta("b")]
        stream = rx.concat(rx.from_iterable(events), rx.never())
        stream.pipe(finally_response(told.append)).subscribe().dispose()
        assert told[0].text == "b"

    def test_an_operator_that_lets_go_is_a_dispose(self) -> None:
        """`take` and its like."""
        told: list[Response] = []
        rx.from_iterable(answer("a", "b")).pipe(finally_response(told.append), rx_ops.take(2)).subscribe()
        assert [response.text for response in told] == ["a"]

    def test_a_stop_button(self) -> None:
        """A real stream, stopped by another thread while it stalls."""
        told: list[Response] = []
        came = threading.Event()
        with LLMServer(Reply(pieces=["Hello"], fault=Stall(after=1))) as server:
            model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.base_url())
            stream = model.stream("Hi").pipe(finally_response(told.append, "Hi"))
            subscription = stream.subscribe(lambda event: came.set() if isinstance(event, TextDelta) else None)
            assert came.wait(LIMIT)
            subscription.dispose()
            assert server.requests[0].closed.wait(LIMIT)
        assert [response.text for response in told] == ["Hello"]
        assert told[0].usage.estimated
