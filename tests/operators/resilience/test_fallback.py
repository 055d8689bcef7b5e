"""Retry, fallback and hedging, on virtual time."""

from __future__ import annotations

import contextvars
import threading

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.internal import DisposedException
from reactivex.scheduler import EventLoopScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

import rxllm
from rxllm import operators as ops
from rxllm.errors import LLMError
from rxllm.events import ReasoningDelta, StreamEnd, TextDelta, TokenEvent, Usage, UsageUpdate
from rxllm.operators.resilience.fallback import error_class, fallback_to, retry_transient
from rxllm.operators.resilience.hedge import hedge

from .. import kit
from ..kit import Case, OperatorContract
from ..virtual import START, Tries, answer, cold, play

OVERLOADED = rxllm.OverloadedError("busy")
EVENTS = answer("a", "b")
LIMIT = 60.0


def never() -> Observable[TokenEvent]:
    return rx.never()


CASES = [
    Case("retry_transient", retry_transient, kit.answer("a", "b"), kit.answer("a", "b")),
    Case("fallback_to", lambda: fallback_to(rx.never()), kit.answer("a", "b"), kit.answer("a", "b")),
    Case("hedge", lambda: hedge(1e6, never), kit.answer("a", "b"), kit.answer("a", "b")),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


class TestErrorClass:
    """Three classes: retry here, try the next, raise to the user."""

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (rxllm.RateLimitError("429"), "retry"),
            (rxllm.OverloadedError("503"), "retry"),
            (rxllm.ServerError("500"), "retry"),
            (rxllm.APITimeoutError("slow", phase="first_token"), "retry"),
            (rxllm.StreamInterruptedError("cut"), "retry"),
            (rxllm.APIConnectionError("refused"), "retry"),
            (rxllm.APIConnectionError("TLS", transient=False), "next"),
            (rxllm.AuthenticationError("401"), "next"),
            (rxllm.PermissionDeniedError("403", status_code=403), "next"),
            (rxllm.NotFoundError("404"), "next"),
            (rxllm.ProtocolError("html"), "next"),
            (rxllm.ProviderStreamError("it broke"), "next"),
            (rxllm.BadRequestError("400"), "raise"),
            (rxllm.ContextWindowExceededError("too long"), "raise"),
            (rxllm.ConfigurationError("no key"), "raise"),
            (rxllm.RateLimitError("quota", transient=False), "raise"),
            (rxllm.PermissionDeniedError("402", status_code=402), "raise"),
            (rxllm.APITimeoutError("over", phase="total"), "raise"),
            (ValueError("a bug"), "raise"),
        ],
    )
    def test_every_kind_of_error_has_one(self, error: Exception, expected: str) -> None:
        """By what would be different the next time, or elsewhere."""
        assert expected == error_class(error)


