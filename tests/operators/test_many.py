"""Many streams: `map_prompts`, `race`, `merge_labelled`, `ensemble`."""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import msgspec
import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

import rxllm
from rxllm import operators as ops
from rxllm._schema import json_schema
from rxllm.errors import (
    ConfigurationError,
    OutputParsingError,
    RateLimitError,
    StreamError,
    StreamInterruptedError,
)
from rxllm.events import StreamEnd, StreamStart, TextDelta, TokenEvent, Usage, UsageUpdate
from rxllm.operators import Labelled, LabelledError, Progress, PromptAnswer, PromptFailure
from rxllm.testing import ErrorReply, Hang, LLMServer, Reply
from rxllm.testing.scripted_model import ScriptedModel
from rxllm.testing.scripted_stream import scripted

from .kit import LATE, Boom, Case, OperatorContract, answer, play, upstream, whole
from .threads import LIMIT, Producer, Seen


def answering(seconds: float = 1) -> Callable[[str], Observable[TokenEvent]]:
    """A stream for each item, with the item as its answer, `seconds` later, on the subscriber's scheduler."""
    return lambda item: scripted([(seconds, f"<{item}>")])


def texts(results: list[Any]) -> list[str]:
    """What was answered, or the type of the error."""
    return [
        result.response.text if isinstance(result, PromptAnswer) else type(result.error).__name__ for result in results
    ]


class TestContract(OperatorContract):
    """The contract of all operators."""

    cases: ClassVar = [
        Case(
            "map_prompts",
            lambda: ops.map_prompts(answering(), max_concurrent=2),
            ["a", "b", "c"],
            ["<a>", "<b>", "<c>"],
            synchronous=False,
            view=lambda values: [value if isinstance(value, str) else value.response.text for value in values],
        ),
        Case(
            "merge_labelled",
            lambda: lambda source: ops.merge_labelled({"x": source}),
            answer("a", "b"),
            [Labelled("x", event) for event in answer("a", "b")],
        ),
        Case("race", lambda: lambda source: ops.race(source), answer("a", "b"), answer("a", "b")),
    ]

    def test_an_upstream_error_arrives_once_and_last(self, case: Case) -> None:
        """As for all operators; for `merge_labelled` it is the last value."""
        if case.name != "merge_labelled":
            super().test_an_upstream_error_arrives_once_and_last(case)
            return
        boom = Boom()
        run = play(case.operator(), case.events, error=boom)
        assert LabelledError("x", boom) == run.values[-1]
        assert run.completed


