"""asyncio: out of an Observable, and into one."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest
import reactivex

import rxllm
from rxllm import aio
from rxllm.testing import ErrorReply, Gate, LLMServer, Reply

from .sinks.streams import LIMIT_SECONDS, Collecting, Produced, endless
from .ui.hosts import LOOPS


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[object]], object]:
    """Runs a coroutine on each kind of loop in turn, within the limit."""

    def run(main: Awaitable[object]) -> object:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(_limited(main))

    return run


async def _limited(main: Awaitable[object]) -> object:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await main


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


def asking(server: LLMServer) -> reactivex.Observable[rxllm.TokenEvent]:
    """A stream from the server."""
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url(), max_retries=0)
    return model.stream("Hi")


async def left(server: LLMServer, request: int = 1) -> bool:
    """Whether the client closes the connection of this request."""
    return await asyncio.to_thread(server.wait_for_request(request).closed.wait, LIMIT_SECONDS)


Run = Callable[[Awaitable[object]], object]


class TestEvents:
    """An async iterator over a stream that lives on another thread."""

    def test_all_events_of_an_answer(self, run: Run, server: LLMServer) -> None:
        """In order, to the end."""

        async def main() -> list[str]:
            events = aio.events(asking(server))
            return [event.text async for event in events if isinstance(event, rxllm.TextDelta)]

        server.enqueue(Reply("All is well."))
        assert run(main()) == ["All", " is", " well."]

    @pytest.mark.slow
    def test_nothing_is_lost_at_full_speed(self, run: Run) -> None:
        """However small the buffer."""

        async def main(buffer: int) -> list[int]:
            return [item async for item in aio.events(Produced(range(20_000)).observable, buffer=buffer)]

        for buffer in (1, 7, 256):
            assert run(main(buffer)) == list(range(20_000))

    def test_nothing_is_asked_before_the_first_item_is(self, run: Run, server: LLMServer) -> None:
        """And nothing at all where none is."""

        async def main() -> None:
            await aio.events(asking(server)).aclose()

        run(main())
        assert server.requests == []

    def test_a_slow_consumer_slows_the_stream(self, run: Run) -> None:
        """The producing thread is at most a buffer ahead."""
        produced = Produced(endless())

        async def main() -> None:
            async for item in aio.events(produced.observable, buffer=16):
                assert produced.emitted <= item + 1 + 16 + 1
                if item == 200:
                    break

        run(main())
        assert produced.ended.wait(LIMIT_SECONDS)

    def test_other_tasks_get_their_turn(self, run: Run) -> None:
        """Even while the stream always has something to give."""

        async def main() -> int:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            async for _ in aio.events(Produced(range(20_000)).observable):
                pass
            task.cancel()
            return turns

        assert run(main()) >= 20_000 // 256  # type: ignore[operator] # an int

    def test_the_error_is_raised_where_it_is_awaited(self, run: Run, server: LLMServer) -> None:
        """After what came before it, as the exception it is."""

        async def main() -> list[int]:
            stream = aio.events(Produced([1, 2], LookupError("gone")).observable)
            seen = [await anext(stream), await anext(stream)]
            with pytest.raises(LookupError, match="gone"):
                await anext(stream)
            return seen

        assert run(main()) == [1, 2]

    def test_it_stays_at_its_end(self, run: Run) -> None:
        """An exhausted or closed iterator gives nothing more, and does not wait."""

        async def main() -> list[list[int]]:
            exhausted, closed = aio.events(reactivex.of(1)), aio.events(Produced(endless()).observable)
            assert await anext(closed) == 0
            await closed.aclose()
            return [[item async for item in stream] for stream in (exhausted, exhausted, closed)]

        assert run(main()) == [[1], [], []]

    def test_two_tasks_cannot_wait_for_one_stream(self, run: Run) -> None:
        """That is said at once, to the second."""

        async def main() -> None:
            stream = aio.events(reactivex.never())
            first = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="two tasks"):
                await anext(stream)
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await first

        run(main())

    def test_items_pushed_by_the_loop_itself(self, run: Run) -> None:
        """They wait, without bound, as nobody else could make room."""

        async def main() -> list[int]:
            return [item async for item in aio.events(reactivex.of(*range(100)), buffer=2)]

        assert run(main()) == list(range(100))


class TestLeaving:
    """However a stream is left, its connection is closed at once. Each begins with one word and a stall."""

    @pytest.fixture(autouse=True)
    def _stalling(self, server: LLMServer) -> None:
        server.enqueue(*(Reply("one two three", gate=Gate(1)) for _ in range(2)))

    def test_cancelling_the_task_that_waits(self, run: Run, server: LLMServer) -> None:
        """While nothing comes."""

        async def main() -> bool:
            shown = asyncio.Event()

            async def show() -> None:
                async for event in aio.events(asking(server)):
                    if isinstance(event, rxllm.TextDelta):
                        shown.set()

            task = asyncio.create_task(show())
            await shown.wait()
            task.cancel()
            assert await left(server)
            return (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError

        assert run(main())

    def test_cancelling_the_task_that_works(self, run: Run, server: LLMServer) -> None:
        """While it awaits something else in the loop's body."""

        async def main() -> bool:
            shown = asyncio.Event()

            async def show() -> None:
                async for event in aio.events(asking(server)):
                    if isinstance(event, rxllm.TextDelta):
                        shown.set()
                        await asyncio.sleep(3600)

            task = asyncio.create_task(show())
            await shown.wait()
            task.cancel()
            return await left(server)

        assert run(main())

    def test_break(self, run: Run, server: LLMServer) -> None:
        """Without a word to the iterator, which is dropped."""

        async def main() -> bool:
            async for event in aio.events(asking(server)):
                if isinstance(event, rxllm.TextDelta):
                    break
            return await left(server)

        assert run(main())

    def test_the_end_of_a_block(self, run: Run, server: LLMServer) -> None:
        """As a context manager of its own, and with `aclosing`, whoever holds the iterator."""

        async def main() -> bool:
            async with aio.events(asking(server)) as stream:
                await anext(stream)
            async with aclosing(aio.events(asking(server))) as other:
                await anext(other)
            return await left(server) and await left(server, 2)

        assert run(main())

    def test_a_timeout(self, run: Run, server: LLMServer) -> None:
        """Cancels like anything else."""

        async def main() -> bool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await aio.response(asking(server))
            return await left(server)

        assert run(main())

    def test_a_producer_that_waits_for_room_is_let_go(self, run: Run) -> None:
        """No thread stays behind."""
        produced = Produced(endless())

        async def main() -> None:
            stream = aio.events(produced.observable, buffer=2)
            await anext(stream)
            await stream.aclose()

        run(main())
        assert produced.ended.wait(LIMIT_SECONDS)

    def test_a_loop_that_was_closed(self) -> None:
        """Its streams end when they next have something to say, without noise."""
        produced = Produced(endless())
        loop = asyncio.new_event_loop()
        stream = aio.events(produced.observable, buffer=4)
        loop.run_until_complete(anext(stream))
        loop.close()
        assert produced.ended.wait(LIMIT_SECONDS)