class TestRetry:
    """Before the first content event, transient errors, in time."""

    def test_a_second_try_is_invisible(self) -> None:
        """Nothing of a try that failed before content is seen."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [START, UsageUpdate(Usage(1))], OVERLOADED), cold(scheduler, EVENTS))
        seen = play(scheduler, lambda: tries.stream.pipe(retry_transient(jitter=lambda low, high: high)))
        assert seen.values == EVENTS
        assert seen.completed

    def test_waits_grow_twofold_up_to_the_limit(self) -> None:
        """Each wait is drawn between nothing and base times two to the tries before."""
        scheduler = TestScheduler()
        drawn: list[tuple[float, float]] = []

        def jitter(low: float, high: float) -> float:
            drawn.append((low, high))
            return high

        tries = Tries(scheduler, cold(scheduler, [], OVERLOADED))
        seen = play(
            scheduler, lambda: tries.stream.pipe(retry_transient(5, base_delay=1.0, max_delay=6.0, jitter=jitter))
        )
        assert drawn == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 6.0), (0.0, 6.0)]
        assert tries.times == [200.0, 202.0, 205.0, 210.0, 217.0, 224.0]
        assert seen.error is OVERLOADED

    def test_the_jitter_is_full(self) -> None:
        """By default a wait may be anything from zero to its bound."""
        waits: list[float] = []
        for _ in range(200):
            scheduler = TestScheduler()
            tries = Tries(scheduler, cold(scheduler, [], OVERLOADED))
            play(
                scheduler, lambda tries=tries: tries.stream.pipe(retry_transient(1, base_delay=100.0, max_delay=100.0))
            )
            waits.append(tries.times[1] - tries.times[0] - 1)
        assert 0 <= min(waits) < 25
        assert 75 < max(waits) <= 100

    def test_retry_after_is_the_least_wait(self) -> None:
        """A server's wish is kept to the second."""
        scheduler = TestScheduler()
        error = rxllm.RateLimitError("slow down", retry_after=30.0)
        tries = Tries(scheduler, cold(scheduler, [], error), cold(scheduler, EVENTS))
        play(scheduler, lambda: tries.stream.pipe(retry_transient()))
        assert tries.times == [200.0, 231.0]

    @pytest.mark.parametrize("asked", [61.0, 3600.0, float("inf")])
    def test_a_server_that_asks_for_too_much_is_not_waited_for(self, asked: float) -> None:
        """A hostile Retry-After parks nobody."""
        scheduler = TestScheduler()
        error = rxllm.RateLimitError("slow down", retry_after=asked)
        tries = Tries(scheduler, cold(scheduler, [], error))
        seen = play(scheduler, lambda: tries.stream.pipe(retry_transient()))
        assert tries.times == [200.0]
        assert seen.error is error

    @pytest.mark.parametrize("content", [TextDelta("a"), ReasoningDelta("hm")])
    def test_nothing_is_tried_again_once_content_was_seen(self, content: TokenEvent) -> None:
        """A second try would show the beginning twice."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [START, content], OVERLOADED))
        seen = play(scheduler, lambda: tries.stream.pipe(retry_transient()))
        assert [START, content] == seen.values
        assert seen.error is OVERLOADED
        assert len(tries.times) == 1

    def test_a_server_that_sends_no_content_without_end_fills_no_memory(self) -> None:
        """What comes after the first 1,000 events is passed on as it comes."""
        source = Subject[TokenEvent]()
        seen: list[TokenEvent] = []
        source.pipe(retry_transient()).subscribe(seen.append)
        updates = [UsageUpdate(Usage(number)) for number in range(1002)]
        for update in updates[:1000]:
            source.on_next(update)
        assert seen == []
        for update in updates[1000:]:
            source.on_next(update)
        assert seen == updates

    @pytest.mark.parametrize("error", [rxllm.BadRequestError("400"), rxllm.AuthenticationError("401"), ValueError()])
    def test_what_will_fail_again_is_not_tried_again(self, error: Exception) -> None:
        """Only errors of the class "retry" are."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [], error))
        assert play(scheduler, lambda: tries.stream.pipe(retry_transient())).error is error
        assert len(tries.times) == 1

    def test_disposing_ends_a_wait(self) -> None:
        """Nothing is asked for after that."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [], OVERLOADED))
        seen = play(scheduler, lambda: tries.stream.pipe(retry_transient(jitter=lambda _, __: 50.0)), disposed=20)
        assert tries.times == [200.0]
        assert seen.values == []

    def test_disposing_ends_a_later_try(self) -> None:
        """The connection of the second try is let go as the first one's would be."""
        scheduler = TestScheduler()
        second = cold(scheduler, EVENTS, step=100)
        tries = Tries(scheduler, cold(scheduler, [], OVERLOADED), second)
        play(scheduler, lambda: tries.stream.pipe(retry_transient(jitter=lambda _, __: 5.0)), disposed=20)
        assert [(each.subscribe, each.unsubscribe) for each in second.subscriptions] == [(206.0, 220.0)]

    def test_each_subscription_has_all_its_tries(self) -> None:
        """What one used up, another has still."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [], OVERLOADED))
        stream = tries.stream.pipe(retry_transient(1, jitter=lambda _, __: 0.0))
        for _ in range(2):
            stream.subscribe(on_error=lambda _: None, scheduler=scheduler)
        scheduler.start()
        assert len(tries.times) == 4

    def test_a_stream_that_fails_inside_subscribe(self) -> None:
        """Errors may come before subscribe() has returned, for every try."""
        failures = iter([OVERLOADED, OVERLOADED])
        events: list[TokenEvent] = []

        def make(_: object) -> Observable[TokenEvent]:
            error = next(failures, None)
            return rx.throw(error) if error is not None else rx.from_iterable(EVENTS)

        rx.defer(make).pipe(retry_transient(jitter=lambda _, __: 0.0)).subscribe(events.append)
        assert events == EVENTS

    def test_later_tries_keep_the_subscribers_context(self) -> None:
        """A trace begun by the subscriber goes on in a try that a timer thread starts."""
        trace = contextvars.ContextVar("trace", default="none")
        seen: list[str] = []
        done = threading.Event()

        def make(_: object) -> Observable[TokenEvent]:
            seen.append(trace.get())
            return rx.throw(OVERLOADED)

        trace.set("mine")
        stream = rx.defer(make).pipe(retry_transient(1, base_delay=0.001))
        stream.subscribe(on_error=lambda _: done.set())
        assert done.wait(LIMIT)
        assert seen == ["mine", "mine"]

    def test_no_retries_is_the_stream_itself(self) -> None:
        """Nothing is put in the way of the tokens."""
        stream = never()
        assert stream is retry_transient(0)(stream)


class TestFallback:
    """The next stream, where this one cannot."""

    def test_the_next_answers_in_its_place(self) -> None:
        """Nothing of the first is seen."""
        scheduler = TestScheduler()
        other = cold(scheduler, answer("c"))
        first = cold(scheduler, [START], rxllm.AuthenticationError("401"))
        seen = play(scheduler, lambda: first.pipe(fallback_to(other)))
        assert answer("c") == seen.values
        assert seen.completed

    def test_the_others_are_tried_in_order(self) -> None:
        """Streams, or functions that make them only when needed."""
        scheduler = TestScheduler()
        second = Tries(scheduler, cold(scheduler, [], rxllm.ServerError("500")))
        third = Tries(scheduler, cold(scheduler, EVENTS))
        first = cold(scheduler, [], OVERLOADED)
        seen = play(scheduler, lambda: first.pipe(fallback_to(second, third.stream)))
        assert seen.values == EVENTS
        assert (second.times, third.times) == ([201.0], [202.0])

    def test_the_last_error_is_the_one_that_is_seen(self) -> None:
        """Where nobody can answer."""
        scheduler = TestScheduler()
        last = rxllm.NotFoundError("404")
        streams = [cold(scheduler, [], error) for error in (OVERLOADED, rxllm.ServerError("500"), last)]
        seen = play(scheduler, lambda: streams[0].pipe(fallback_to(*streams[1:])))
        assert seen.error is last

    def test_an_error_that_is_the_same_everywhere_is_raised(self) -> None:
        """A bad request is bad for the others too."""
        scheduler = TestScheduler()
        other = Tries(scheduler, cold(scheduler, EVENTS))
        error = rxllm.BadRequestError("400")
        assert play(scheduler, lambda: cold(scheduler, [], error).pipe(fallback_to(other))).error is error
        assert other.times == []

    def test_the_caller_may_choose_the_errors(self) -> None:
        """A larger model for what is too long for a small one."""
        scheduler = TestScheduler()
        first = cold(scheduler, [], rxllm.ContextWindowExceededError("too long"))
        too_long = fallback_to(
            cold(scheduler, EVENTS), when=lambda error: isinstance(error, rxllm.ContextWindowExceededError)
        )
        assert play(scheduler, lambda: first.pipe(too_long)).values == EVENTS

    def test_not_after_content(self) -> None:
        """By default, an answer that has begun is not replaced."""
        scheduler = TestScheduler()
        other = Tries(scheduler, cold(scheduler, EVENTS))
        seen = play(scheduler, lambda: cold(scheduler, [START, TextDelta("a")], OVERLOADED).pipe(fallback_to(other)))
        assert [START, TextDelta("a")] == seen.values
        assert seen.error is OVERLOADED
        assert other.times == []

    def test_a_function_that_raises(self) -> None:
        """What it raises is what the stream ends with."""
        scheduler = TestScheduler()
        problem = rxllm.ConfigurationError("no key")

        def make() -> Observable[TokenEvent]:
            raise problem

        assert play(scheduler, lambda: cold(scheduler, [], OVERLOADED).pipe(fallback_to(make))).error is problem

    def test_needs_another(self) -> None:
        """A fallback to nothing is a mistake."""
        with pytest.raises(rxllm.ConfigurationError):
            fallback_to()

    def test_disposing_ends_the_other(self) -> None:
        """Whichever is under way."""
        scheduler = TestScheduler()
        other = cold(scheduler, EVENTS, step=100)
        play(scheduler, lambda: cold(scheduler, [], OVERLOADED).pipe(fallback_to(other)), disposed=50)
        assert [(each.subscribe, each.unsubscribe) for each in other.subscriptions] == [(201.0, 250.0)]


class TestHedge:
    """A second request where the first is slow to speak."""

    def test_a_first_that_speaks_in_time_stays_alone(self) -> None:
        """There is no second request."""
        scheduler = TestScheduler()
        second = Tries(scheduler, cold(scheduler, EVENTS))
        seen = play(scheduler, lambda: cold(scheduler, answer("a", "b"), step=4).pipe(hedge(10, second)))
        assert seen.values == EVENTS
        assert second.times == []

    def test_the_first_to_speak_wins(self) -> None:
        """The slow one is disposed at that moment, and nothing of it is seen."""
        scheduler = TestScheduler()
        slow = cold(scheduler, [START, TextDelta("slow")], step=20)
        fast = cold(scheduler, answer("fast"))
        seen = play(scheduler, lambda: slow.pipe(hedge(10, lambda: fast)))
        assert answer("fast") == seen.values
        assert seen.times == [12.0, 12.0, 13.0]
        assert [(each.subscribe, each.unsubscribe) for each in slow.subscriptions] == [(200.0, 212.0)]

    def test_the_first_may_win_after_all(self) -> None:
        """Then the second is disposed."""
        scheduler = TestScheduler()
        slow = cold(scheduler, answer("slow"), step=6)
        slower = cold(scheduler, answer("slower"), step=50)
        seen = play(scheduler, lambda: slow.pipe(hedge(10, lambda: slower)))
        assert answer("slow") == seen.values
        assert [(each.subscribe, each.unsubscribe) for each in slower.subscriptions] == [(210.0, 212.0)]

    def test_a_start_is_not_speaking(self) -> None:
        """Only content counts: not StreamStart, usage or what a vendor says besides."""
        scheduler = TestScheduler()
        second = cold(scheduler, answer("second"))
        first = rx.concat(rx.from_iterable([START, UsageUpdate(Usage(1))]), never())
        assert play(scheduler, lambda: first.pipe(hedge(10, lambda: second))).text == "second"

    def test_a_first_that_fails_is_not_waited_for(self) -> None:
        """The second starts at once."""
        scheduler = TestScheduler()
        second = Tries(scheduler, cold(scheduler, EVENTS))
        seen = play(scheduler, lambda: cold(scheduler, [START], OVERLOADED).pipe(hedge(10, second)))
        assert seen.values == EVENTS
        assert second.times == [201.0]

    def test_a_failure_leaves_the_other_running(self) -> None:
        """Whichever of the two it is."""
        scheduler = TestScheduler()
        slow = cold(scheduler, answer("slow"), step=20)
        failing = cold(scheduler, [START], OVERLOADED)
        assert answer("slow") == play(scheduler, lambda: slow.pipe(hedge(10, lambda: failing))).values

    def test_where_both_fail_the_error_is_the_firsts(self) -> None:
        """It is the stream that was asked for."""
        scheduler = TestScheduler()
        first, second = rxllm.ServerError("first"), rxllm.ServerError("second")
        streams = cold(scheduler, [], first), cold(scheduler, [], second)
        assert play(scheduler, lambda: streams[0].pipe(hedge(10, lambda: streams[1]))).error is first

    def test_an_error_that_is_the_same_everywhere_is_raised(self) -> None:
        """There is no second request for a bad one."""
        scheduler = TestScheduler()
        second = Tries(scheduler, cold(scheduler, EVENTS))
        error = rxllm.BadRequestError("400")
        assert play(scheduler, lambda: cold(scheduler, [], error).pipe(hedge(10, second))).error is error
        assert second.times == []

    def test_a_timer_that_cannot_be_set_is_an_error(self) -> None:
        """The first request does not go on unseen."""
        scheduler = EventLoopScheduler()
        scheduler.dispose()
        first = Subject[TokenEvent]()
        errors: list[Exception] = []
        first.pipe(hedge(10, rx.never, scheduler=scheduler)).subscribe(on_error=errors.append)
        assert [type(error) for error in errors] == [DisposedException]
        assert not first.observers

    def test_an_error_after_content_is_the_streams_own(self) -> None:
        """A race is over once it is won."""
        scheduler = TestScheduler()
        first = cold(scheduler, [TextDelta("a")], OVERLOADED)
        seen = play(scheduler, lambda: first.pipe(hedge(10, never)))
        assert [TextDelta("a")] == seen.values
        assert seen.error is OVERLOADED

    @pytest.mark.parametrize(("disposed", "asked"), [(5, 0), (15, 1)])
    def test_disposing_ends_the_wait_and_both(self, disposed: float, asked: int) -> None:
        """Before the second, and with both under way."""
        scheduler = TestScheduler()
        first, second = cold(scheduler, EVENTS, step=100), cold(scheduler, EVENTS, step=100)
        play(scheduler, lambda: first.pipe(hedge(10, lambda: second)), disposed=disposed)
        assert [200.0 + disposed] == [each.unsubscribe for each in first.subscriptions]
        assert [200.0 + disposed] * asked == [each.unsubscribe for each in second.subscriptions]

    def test_many_races_on_real_threads(self) -> None:
        """Each has one winner, whole, whoever it is."""
        for _ in range(50):
            events: list[TokenEvent] = []
            ended = threading.Event()
            barrier = threading.Barrier(2)

            def make(name: str, barrier: threading.Barrier = barrier) -> Observable[TokenEvent]:
                def subscribe(observer: rx.abc.ObserverBase[TokenEvent], _: object = None) -> rx.abc.DisposableBase:
                    def run() -> None:
                        barrier.wait(LIMIT)
                        for event in answer(name, name):
                            observer.on_next(event)
                        observer.on_completed()

                    threading.Thread(target=run, daemon=True).start()
                    return rx.disposable.Disposable()

                return Observable(subscribe)

            make("first").pipe(hedge(0.0, lambda: make("second"))).subscribe(events.append, on_completed=ended.set)
            assert ended.wait(LIMIT)
            assert events in (answer("first", "first"), answer("second", "second"))


def test_operators_compose() -> None:
    """Hedged tries, then another stream, in one pipe."""
    scheduler = TestScheduler()
    failing = Tries(scheduler, cold(scheduler, [START], OVERLOADED))
    other = cold(scheduler, answer("c"))
    pipeline = failing.stream.pipe(
        retry_transient(2, jitter=lambda _, __: 1.0), fallback_to(other), ops.text(), rx_ops.to_list()
    )
    assert play(scheduler, lambda: pipeline).values == [["c"]]
    assert len(failing.times) == 3


def test_an_error_keeps_what_it_knows() -> None:
    """What goes on is the error itself, its partial answer included."""
    scheduler = TestScheduler()
    error = LLMError("cut", partial=rxllm.Response(text="a"))
    events: list[TokenEvent] = [START, TextDelta("a")]
    stream = cold(scheduler, events, error).pipe(retry_transient(), fallback_to(rx.never()))
    seen = play(scheduler, lambda: stream)
    assert seen.error is error
    assert not any(isinstance(event, StreamEnd) for event in seen.values)