class TestMapPrompts:
    """Many prompts, so many at a time."""

    def test_no_more_than_so_many_run_at_once(self) -> None:
        """The next is asked as soon as one is answered."""
        running: list[int] = []
        active = 0

        def ask(item: int) -> Observable[TokenEvent]:
            nonlocal active
            active += 1
            running.append(active)

            def done() -> None:
                nonlocal active
                active -= 1

            return scripted([(25, str(item))]).pipe(rx.finally_action(done))

        run = play(ops.map_prompts(ask, max_concurrent=3), range(12))
        assert [str(n) for n in range(12)] == texts(run.values)
        assert max(running) == 3

    def test_in_order_whatever_takes_how_long(self) -> None:
        """The order of the prompts, by default."""
        delays = {"a": 300, "b": 10, "c": 100}
        run = play(ops.map_prompts(lambda item: scripted([(delays[item], item)])), "abc")
        assert texts(run.values) == ["a", "b", "c"]
        assert run.times == [510, 510, 510]

    def test_out_of_order_as_they_are_ready(self) -> None:
        """Each at once."""
        delays = {"a": 300, "b": 10, "c": 100}
        run = play(ops.map_prompts(lambda item: scripted([(delays[item], item)]), ordered=False), "abc")
        assert texts(run.values) == ["b", "c", "a"]
        assert run.times == [230, 330, 510]
        assert [result.index for result in run.values] == [1, 2, 0]

    def test_an_error_is_a_value_and_the_rest_goes_on(self) -> None:
        """With its prompt, for whoever asks it again."""
        model = ScriptedModel("one", ErrorReply(429, "slow down"), "three")
        run = play(ops.map_prompts(model), ["a", "b", "c"])
        assert texts(run.values) == ["one", "RateLimitError", "three"]
        failure = run.values[1]
        assert isinstance(failure, PromptFailure)
        assert (failure.index, failure.prompt) == (1, "b")
        assert isinstance(failure.error, RateLimitError)

    def test_a_prompt_that_is_refused_at_once_fails_like_any_other(self) -> None:
        """The model raises, the stream of results does not."""
        run = play(ops.map_prompts(ScriptedModel()), ["a", [], "c"])
        assert texts(run.values) == ["a", "ConfigurationError", "c"]

    def test_an_error_of_the_prompts_ends_everything(self) -> None:
        """What runs is disposed."""
        model = ScriptedModel(default=Hang())
        boom = Boom()
        run = play(ops.map_prompts(model), ["a", "b"], error=boom)
        assert boom is run.error
        assert ["disposed", "disposed"] == [call.state for call in model.calls]

    def test_a_stream_that_ends_without_an_answer_is_a_failure(self) -> None:
        """Whoever made it."""
        run = play(ops.map_prompts(lambda _: reactivex.empty()), ["a"])
        assert isinstance(run.values[0].error, StreamInterruptedError)

    def test_tells_the_progress(self) -> None:
        """With each result: what is done, has failed, runs, waits, and how many there are once that is known."""
        model = ScriptedModel("one", ErrorReply(500), "three", "four")
        seen = Seen()
        seen.subscribe(reactivex.from_iterable("abcd").pipe(ops.map_prompts(model, max_concurrent=1)))
        seen.wait()
        results = seen.values
        assert [(1, 0), (2, 1), (3, 1), (4, 1)] == [(r.progress.done, r.progress.failed) for r in results]
        assert Progress(done=4, failed=1, running=0, waiting=0, total=4) == results[-1].progress

    def test_a_row_may_be_asked_about(self) -> None:
        """A function makes the stream of an item; the result holds the item."""
        model = ScriptedModel()
        rows = [{"id": 1, "q": "why"}, {"id": 2, "q": "how"}]
        run = play(ops.map_prompts(lambda row: model.stream(row["q"])), rows)
        assert [({"id": 1, "q": "why"}, "why"), ({"id": 2, "q": "how"}, "how")] == [
            (result.prompt, result.response.text) for result in run.values
        ]

    def test_disposing_ends_all_requests_under_way(self) -> None:
        """And asks nothing more."""
        model = ScriptedModel(default=Hang())
        play(ops.map_prompts(model, max_concurrent=2), ["a", "b", "c"], disposed=250)
        assert ["disposed", "disposed"] == [call.state for call in model.calls]

    def test_nothing_is_asked_while_the_subscriber_is_busy(self) -> None:
        """A slow subscriber slows the asking."""
        model = ScriptedModel()
        counts: list[int] = []
        source = reactivex.from_iterable([str(n) for n in range(20)])
        scheduler = TestScheduler()
        source.pipe(ops.map_prompts(model, max_concurrent=2)).subscribe(
            lambda result: counts.append(len(model.calls) - result.progress.done), scheduler=scheduler
        )
        scheduler.start()
        assert len(counts) == 20
        assert max(counts) <= 2

    def test_in_order_nothing_is_asked_endlessly_far_ahead(self) -> None:
        """While one answer is out, the others that wait for it are bounded."""
        model = ScriptedModel(Hang())
        play(ops.map_prompts(model, max_concurrent=2), map(str, range(1000)), disposed=LATE)
        assert len(model.calls) == 32

    @pytest.mark.slow
    def test_answers_that_come_at_once_do_not_nest(self) -> None:
        """Ten thousand of them, without recursion."""
        prompts = reactivex.from_iterable(range(10_000))
        asked = prompts.pipe(ops.map_prompts(lambda n: reactivex.of(StreamEnd(whole(str(n))))), rx.to_list())
        results = asked.run()
        assert [str(n) for n in range(10_000)] == texts(results)

    def test_a_subscriber_that_raises_ends_everything(self) -> None:
        """The exception goes up; what runs is disposed."""
        model = ScriptedModel("x", Hang())
        source: Subject[str] = Subject()
        scheduler = TestScheduler()
        source.pipe(ops.map_prompts(model)).subscribe(_raise, scheduler=scheduler)
        source.on_next("a")
        source.on_next("b")
        with pytest.raises(Boom):
            scheduler.start()
        assert ["completed", "disposed"] == [call.state for call in model.calls]
        assert source.observers == []

    def test_streams_run_in_the_subscribers_context(self) -> None:
        """Also those that are begun when another one's thread brings its answer."""
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
        seen: list[str] = []

        def ask(item: int) -> Observable[TokenEvent]:
            seen.append(variable.get())
            return Producer(answer(str(item))).observable

        finished = Seen()
        token = variable.set("mine")
        try:
            finished.subscribe(reactivex.from_iterable(range(5)).pipe(ops.map_prompts(ask, max_concurrent=1)))
        finally:
            variable.reset(token)
        finished.wait()
        assert seen == ["mine"] * 5

    def test_results_come_one_at_a_time_from_many_threads(self) -> None:
        """Two hundred streams on threads of their own, twenty at once."""
        inside = threading.Lock()
        overlaps: list[Any] = []

        def on_next(result: Any) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(result)
                return
            inside.release()

        for ordered in (True, False):
            seen = Seen(on_next)
            asked = reactivex.from_iterable(range(200)).pipe(
                ops.map_prompts(lambda n: Producer(answer(str(n))).observable, max_concurrent=20, ordered=ordered)
            )
            seen.subscribe(asked)
            seen.wait()
            assert [str(n) for n in range(200)] == sorted(texts(seen.values), key=int)
            assert not ordered or [str(n) for n in range(200)] == texts(seen.values)
        assert overlaps == []

    def test_over_a_real_server(self) -> None:
        """Fifty prompts, five at a time, some refused: every one accounted for."""
        with LLMServer(default=lambda request: ErrorReply(500) if request.prompt.endswith("7") else "ok") as server:
            model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url(), max_retries=0)
            seen = Seen()
            prompts: Observable[rxllm.Prompt] = reactivex.from_iterable(f"p{n}" for n in range(50))
            seen.subscribe(prompts.pipe(ops.map_prompts(model, max_concurrent=5)))
            seen.wait()
            assert ["ServerError" if n % 10 == 7 else "ok" for n in range(50)] == texts(seen.values)
            assert len(server.requests) == 50

    @pytest.mark.parametrize("arguments", [{"max_concurrent": 0}, {"overflow": "maybe"}])
    def test_refuses_what_makes_no_sense(self, arguments: dict[str, Any]) -> None:
        """At once, with the value in the message."""
        with pytest.raises(ConfigurationError, match=r"0|maybe"):
            ops.map_prompts(ScriptedModel(), **arguments)

    @given(
        st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=20),
        st.integers(1, 5),
        st.booleans(),
    )
    def test_every_prompt_is_accounted_for(self, prompts: list[tuple[int, bool]], most: int, ordered: bool) -> None:
        """Whatever takes how long and fails: one result for each, in order if so asked."""

        def ask(item: tuple[int, tuple[int, bool]]) -> Observable[TokenEvent]:
            number, (seconds, fails) = item
            return scripted([(seconds, Boom() if fails else str(number))])

        run = play(ops.map_prompts(ask, max_concurrent=most, ordered=ordered), enumerate(prompts))
        assert run.completed
        expected = ["Boom" if fails else str(n) for n, (_, fails) in enumerate(prompts)]
        assert expected == texts(sorted(run.values, key=lambda result: result.index))
        assert not ordered or [*range(len(prompts))] == [result.index for result in run.values]
        assert list(range(1, len(prompts) + 1)) == [result.progress.done for result in run.values]