class TestOutcome:
    """Awaiting what comes of a stream."""

    def test_the_response(self, run: Run, server: LLMServer) -> None:
        """All of it."""
        server.enqueue(Reply("All is well."))
        response = run(aio.response(asking(server)))
        assert isinstance(response, rxllm.Response)
        assert response.text == "All is well."

    def test_the_error(self, run: Run, server: LLMServer) -> None:
        """As it is."""
        server.enqueue(ErrorReply(401))
        with pytest.raises(rxllm.AuthenticationError):
            run(aio.response(asking(server)))

    def test_a_stream_without_its_end(self, run: Run) -> None:
        """Never passes for an answer."""
        with pytest.raises(rxllm.StreamInterruptedError):
            run(aio.response(reactivex.of(rxllm.TextDelta("Hi"))))

    def test_the_last_item_of_anything(self, run: Run) -> None:
        """From another thread, the loop wakes for it."""
        assert run(aio.last(Produced(range(10)).observable)) == 9

    def test_nothing_at_all(self, run: Run) -> None:
        """Is an error of its own."""
        with pytest.raises(LookupError, match="without an item"):
            run(aio.last(reactivex.empty()))

    def test_many_at_once(self, run: Run) -> None:
        """One loop, a hundred streams."""

        async def main() -> list[int]:
            return await asyncio.gather(*(aio.last(Produced(range(n + 1)).observable) for n in range(100)))

        assert run(main()) == list(range(100))


def test_many_loops_in_many_threads() -> None:
    """Each gets its own streams, whole."""
    found: dict[int, list[int]] = {}
    kinds = list(LOOPS.values())

    async def main(number: int) -> list[int]:
        return [item async for item in aio.events(Produced(range(number, number + 3_000)).observable)]

    def work(number: int) -> None:
        with asyncio.Runner(loop_factory=kinds[number % len(kinds)]) as runner:
            found[number] = runner.run(main(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    assert found == {number: list(range(number, number + 3_000)) for number in range(8)}


def test_the_loop_is_woken_once_a_batch() -> None:
    """Not for each item of a flood."""

    class Counting(asyncio.SelectorEventLoop):
        wakeups = 0

        def call_soon_threadsafe(self, *args: object, **kwargs: object) -> asyncio.Handle:
            self.wakeups += 1
            return super().call_soon_threadsafe(*args, **kwargs)  # type: ignore[arg-type] # passed on as it came

    async def main() -> int:
        return len([item async for item in aio.events(Produced(range(50_000)).observable)])

    with asyncio.Runner(loop_factory=Counting) as runner:
        assert runner.run(main()) == 50_000
        loop = runner.get_loop()
        assert isinstance(loop, Counting)
        assert loop.wakeups < 5_000


def test_an_iterator_that_is_dropped_in_a_ring_is_closed_when_it_is_found() -> None:
    """By the garbage collector; there is no leak for good."""
    produced = Produced(endless())

    async def main() -> None:
        ring: list[object] = [stream := aio.events(produced.observable, buffer=2)]
        ring.append(ring)
        await anext(stream)

    asyncio.run(main())
    gc.collect()
    assert produced.ended.wait(LIMIT_SECONDS)


@pytest.mark.parametrize("awaits", ["the next item", "the last item"])
def test_the_producer_may_find_an_abandoned_task_inside_of_a_lock(awaits: str) -> None:
    """The garbage collector runs on any thread: this one does not wait for its own lock."""
    collecting = Collecting()
    stream = aio.events(collecting.observable)

    async def abandon() -> None:
        if awaits == "the next item":
            await anext(stream)
        ring: list[object] = [step := anext(stream) if awaits == "the next item" else aio.last(collecting.observable)]
        ring.append(ring)
        step.send(None)  # waits for an item

    gc.disable()
    try:
        asyncio.run(abandon())
        collecting.abandoned.set()
        assert collecting.collected.wait(LIMIT_SECONDS)
    finally:
        gc.enable()
    assert collecting.disposed.wait(LIMIT_SECONDS)


def test_asyncio_has_all_of_aio() -> None:
    """`rxllm.ui.asyncio` and `rxllm.aio` are two doors to one room."""
    from rxllm.ui import asyncio as ui_asyncio

    assert ui_asyncio.__all__ == aio.__all__
    assert sys.modules["asyncio"] is asyncio
