"""Circuit breaker, rate limit and concurrency limit, on virtual time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.internal import DisposedException
from reactivex.scheduler import EventLoopScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

import rxllm
from rxllm._runtime.deadlines import watchdog
from rxllm._transport.rate_limit_headers import MINUTE, allowances_of, until_reset
from rxllm.events import Response, StreamStart, TextDelta, TokenEvent, Usage, UsageUpdate
from rxllm.operators.resilience.circuit_breaker import CircuitBreaker, CircuitState
from rxllm.operators.resilience.fallback import fallback_to
from rxllm.operators.resilience.limits import MaxConcurrent, RateLimit, _CountedStream
from rxllm.operators.resilience.rate_window import SlidingWindow
from rxllm.operators.resilience.wait_queue import LimitedStream
from rxllm.testing import ErrorReply, LLMServer, Reply

from .. import kit
from ..kit import Boom, Case, OperatorContract
from ..threads import Seen
from ..virtual import SUBSCRIBED, Tries, answer, cold, play

EVENTS = answer("a", "b")
OVERLOADED = rxllm.OverloadedError("busy")
LIMIT = 60.0

CASES = [
    Case("max_concurrent", lambda: MaxConcurrent(2), kit.answer("a", "b"), kit.answer("a", "b")),
    Case("rate_limit", lambda: RateLimit(requests_per_minute=9), kit.answer("a", "b"), kit.answer("a", "b")),
    Case("CircuitBreaker", CircuitBreaker, kit.answer("a", "b"), kit.answer("a", "b")),
]


def current_state(breaker: CircuitBreaker) -> CircuitState:
    """The state that a new subscriber sees first."""
    states: list[CircuitState] = []
    breaker.state.subscribe(states.append).dispose()
    return states[0]


Limit = Callable[[Observable[TokenEvent]], Observable[TokenEvent]]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


class Asker:
    """Streams behind one limit, each a cold one of its own, subscribed to in turn."""

    def __init__(self, scheduler: TestScheduler, limit: Limit) -> None:
        self.scheduler = scheduler
        self.limit = limit
        self.started: dict[str, float] = {}
        self.errors: dict[str, Exception] = {}
        self.completed: list[str] = []

    def ask(self, name: str, at: float, stream: Observable[TokenEvent]) -> rx.abc.DisposableBase:
        """Subscribe at `at` ticks after the begin; what is returned disposes."""
        subscription = rx.disposable.SerialDisposable()

        def subscribe(_: rx.abc.SchedulerBase, __: object = None) -> None:
            def begin(_: object) -> Observable[TokenEvent]:
                self.started[name] = self.scheduler.clock - SUBSCRIBED
                return stream

            subscription.disposable = (
                rx.defer(begin)
                .pipe(self.limit)
                .subscribe(
                    on_error=lambda error: self.errors.update({name: error}),
                    on_completed=lambda: self.completed.append(name),
                    scheduler=self.scheduler,
                )
            )

        self.scheduler.schedule_absolute(SUBSCRIBED + at, subscribe)
        return subscription

    def dispose(self, subscription: rx.abc.DisposableBase, at: float) -> None:
        """Dispose at `at` ticks after the begin."""
        self.scheduler.schedule_absolute(SUBSCRIBED + at, lambda _, __: subscription.dispose())


def spending(scheduler: TestScheduler, tokens: int | None, *, step: float = 1.0) -> Observable[TokenEvent]:
    """A stream of three events that took so many tokens."""
    usage = Usage() if tokens is None else Usage(tokens // 2, tokens - tokens // 2, tokens)
    return cold(scheduler, answer("a", usage=usage), step=step)


class TestMaxConcurrent:
    """So many at a time, in the order they came."""

    def test_the_others_wait_for_their_turn(self) -> None:
        """Each begins when one before has ended."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, MaxConcurrent(2))
        for n, name in enumerate("abcd"):
            asker.ask(name, n, cold(scheduler, EVENTS, step=10))  # 40 ticks each
        scheduler.start()
        assert asker.started == {"a": 0, "b": 1, "c": 40, "d": 41}
        assert asker.completed == ["a", "b", "c", "d"]

    @pytest.mark.parametrize("ending", ["error", "dispose"])
    def test_every_end_makes_room(self, ending: str) -> None:
        """Errors and disposal as well as completion."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, MaxConcurrent(1))
        first = asker.ask("a", 0, cold(scheduler, EVENTS, OVERLOADED if ending == "error" else None, step=10))
        asker.ask("b", 1, cold(scheduler, EVENTS))
        if ending == "dispose":
            asker.dispose(first, 40)
        scheduler.start()
        assert asker.started["b"] == 40

    def test_who_is_disposed_while_waiting_never_begins(self) -> None:
        """Its place is given up, and nobody behind it waits for it."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, MaxConcurrent(1))
        asker.ask("a", 0, cold(scheduler, EVENTS, step=10))
        second = asker.ask("b", 1, cold(scheduler, EVENTS))
        asker.ask("c", 2, cold(scheduler, EVENTS))
        asker.dispose(second, 5)
        scheduler.start()
        assert asker.started == {"a": 0, "c": 40}

    def test_the_place_is_free_when_the_end_is_told(self) -> None:
        """Who asks again from inside on_completed does not wait for itself."""
        limit = MaxConcurrent(1)
        seen: list[str] = []

        def again() -> None:
            rx.from_iterable(answer("second")).pipe(limit).subscribe(
                lambda _: None, on_completed=lambda: seen.append("2")
            )

        rx.from_iterable(answer("first")).pipe(limit).subscribe(on_completed=again)
        assert seen == ["2"]

    def test_a_subscriber_that_raises_gives_its_place_up(self) -> None:
        """Nobody waits for a stream that has no reader any more."""
        limit = MaxConcurrent(1)
        subject: rx.Subject[TokenEvent] = rx.Subject()

        def boom(_: TokenEvent) -> None:
            raise Boom

        subject.pipe(limit).subscribe(boom)
        waiting: list[TokenEvent] = []
        rx.from_iterable(EVENTS).pipe(limit).subscribe(waiting.append)
        with pytest.raises(Boom):
            subject.on_next(TextDelta("a"))
        assert waiting == EVENTS

    def test_thousands_may_wait(self) -> None:
        """Starting the next is no recursion."""
        limit = MaxConcurrent(1)
        gate: rx.Subject[TokenEvent] = rx.Subject()
        gate.pipe(limit).subscribe()
        ended: list[int] = []
        for n in range(5000):
            rx.from_iterable(EVENTS).pipe(limit).subscribe(on_completed=lambda n=n: ended.append(n))
        gate.on_completed()
        assert ended == list(range(5000))

    @pytest.mark.parametrize("moment", ["as the queue is read", "as it is asked whether it may start"])
    def test_a_finalizer_may_dispose_the_next_one(self, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the thread that is about to start it: the one behind it starts, and no place is lost."""

        class Queue(dict[LimitedStream[Any], None]):
            def __iter__(self) -> Iterator[LimitedStream[Any]]:
                found = super().__iter__()
                finalize()
                return found

        class Counted(_CountedStream):
            def wait(self) -> float | None:
                finalize()
                return super().wait()

        def finalize() -> None:
            if doomed and len(limit._waiting) == 2:
                doomed.pop().dispose()

        limit = MaxConcurrent(1)
        first, second, third = Subject[TokenEvent](), Subject[TokenEvent](), Subject[TokenEvent]()
        doomed: list[rx.abc.DisposableBase] = []
        if moment == "as the queue is read":
            monkeypatch.setattr(limit, "_waiting", Queue())
        else:
            monkeypatch.setattr(limit, "stream_class", Counted)
        first.pipe(limit).subscribe()
        later = second.pipe(limit).subscribe()
        seen: list[TokenEvent] = []
        third.pipe(limit).subscribe(seen.append)
        doomed.append(later)
        first.on_completed()
        third.on_next(TextDelta("c"))
        assert seen == [TextDelta("c")]
        assert not second.observers
        assert len(limit.running) == 1
        third.on_completed()
        assert (len(limit.running), len(limit._waiting)) == (0, 0)

    def test_on_real_threads(self) -> None:
        """Never more than so many requests are open, and all are answered."""
        with LLMServer(default=Reply(pieces=["a"] * 5, delay=0.002)) as server:
            model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.base_url())
            limit, lock = MaxConcurrent(3), threading.Lock()
            now, most, left = 0, 0, threading.Semaphore(0)

            def count(by: int) -> None:
                nonlocal now, most
                with lock:
                    now += by
                    most = max(most, now)

            def counted(_: object) -> Observable[TokenEvent]:
                count(1)
                return model.stream("Hi").pipe(rx.operators.do_action(on_completed=lambda: count(-1)))

            for _ in range(20):
                rx.defer(counted).pipe(limit).subscribe(on_completed=left.release)
            assert all(left.acquire(timeout=LIMIT) for _ in range(20))
        assert most <= 3

    def test_a_stream_that_runs_inside_subscribe_keeps_no_other_thread_waiting(self) -> None:
        """Two of them run at a time, as the limit says."""
        limit, both = MaxConcurrent(2), threading.Barrier(2)

        def run(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None) -> abc.DisposableBase:
            both.wait(LIMIT)
            observer.on_completed()
            return Disposable()

        seen = [Seen(), Seen()]
        threads = [threading.Thread(target=each.subscribe, args=(rx.create(run).pipe(limit),)) for each in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert [True, True] == [each.completed for each in seen]

    def test_takes_one_or_more(self) -> None:
        """Nobody would ever begin."""
        with pytest.raises(rxllm.ConfigurationError):
            MaxConcurrent(0)


class TestRateLimit:
    """Requests and tokens a minute, waiting rather than failing."""

    def test_requests_in_any_minute(self) -> None:
        """The third waits until the first is a minute old, the fourth for the second."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(requests_per_minute=2))
        for name, at in zip("abcd", [0, 10, 20, 30], strict=True):
            asker.ask(name, at, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 10, "c": 60, "d": 70}

    def test_tokens_in_any_minute(self) -> None:
        """A stream counts as what those before it took, and as what it took itself once that is known."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100))
        for name, at in zip("abcd", [0, 5, 10, 15], strict=True):
            asker.ask(name, at, spending(scheduler, 40))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 5, "c": 60, "d": 65}

    def test_what_is_under_way_counts_as_expected(self) -> None:
        """Not everybody starts at once because nobody has ended yet."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=50))
        for name in "abc":
            asker.ask(name, 0, spending(scheduler, 10, step=4))  # 12 ticks each
        scheduler.start()
        assert asker.started == {"a": 0, "b": 0, "c": 12}

    def test_a_stream_larger_than_the_limit_goes_alone(self) -> None:
        """It would wait for ever otherwise; the next waits for it."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=1000))
        asker.ask("a", 0, spending(scheduler, 900))
        asker.ask("b", 10, spending(scheduler, 900))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 60}

    def test_what_nobody_counted_stands_as_expected(self) -> None:
        """A stream without usage is not free."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=60))
        asker.ask("a", 0, spending(scheduler, None))
        asker.ask("b", 10, spending(scheduler, None))
        scheduler.start()
        assert asker.started["b"] == 60

    def test_what_was_refused_took_no_tokens(self) -> None:
        """The tokens are there for the next; the request counts."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=100))
        asker.ask("a", 0, cold(scheduler, [], rxllm.BadRequestError("400")))
        asker.ask("b", 10, spending(scheduler, 10))
        scheduler.start()
        assert asker.started["b"] == 10

    def test_a_cut_stream_took_what_its_partial_says(self) -> None:
        """The estimate or the vendor's word, whichever there is."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=10))
        error = rxllm.StreamInterruptedError("cut", partial=Response(usage=Usage(60, 40, 100, estimated=True)))
        asker.ask("a", 0, cold(scheduler, [TextDelta("a")], error))
        asker.ask("b", 10, spending(scheduler, 10))
        scheduler.start()
        assert asker.started["b"] == 60

    def test_a_disposed_stream_took_what_was_said_last(self) -> None:
        """UsageUpdate is the vendor's word so far."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(tokens_per_minute=100, expected_tokens=10))
        first = asker.ask("a", 0, cold(scheduler, [UsageUpdate(Usage(95, 5)), TextDelta("a")], step=2))
        asker.dispose(first, 3)
        asker.ask("b", 10, spending(scheduler, 10))
        scheduler.start()
        assert asker.started["b"] == 63 - 3  # at "a"'s start its 10, the other 90 from its end on: 10 fit

    def test_first_come_first_served(self) -> None:
        """Whoever waits keeps the place."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(requests_per_minute=1))
        for n, name in enumerate("abcde"):
            asker.ask(name, n, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 60, "c": 120, "d": 180, "e": 240}

    def test_who_is_disposed_while_waiting_takes_nothing(self) -> None:
        """The next would have that turn."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit(requests_per_minute=1))
        asker.ask("a", 0, cold(scheduler, EVENTS))
        second, third = asker.ask("b", 1, cold(scheduler, EVENTS)), asker.ask("c", 2, cold(scheduler, EVENTS))
        asker.dispose(second, 30)
        asker.dispose(third, 40)
        scheduler.start()
        assert asker.started == {"a": 0}

    def test_a_stream_whose_wait_cannot_be_scheduled_fails(self) -> None:
        """With the scheduler's error; the others go on, and it keeps no place in the queue."""
        scheduler = EventLoopScheduler()
        scheduler.dispose()
        limit = RateLimit(requests_per_minute=1, scheduler=scheduler)
        running = Subject[TokenEvent]()
        seen: list[TokenEvent] = []
        errors: list[Exception] = []
        running.pipe(limit).subscribe(seen.append, errors.append)
        rx.of(TextDelta("b")).pipe(limit).subscribe(seen.append, errors.append)
        assert [type(error) for error in errors] == [DisposedException]
        running.on_next(TextDelta("a"))
        assert seen == [TextDelta("a")]
        assert not limit._waiting

    def test_with_nobody_waiting_no_timer_is_left(self) -> None:
        """Neither a thread for each nor what it would call."""
        limit = RateLimit(requests_per_minute=1)
        before, watched = set(threading.enumerate()), set(watchdog._watched)
        rx.from_iterable(EVENTS).pipe(limit).subscribe()
        waiting = [rx.from_iterable(EVENTS).pipe(limit).subscribe() for _ in range(3)]
        assert {thread.name for thread in set(threading.enumerate()) - before} <= {"rxllm-watchdog"}
        assert len(watchdog._watched - watched) == 1
        for subscription in waiting:
            subscription.dispose()
        assert watchdog._watched <= watched

    def test_a_retry_after_keeps_everybody_waiting(self) -> None:
        """What one stream was told holds for all."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit())
        asker.ask("a", 0, cold(scheduler, [], rxllm.RateLimitError("429", retry_after=30.0)))
        asker.ask("b", 5, cold(scheduler, EVENTS))
        asker.ask("c", 10, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 31, "c": 31}

    def test_a_hostile_retry_after_is_bounded(self) -> None:
        """An hour, not for ever."""
        scheduler = TestScheduler()
        asker = Asker(scheduler, RateLimit())
        asker.ask("a", 0, cold(scheduler, [], rxllm.RateLimitError("429", retry_after=1e12)))
        asker.ask("b", 5, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started["b"] == 3601

    def test_headers_say_what_is_left(self) -> None:
        """One request, and then none until the vendor's bucket has grown by one."""
        scheduler = TestScheduler()
        limit = RateLimit()
        headers = {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "59s",
        }
        limit.apply_headers(headers, now=SUBSCRIBED)
        asker = Asker(scheduler, limit)
        for name in "abc":
            asker.ask(name, 0, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started == {"a": 0, "b": 1, "c": 2}

    def test_headers_without_a_limit_close_until_the_reset(self) -> None:
        """Nothing is known of what happens in between."""
        scheduler = TestScheduler()
        limit = RateLimit()
        limit.apply_headers({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, now=SUBSCRIBED)
        asker = Asker(scheduler, limit)
        asker.ask("a", 0, cold(scheduler, EVENTS))
        scheduler.start()
        assert asker.started == {"a": 360}

    @pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute"])
    def test_takes_more_than_nothing(self, name: str) -> None:
        """Nobody would ever begin."""
        with pytest.raises(rxllm.ConfigurationError, match=name):
            RateLimit(**{name: 0})

    def test_a_model_tells_its_headers(self) -> None:
        """Those of an answer and those of an error, by way of the transport; nobody else's."""
        told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
        refusal = ErrorReply(429, "slow down", headers={"retry-after": "1800"})
        for first in (Reply("Hello", headers=told), refusal):
            with LLMServer(first) as server:
                model = rxllm.create_streaming_model(
                    "openai", model="m", api_key="k", base_url=server.base_url(), max_retries=0
                )
                limit, other = RateLimit(), RateLimit()
                for operator in (limit, other):
                    ended = threading.Event()
                    model.stream("Hi").pipe(operator).subscribe(
                        on_error=lambda _, ended=ended: ended.set(), on_completed=ended.set
                    )
                    assert ended.wait(LIMIT)
                waiting = model.stream("Hi").pipe(limit).subscribe()
                waiting.dispose()
                assert len(server.requests) == 2
                assert limit.wait(time.monotonic()) > 1000
                assert other.wait(time.monotonic()) == 0

    def test_limits_around_limits_all_hear(self) -> None:
        """One for the key, one for the program."""
        told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
        with LLMServer(Reply("Hello", headers=told)) as server:
            model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.base_url())
            inner, outer, ended = RateLimit(), RateLimit(), threading.Event()
            model.stream("Hi").pipe(inner, outer).subscribe(on_completed=ended.set)
            assert ended.wait(LIMIT)
        assert inner.wait(time.monotonic()) > 1000
        assert outer.wait(time.monotonic()) > 1000


class TestWindow:
    """The sliding minute."""

    @given(st.lists(st.tuples(st.floats(0, 50), st.integers(1, 40)), max_size=40), st.integers(1, 100))
    def test_no_minute_holds_more_than_the_limit(self, asked: list[tuple[float, int]], limit: int) -> None:
        """Whatever is asked for and when, waiting as told keeps every sixty seconds within the limit."""
        window, now = SlidingWindow(limit), 0.0
        taken: list[tuple[float, int]] = []
        for pause, amount in asked:
            now += pause
            now += window.wait(now, amount)
            window.take(now, amount)
            taken.append((now, amount))
        for begin, _ in taken:
            amounts = [amount for time, amount in taken if begin <= time < begin + MINUTE - 1e-3]
            assert sum(amounts) <= limit or len(amounts) == 1 or max(amounts) > limit

    def test_a_clock_set_back_parks_nobody(self) -> None:
        """What lies in the future counts from now."""
        window = SlidingWindow(1)
        window.take(10_000.0, 1)
        assert window.wait(0.0, 1) == MINUTE


class TestHeaders:
    """The vendors' ways of saying what is left."""

    @pytest.mark.parametrize(
        ("reset", "seconds"),
        [
            ("6m0s", 360.0),
            ("1s", 1.0),
            ("20ms", 0.02),
            ("7.66s", 7.66),
            ("1h2m3s", 3600.0),
            ("2m59.56s", 179.56),
            ("12.5", 12.5),
            ("1700000030", 30.0),
            ("1700000030000", 30.0),
            ("2023-11-14T22:13:50Z", 30.0),
            ("2023-11-14T23:13:50+01:00", 30.0),
            ("2023-11-14T22:13:50", 30.0),
            ("2000-01-01T00:00:00Z", 0.0),
            ("9999999", 3600.0),
            ("soon", 60.0),
            ("", 60.0),
        ],
    )
    def test_resets_of_every_form(self, reset: str, seconds: float) -> None:
        """Durations, seconds and moments; an hour at most, a minute where it is Greek to us."""
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
        allowance = allowances_of(headers, now=1_700_000_000.0)["requests"]
        assert seconds == pytest.approx(allowance.reset)

    def test_every_family_of_names(self) -> None:
        """OpenAI's, Anthropic's, Cerebras's, and the plain one."""
        headers = {
            "x-ratelimit-limit-tokens": "100",
            "x-ratelimit-remaining-tokens": "50",
            "anthropic-ratelimit-input-tokens-remaining": "7",
            "anthropic-ratelimit-requests-remaining": "8",
            "x-ratelimit-remaining-requests-day": "9",
            "x-ratelimit-remaining": "10",
            "x-ratelimit-remaining-images": "0",
            "x-ratelimit-remaining-hour": "nonsense",
            "content-type": "text/event-stream",
        }
        allowed = allowances_of(headers, now=0)
        assert {what: (each.kind, each.left, each.limit) for what, each in allowed.items()} == {
            "tokens": ("tokens", 50, 100),
            "input-tokens": ("tokens", 7, None),
            "requests": ("requests", 10, None),
            "requests-day": ("requests", 9, None),
        }


class TestCircuitBreaker:
    """Closed, open, half open, closed again."""

    def states(self, breaker: CircuitBreaker) -> list[CircuitState]:
        """What `state` tells from now on."""
        states: list[CircuitState] = []
        breaker.state.subscribe(states.append)
        return states

    def fail(self, asker: Asker, *times: float, error: Exception = OVERLOADED) -> None:
        """Streams that fail in no time."""
        for at in times:
            asker.ask(f"failure at {at}", at, cold(asker.scheduler, [], error, step=0.5))

    def test_failures_in_a_row_open_it(self) -> None:
        """Then nobody is asked, and everybody is told at once, and when it will be worth another try."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(3, cooldown=60)
        states, asker = self.states(breaker), Asker(scheduler, breaker)
        self.fail(asker, 0, 1, 2)
        asker.ask("refused", 12.5, cold(scheduler, EVENTS))
        scheduler.advance_to(SUBSCRIBED + 20)
        assert states == ["closed", "open"]
        assert "refused" not in asker.started
        error = asker.errors["refused"]
        assert isinstance(error, rxllm.APIConnectionError)
        assert error.retry_after == 50.0
        assert "circuit breaker" in str(error)

    def test_a_success_begins_the_count_again(self) -> None:
        """Only failures in a row count."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(2)
        asker = Asker(scheduler, breaker)
        self.fail(asker, 0, 20)
        asker.ask("success", 10, cold(scheduler, EVENTS))
        scheduler.start()
        assert current_state(breaker) == "closed"

    @pytest.mark.parametrize("error", [rxllm.BadRequestError("400"), rxllm.ConfigurationError("no"), ValueError()])
    def test_the_callers_own_faults_do_not_count(self, error: Exception) -> None:
        """A provider is not down because a request was wrong."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1)
        self.fail(Asker(scheduler, breaker), 0, 1, 2, error=error)
        scheduler.start()
        assert current_state(breaker) == "closed"

    def test_half_open_after_the_cooldown_and_closed_after_successes(self) -> None:
        """The change is told when it happens, not when somebody asks."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, success_threshold=2, cooldown=60)
        states, asker = self.states(breaker), Asker(scheduler, breaker)
        self.fail(asker, 0)
        scheduler.advance_to(SUBSCRIBED + 60.6)
        assert states == ["closed", "open", "half_open"]
        asker.ask("b", 70, cold(scheduler, EVENTS))
        asker.ask("c", 80, cold(scheduler, EVENTS))
        scheduler.start()
        assert states == ["closed", "open", "half_open", "closed"]
        assert asker.completed == ["b", "c"]

    def test_a_stream_may_be_refused_while_a_trial_closes_the_breaker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On another thread: the error says what was true when it was refused."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, success_threshold=1, cooldown=60, scheduler=scheduler)
        rx.throw(OVERLOADED).pipe(breaker).subscribe(on_error=lambda _: None)
        scheduler.advance_by(61)
        trial = Subject[TokenEvent]()
        trial.pipe(breaker).subscribe()
        lock = breaker._lock

        class Lock:
            """Lets the trial end as soon as the breaker has decided."""

            def __enter__(self) -> None:
                lock.acquire()

            def __exit__(self, *_: object) -> None:
                monkeypatch.undo()
                lock.release()
                trial.on_completed()

        monkeypatch.setattr(breaker, "_half_open", lambda: None)
        monkeypatch.setattr(breaker, "_lock", Lock())
        errors: list[Exception] = []
        rx.just(TextDelta("a")).pipe(breaker).subscribe(on_error=errors.append)
        assert current_state(breaker) == "closed"
        assert [type(error) for error in errors] == [rxllm.APIConnectionError]

    def test_states_come_in_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One thread opens it. Before that thread emits "open", another one half-opens it."""
        breaker = CircuitBreaker(1)
        states, on_next = self.states(breaker), breaker._states.on_next

        def held_up(state: CircuitState) -> None:
            if state == "open":
                other = threading.Thread(target=breaker._half_open)
                other.start()
                other.join(LIMIT)
            on_next(state)

        monkeypatch.setattr(breaker._states, "on_next", held_up)
        rx.throw(OVERLOADED).pipe(breaker).subscribe(on_error=lambda _: None)
        assert states == ["closed", "open", "half_open"]
        assert current_state(breaker) == "half_open"

    def test_a_failure_on_trial_opens_it_again(self) -> None:
        """For a whole cooldown."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, cooldown=60)
        states, asker = self.states(breaker), Asker(scheduler, breaker)
        self.fail(asker, 0, 70)
        scheduler.advance_to(SUBSCRIBED + 130)
        assert states == ["closed", "open", "half_open", "open"]
        scheduler.start()
        assert states[-1] == "half_open"

    def test_few_are_on_trial_at_a_time(self) -> None:
        """The others are refused until those have ended."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, success_threshold=2, cooldown=60)
        asker = Asker(scheduler, breaker)
        self.fail(asker, 0)
        for n, name in enumerate("bcde"):
            asker.ask(name, 70 + n, cold(scheduler, EVENTS, step=10))
        scheduler.start()
        assert list(asker.started) == ["failure at 0", "b", "c"]
        assert set(asker.errors) == {"failure at 0", "d", "e"}
        assert current_state(breaker) == "closed"

    def test_a_trial_that_is_disposed_makes_room_for_another(self) -> None:
        """Before content it proves nothing; after content the provider has answered."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, success_threshold=1, cooldown=60)
        states, asker = self.states(breaker), Asker(scheduler, breaker)
        self.fail(asker, 0)
        silent = asker.ask("silent", 70, cold(scheduler, [StreamStart(), *EVENTS], step=10))
        asker.dispose(silent, 85)
        scheduler.advance_to(SUBSCRIBED + 90)
        assert states[-1] == "half_open"
        speaking = asker.ask("speaking", 100, cold(scheduler, EVENTS, step=10))
        asker.dispose(speaking, 125)
        scheduler.start()
        assert states[-1] == "closed"

    def test_a_subscriber_that_raises_is_no_failure_of_the_provider(self) -> None:
        """And leaves no trial behind that never ends."""
        breaker = CircuitBreaker(1, success_threshold=1)
        subject: rx.Subject[TokenEvent] = rx.Subject()

        def boom(_: TokenEvent) -> None:
            raise Boom

        subject.pipe(breaker).subscribe(boom)
        with pytest.raises(Boom):
            subject.on_next(TextDelta("a"))
        assert current_state(breaker) == "closed"

    def test_shared_by_all_streams_of_a_provider(self) -> None:
        """One breaker in many pipes; a fresh one has the settings and not the state."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(2, cooldown=60)
        other = breaker.fresh()
        first, second = Asker(scheduler, breaker), Asker(scheduler, breaker)
        self.fail(first, 0)
        self.fail(second, 1)
        scheduler.advance_to(SUBSCRIBED + 5)
        assert (current_state(breaker), current_state(other)) == ("open", "closed")
        for at in (10, 11):
            self.fail(Asker(scheduler, other), at)
        scheduler.advance_to(SUBSCRIBED + 20)
        assert current_state(other) == "open"

    def test_an_open_circuit_goes_to_the_fallback_at_once(self) -> None:
        """Nobody waits for the first to fail once more."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, cooldown=1000)
        first = Tries(scheduler, cold(scheduler, [], OVERLOADED, step=50))
        other = cold(scheduler, answer("other"))
        pipeline = first.stream.pipe(breaker, fallback_to(other))
        pipeline.subscribe(scheduler=scheduler)
        scheduler.advance_to(150)
        seen = play(scheduler, lambda: pipeline)
        assert seen.text == "other"
        assert len(first.times) == 1
        assert seen.times[-1] < 50

    def test_a_late_success_does_not_close_it(self) -> None:
        """A stream that began before says nothing of now."""
        scheduler = TestScheduler()
        breaker = CircuitBreaker(1, cooldown=1000)
        asker = Asker(scheduler, breaker)
        asker.ask("early", 0, cold(scheduler, EVENTS, step=10))
        self.fail(asker, 5)
        scheduler.advance_to(SUBSCRIBED + 100)
        assert asker.completed == ["early"]
        assert current_state(breaker) == "open"

    @pytest.mark.parametrize("name", ["failure_threshold", "success_threshold"])
    def test_takes_one_or_more(self, name: str) -> None:
        """It would be open, or half open, for ever."""
        with pytest.raises(rxllm.ConfigurationError, match=name):
            CircuitBreaker(**{name: 0})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-remaining-req-minute": "7"}, 60),
        ({"x-ratelimit-remaining-req-second": "0", "x-ratelimit-limit-req-second": "1"}, 1),
        ({"ratelimitbysize-limit": "500000", "ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "28"}, 28),
        ({"x-ratelimitbysize-remaining-minute": "0", "x-ratelimitbysize-remaining-month": "9"}, 60),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "50"}, 50),
        ({"ratelimit": "limit=100, remaining=0, reset=50", "ratelimit-policy": "100;w=60"}, 50),
        ({"ratelimit": '"default";r=0;t=30', "ratelimit-policy": '"default";q=100;w=60'}, 30),
        ({"ratelimit": '"burst";r=5;t=3, "daily";r=0;t=3500', "ratelimit-policy": '"daily";q=9;w=86400'}, 3500),
        ({"ratelimit": "nonsense"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
    ],
)
def test_how_vendors_and_drafts_say_that_nothing_is_left(headers: dict[str, str], seconds: float | None) -> None:
    """Mistral's names, and the RateLimit fields of the IETF drafts; a period in the name stands in for a reset."""
    assert seconds == until_reset(headers, now=0)


def test_the_limits_of_a_draft_have_their_quota() -> None:
    """From the policy, by the name."""
    headers = {"ratelimit": '"a";r=5;t=3', "ratelimit-policy": '"a";q=100;w=60'}
    assert {"a": ("requests", 5, 100, 3)} == allowances_of(headers, now=0)