class TestBackpressure:
    """A source that is faster than the model is blocked, or prompts are dropped, or the stream fails."""

    @given(
        st.lists(st.integers(1, 60), min_size=1, max_size=25),
        st.integers(1, 4),
        st.integers(0, 4),
        st.sampled_from(["drop_oldest", "drop_newest", "error"]),
        st.booleans(),
    )
    def test_never_more_in_hand_than_allowed(
        self, delays: list[int], most: int, waiting: int, overflow: Any, ordered: bool
    ) -> None:
        """On virtual time, a prompt each 10 ticks, answers after any delay: for every policy and order."""
        scheduler = TestScheduler()
        progress: list[Progress] = []
        received = 0

        def ask(n: int) -> Observable[TokenEvent]:
            return reactivex.timer(delays[n], scheduler=scheduler).pipe(rx.map(lambda _: StreamEnd(whole(str(n)))))

        def count(_: int) -> None:
            nonlocal received
            received += 1

        operator = ops.map_prompts(ask, max_concurrent=most, max_waiting=waiting, overflow=overflow, ordered=ordered)
        source = upstream(scheduler, range(len(delays))).pipe(rx.do_action(count))
        results: list[Any] = []
        errors: list[Exception] = []
        source.pipe(operator).subscribe(results.append, errors.append, scheduler=scheduler)
        scheduler.start()
        progress = [result.progress for result in results]
        assert all(each.running <= most and each.running + each.waiting <= most + waiting for each in progress)
        if errors:
            assert overflow == "error"
            assert "prompts wait" in str(errors[0])
            return
        assert received == len(delays)
        indexes = [result.index for result in results]
        assert len(set(indexes)) == len(indexes)
        assert not ordered or indexes == sorted(indexes)
        dropped = progress[-1].dropped if progress else 0
        assert len(results) + dropped == len(delays)
        if overflow == "drop_newest" and results:
            assert results[0].index == 0 or not ordered

    @pytest.mark.parametrize("ordered", [True, False])
    def test_a_source_is_blocked_on_its_own_thread(self, ordered: bool) -> None:
        """An endless iterable is pulled as slots free up: at most 2 + 3 in hand, and subscribe() returns at once."""
        pulled: list[int] = []
        answers: list[Subject[TokenEvent]] = []
        full = threading.Semaphore(0)

        def endless() -> Iterator[int]:
            n = 0
            while True:
                pulled.append(n)
                full.release()
                yield n
                n += 1

        def ask(n: int) -> Observable[TokenEvent]:
            answers.append(Subject())
            return answers[-1]

        seen = Seen()
        operator = ops.map_prompts(ask, max_concurrent=2, max_waiting=3, ordered=ordered)
        subscription = seen.subscribe(reactivex.from_iterable(endless()).pipe(operator))
        for _ in range(5):
            assert full.acquire(timeout=LIMIT)
        for n in range(20):
            assert len(pulled) <= 5 + n
            answers[n].on_next(StreamEnd(whole(str(n))))
            answers[n].on_completed()
            assert full.acquire(timeout=LIMIT)
        assert [str(n) for n in range(20)] == texts(seen.values)
        subscription.dispose()
        assert len(pulled) == 25

    def test_disposing_releases_a_blocked_source(self) -> None:
        """The source's thread ends, and nothing more is asked."""
        producer = Producer(range(100))
        subscription = producer.observable.pipe(
            ops.map_prompts(lambda n: reactivex.never(), max_concurrent=1, max_waiting=0)
        ).subscribe()
        subscription.dispose()
        assert producer.finished.wait(LIMIT)

    def test_a_prompt_from_inside_on_next_is_not_blocked(self) -> None:
        """A subscriber that asks on: it would wait for itself."""
        source: Subject[str] = Subject()
        results: list[Any] = []

        def ask_on(result: Any) -> None:
            results.append(result)
            if len(results) < 5:
                source.on_next(f"{result.prompt}+")
                source.on_next(f"{result.prompt}-")

        model = ScriptedModel()
        source.pipe(ops.map_prompts(model, max_concurrent=1, max_waiting=0)).subscribe(ask_on)
        source.on_next("a")
        assert len(results) == 9

    def test_virtual_time_cannot_be_blocked(self) -> None:
        """It fails loudly, instead of hanging or of keeping more than was allowed."""
        run = play(ops.map_prompts(ScriptedModel(Hang()), max_concurrent=1, max_waiting=1), map(str, range(9)))
        assert isinstance(run.error, StreamError)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_from_a_real_server(self, ordered: bool) -> None:
        """An endless iterable and a real model: at most 4 + 4 of what is pulled is not answered."""
        answered: list[str] = []
        not_answered: list[int] = []

        def endless() -> Iterator[str]:
            for number in itertools.count():
                not_answered.append(number + 1 - len(answered))
                yield f"p{number}"

        with LLMServer(default=Reply("a b", delay=0.005)) as server:
            model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=server.base_url())

            def ask(prompt: str) -> Observable[TokenEvent]:
                return model.stream(prompt).pipe(rx.do_action(on_completed=lambda: answered.append(prompt)))

            ask_all = ops.map_prompts(ask, max_concurrent=4, max_waiting=4, ordered=ordered)
            assert len(reactivex.from_iterable(endless()).pipe(ask_all, rx.take(20), rx.to_list()).run()) == 20
        assert max(not_answered) <= 8


