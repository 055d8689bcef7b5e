"""A loop that serves many streams is woken seldom, and at once after a silence."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
import reactivex
from reactivex import operators

from rxllm.events import TextDelta
from rxllm.sinks._async_wakeup import AsyncWakeup
from rxllm.web.loop_calls import LoopCalls
from rxllm.web.served_stream import ServedStream


class _Loop:
    """A loop with a clock that the test sets; it counts how often another thread woke it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wakes = 0
        self.ready: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, function: Callable[[], None]) -> None:
        self.wakes += 1
        self.ready.append(function)

    call_soon = call_soon_threadsafe

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, function))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.ready or (self.timers and self.timers[0][0] <= until):
            if self.ready:
                self.ready.pop(0)()
            else:
                self.now, function = self.timers.pop(0)
                function()
        self.now = until


@pytest.fixture
def loop() -> _Loop:
    return _Loop()


@pytest.fixture
def calls(loop: _Loop) -> LoopCalls:
    return LoopCalls(loop)  # type: ignore[arg-type]


def test_a_lone_call_is_made_at_once_and_leaves_no_timer(loop: _Loop, calls: LoopCalls) -> None:
    made: list[int] = []
    for number in range(10):
        calls.call(partial(made.append, number))
        loop.run(0.0)
        assert made[-1] == number
        assert not loop.timers
        loop.run(0.05)


def test_calls_that_come_fast_are_made_in_order_by_a_timer(loop: _Loop, calls: LoopCalls) -> None:
    made: list[int] = []
    for number in range(1000):
        calls.call(partial(made.append, number))
        loop.run(0.001)
    assert loop.wakes <= 2
    loop.run(0.01)
    assert made == list(range(1000))
    assert not loop.timers, "after a silence no timer is left"


def test_a_call_during_the_last_run_is_made_too(loop: _Loop, calls: LoopCalls) -> None:
    made: list[str] = []
    calls.call(lambda: calls.call(lambda: made.append("inner")))
    loop.run(0.0)
    assert made == ["inner"]


def test_no_call_of_many_threads_is_lost() -> None:
    made: list[int] = []

    async def run() -> None:
        calls = LoopCalls.of(asyncio.get_running_loop())
        assert LoopCalls.of(asyncio.get_running_loop()) is calls
        all_made = asyncio.Event()

        def make(number: int) -> None:
            made.append(number)
            if len(made) == 4000:
                all_made.set()

        def call_all() -> None:
            for number in range(1000):
                calls.call(partial(make, number))

        threads = [threading.Thread(target=call_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(all_made.wait(), 60)
        for thread in threads:
            thread.join()

    asyncio.run(run())
    assert len(made) == 4000


def test_a_closed_loop_is_reported() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    calls = LoopCalls(closed)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            calls.call(lambda: None)


@pytest.mark.parametrize("is_on_its_way", [True, False])
def test_a_stream_is_disposed_if_the_loop_of_its_reader_was_closed(is_on_its_way: bool) -> None:
    """Without an end of the reader's task, and with a wake-up that the loop has not made."""
    disposed = threading.Event()
    loop = asyncio.new_event_loop()
    wakeup = AsyncWakeup()
    wakeup.attach(loop, LoopCalls(loop).call)
    words = reactivex.interval(0.01).pipe(operators.map(lambda number: TextDelta(str(number))))
    stream = ServedStream(words.pipe(operators.finally_action(disposed.set)))
    stream.watch(wakeup.set)
    if is_on_its_way:
        wakeup.set()
    loop.close()
    stream.start()
    assert disposed.wait(60)