class Item(msgspec.Struct):
    """A type to answer with."""

    n: int


class TestTypedAnswers:
    """`response_type=`: values, one more request, then a failure."""

    def test_a_value_of_the_type(self) -> None:
        """The model is asked for the schema, and the answer has the value."""
        model = ScriptedModel('{"n": 1}')
        (result,) = play(ops.map_prompts(model, response_type=Item), ["p"]).values
        assert Item(1) == result.value
        assert model.calls[0].options["response_format"] is Item

    def test_an_answer_of_another_type_is_asked_for_once_more(self) -> None:
        """With what was wrong; the tokens of both requests count."""
        model = ScriptedModel('{"n": "x"}', '{"n": 2}')
        (result,) = play(ops.map_prompts(model, response_type=Item), ["p"]).values
        assert Item(2) == result.value
        again = model.calls[1].messages
        assert ["user", "assistant", "user"] == [message.role for message in again]
        assert "Expected `int`, got `str`" in again[-1].text

    def test_then_it_is_a_failure(self) -> None:
        """Two requests, and the next prompt goes on."""
        model = ScriptedModel("no", "no", '{"n": 3}')
        operator = ops.map_prompts(model, response_type=Item, max_concurrent=1)
        failure, result = play(operator, ["p", "q"]).values
        assert isinstance(failure, PromptFailure)
        assert isinstance(failure.error, OutputParsingError)
        assert "no" == failure.error.partial.text  # type: ignore[union-attr]  # it has come
        assert Item(3) == result.value

    def test_a_type_that_is_no_object_is_asked_for_in_one(self) -> None:
        """Vendors require an object at the root, as `Assistant.ask` knows too. A value is not in it."""
        model = ScriptedModel('{"answer": [1, 2]}', '{"answer": "red"}')
        (numbers,) = play(ops.map_prompts(model, response_type=list[int]), ["p"]).values
        (colour,) = play(ops.map_prompts(model, response_type=Literal["red", "blue"]), ["p"]).values  # type: ignore[arg-type]
        assert ([1, 2], "red") == (numbers.value, colour.value)
        asked = json_schema(model.calls[0].options["response_format"])
        assert {"answer": {"type": "array", "items": {"type": "integer"}}} == asked["properties"]

    def test_a_function_is_called_once_more(self) -> None:
        """With the same item: how to say what was wrong is its own business."""
        said = iter(["[", "[1]"])
        operator = ops.map_prompts(lambda n: reactivex.of(StreamEnd(whole(next(said)))), response_type=list[int])
        (result,) = play(operator, [7]).values
        assert [1] == result.value


class TestStopAfterFailures:
    """What all prompts meet ends the run early."""

    def test_the_same_permanent_error_in_a_row(self) -> None:
        """Three times the model is unknown: no fourth request."""
        model = ScriptedModel(*[ErrorReply(404)] * 100)
        run = play(ops.map_prompts(model, max_concurrent=1, stop_after_failures=3), map(str, range(20)))
        assert len(run.values) == 3
        assert isinstance(run.error, rxllm.NotFoundError)
        assert "3 prompts in a row" in run.error.__notes__[0]
        assert len(model.calls) <= 4

    def test_transient_errors_and_answers_between_do_not_stop(self) -> None:
        """Only the same error, only in a row."""
        replies = [ErrorReply(404), "a", ErrorReply(404), ErrorReply(503), ErrorReply(400)] * 4
        model = ScriptedModel(*replies)
        run = play(ops.map_prompts(model, max_concurrent=1, stop_after_failures=2), map(str, range(20)))
        assert run.completed
        assert len(run.values) == 20


class TestFirstToFinish:
    """The answer that is complete first."""

    def test_the_first_complete_answer_wins(self) -> None:
        """Not the one that begins first; its events come at its end, merged, and the other is disposed."""
        scheduler = TestScheduler()
        slow = upstream(scheduler, answer("a", "b", "c", "d"))
        fast = upstream(scheduler, [UsageUpdate(Usage()), *answer("x", "y")])
        messages = scheduler.start(lambda: ops.first_to_finish(slow, fast)).messages
        values = [message.value.value for message in messages if message.value.kind == "N"]
        assert [UsageUpdate(Usage()), TextDelta("xy"), *answer("x", "y")[2:]] == values
        assert {240} == {message.time for message in messages if message.value.kind == "N"}
        assert slow.subscriptions[0].unsubscribe == 240

    def test_an_error_loses(self) -> None:
        """The last one goes on if all fail."""
        failing = reactivex.throw(Boom())
        values: list[Any] = []
        ops.first_to_finish(failing, reactivex.from_iterable(answer("a", "b"))).subscribe(values.append)
        assert answer("ab")[:1] == values[:1]
        errors: list[Exception] = []
        ops.first_to_finish(failing, failing).subscribe(values.append, errors.append)
        assert isinstance(errors[0], Boom)

    def test_needs_a_stream(self) -> None:
        """None is a mistake."""
        with pytest.raises(ConfigurationError, match="first_to_finish"):
            ops.first_to_finish()


@pytest.mark.parametrize("build", [ops.race, lambda *streams: streams[0].pipe(ops.hedge(0, lambda: streams[1]))])
def test_an_empty_delta_wins_no_race(build: Any) -> None:
    """Content wins: `TextDelta("")` is none."""
    scheduler = TestScheduler()
    empty, full = upstream(scheduler, [TextDelta("")]), upstream(scheduler, [UsageUpdate(Usage()), TextDelta("b")])
    messages = scheduler.start(lambda: build(empty.pipe(rx.concat(reactivex.never())), full)).messages
    values = [message.value.value for message in messages if message.value.kind == "N"]
    assert [UsageUpdate(Usage()), TextDelta("b")] == values


class TestRace:
    """The first to speak."""

    def test_the_first_with_content_wins_and_the_others_are_disposed(self) -> None:
        """A beginning or a usage is no content."""
        scheduler = TestScheduler()
        usage = UsageUpdate(Usage(input_tokens=3))
        slow = ScriptedModel(scripted([(1, StreamStart()), (2, usage), (50, "slow")], scheduler=scheduler))
        quick = ScriptedModel(scripted([(10, StreamStart()), (20, "quick")], scheduler=scheduler))
        messages = scheduler.start(lambda: ops.race(slow.stream("hi"), quick.stream("hi"))).messages
        values = [message.value.value for message in messages if message.value.kind == "N"]
        assert [StreamStart(), TextDelta("quick")] == values[:2]
        assert isinstance(values[2], StreamEnd)
        assert [220, 220, 220] == [message.time for message in messages[:3]]
        assert (slow.calls[0].state, quick.calls[0].state) == ("disposed", "completed")

    def test_an_error_loses(self) -> None:
        """The others go on."""
        run = raced(scripted([(1, Boom())]), scripted([(5, "a")]))
        assert run[0] == TextDelta("a")
        assert isinstance(run[1], StreamEnd)

    def test_when_all_fail_the_last_error_goes_on(self) -> None:
        """Nothing is hidden behind silence."""
        first, second = Boom("first"), Boom("second")
        assert [second] == raced(scripted([(1, first)]), scripted([(5, second)]))

    def test_an_error_of_the_winner_is_the_races(self) -> None:
        """The others have gone."""
        boom = Boom()
        assert [TextDelta("a"), boom] == raced(scripted([(1, "a"), (2, boom)]), scripted([(5, "b")]))

    def test_a_stream_that_speaks_while_it_is_subscribed_wins_before_the_others_begin(self) -> None:
        """They are not asked at all."""
        asked: list[str] = []

        def late(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            asked.append("late")
            return Disposable()

        def at_once(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            for event in answer("a"):
                observer.on_next(event)
            observer.on_completed()
            return Disposable()

        assert answer("a") == raced(Observable[TokenEvent](at_once), Observable[TokenEvent](late))
        assert asked == []

    def test_needs_a_runner(self) -> None:
        """A race of none is a mistake."""
        with pytest.raises(ConfigurationError, match="race"):
            ops.race()

    def test_on_real_threads_one_wins(self) -> None:
        """Twenty at once, many times: one answer, whole."""
        for _ in range(30):
            runners = [Producer(answer(*(f"{n}-{piece} " for piece in range(20)))) for n in range(20)]
            seen = Seen()
            seen.subscribe(ops.race(*(runner.observable for runner in runners)))
            seen.wait()
            assert len({event.text.partition("-")[0] for event in seen.values[:-1]}) == 1
            assert len(seen.values) == 21
            assert all(runner.finished.wait(LIMIT) for runner in runners if runner.subscriptions)


class TestMergeLabelled:
    """Whose event is it."""

    def test_events_are_tagged_with_their_source(self) -> None:
        """In the order of time."""
        scheduler = TestScheduler()
        streams = {
            "x": scripted([(10, "a"), (30, "b")], scheduler=scheduler),
            "y": scripted([(20, "c")], scheduler=scheduler),
        }
        messages = scheduler.start(lambda: ops.merge_labelled(streams)).messages
        seen = [
            (message.value.value.label, message.value.value.event.text)
            for message in messages
            if message.value.kind == "N" and isinstance(message.value.value.event, TextDelta)
        ]
        assert seen == [("x", "a"), ("y", "c"), ("x", "b")]
        assert (230, "C") == (messages[-1].time, messages[-1].value.kind)

    def test_an_error_is_a_value_and_the_others_go_on(self) -> None:
        """Tagged like everything else."""
        boom = Boom()
        values = merged({"x": scripted([(1, boom)]), "y": scripted([(5, "c")])})
        assert LabelledError("x", boom) == values[0]
        assert Labelled("y", TextDelta("c")) == values[1]
        assert values[-1] == "completed"

    def test_nothing_to_merge(self) -> None:
        """Completes."""
        assert merged({}) == ["completed"]

    def test_disposing_disposes_all(self) -> None:
        """Each of them."""
        sources: dict[str, Subject[int]] = {"x": Subject(), "y": Subject()}
        subscription = ops.merge_labelled(sources).subscribe()
        subscription.dispose()
        assert [[], []] == [source.observers for source in sources.values()]

    def test_a_subscriber_that_raises_lets_all_go(self) -> None:
        """The exception goes up to the stream whose event it was."""
        sources: dict[str, Subject[int]] = {"x": Subject(), "y": Subject()}
        ops.merge_labelled(sources).subscribe(_raise)
        with pytest.raises(Boom):
            sources["x"].on_next(1)
        assert [[], []] == [source.observers for source in sources.values()]

    def test_from_many_threads_one_at_a_time(self) -> None:
        """Each stream in its own order, none of it lost."""
        inside = threading.Lock()
        overlaps: list[Any] = []

        def on_next(value: Any) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(value)
                return
            inside.release()

        seen = Seen(on_next)
        seen.subscribe(ops.merge_labelled({n: Producer(range(500)).observable for n in range(10)}))
        seen.wait()
        assert overlaps == []
        for label in range(10):
            assert list(range(500)) == [value.event for value in seen.values if value.label == label]


class TestEnsemble:
    """One prompt, several models."""

    def test_asks_each_model_the_same(self) -> None:
        """And tells whose answer is whose."""
        models = {"x": ScriptedModel("one"), "y": ScriptedModel("two", provider="other")}
        seen = Seen()
        seen.subscribe(ops.ensemble(models, "hi"))
        seen.wait()
        answers = {
            value.label: value.event.response.text for value in seen.values if isinstance(value.event, StreamEnd)
        }
        assert answers == {"x": "one", "y": "two"}
        assert ["hi", "hi"] == [model.calls[0].prompt for model in models.values()]

    def test_a_model_that_refuses_at_once_does_not_stop_the_others(self) -> None:
        """Its refusal is its part of the result."""

        class Refusing:
            def stream(self, prompt: rxllm.Prompt) -> Observable[TokenEvent]:
                raise ConfigurationError("no")

        seen = Seen()
        seen.subscribe(ops.ensemble({"x": Refusing(), "y": ScriptedModel("two")}, "hi"))
        seen.wait()
        assert isinstance(seen.values[0], LabelledError)
        assert isinstance(seen.values[-1], Labelled)
        assert seen.completed

    def test_asks_anew_for_each_subscription(self) -> None:
        """It is cold, as its streams are."""
        model = ScriptedModel(Reply("one"), Reply("two"))
        for _ in range(2):
            seen = Seen()
            seen.subscribe(ops.ensemble({"x": model}, "hi"))
            seen.wait()
        assert len(model.calls) == 2


def raced(*streams: Observable[TokenEvent]) -> list[Any]:
    """The events of a race on virtual time, and its error, if it has one."""
    scheduler = TestScheduler()
    messages = scheduler.start(lambda: ops.race(*streams)).messages
    return [
        message.value.value if message.value.kind == "N" else message.value.exception
        for message in messages
        if message.value.kind != "C"
    ]


def merged(streams: dict[str, Observable[TokenEvent]]) -> list[Any]:
    """The values of a merge on virtual time, and "completed" or the error."""
    scheduler = TestScheduler()
    values: list[Any] = []
    ops.merge_labelled(streams).subscribe(
        values.append, values.append, lambda: values.append("completed"), scheduler=scheduler
    )
    scheduler.start()
    return values


def _raise(_: object) -> None:
    raise Boom
