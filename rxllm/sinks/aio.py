"""asyncio: from an Observable, and to one.

`events` is an async iterator over a stream that runs on another thread, `response` and `last` await its result, and
`from_async` converts an async generator to an Observable. They work with any number of loops in any number of threads.

Backpressure works in both directions: a slow `async for` blocks the producing thread once `buffer` events wait, and
the next item of an async generator is requested when on_next has returned. Cancelling the awaiting task, or leaving the
loop, disposes the stream immediately, which closes its connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from typing import Generic, TypeVar

from reactivex import Observable, abc

from .._core.awaitable import last as last
from ..errors import StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent
from ._async_wakeup import AsyncWakeup, running_loop
from ._handoff import Handoff, Nothing

__all__ = ["EventStream", "events", "from_async", "last", "response"]

T = TypeVar("T")

_BURST = 128
"""Items returned in a row before the loop's other tasks run."""


def events(source: Observable[T], *, buffer: int = 256) -> EventStream[T]:
    """Iterate over the items of `source`: ``async for event in rxllm.aio.events(model.stream("Hi"))``.

    The first step makes the request; the stream's error is raised where it is awaited.

    Args:
        source: Any Observable.
        buffer: Items that may wait for the loop; a full buffer blocks the producing thread.

    Returns:
        An async iterator that can be used once.
    """
    return EventStream(source, buffer)


async def response(source: Observable[TokenEvent]) -> Response:
    """Await the complete answer.

    Args:
        source: A stream of events.

    Raises:
        LLMError: The error that the stream ended with.
    """
    event = await last(source)
    if isinstance(event, StreamEnd):
        return event.response
    raise StreamInterruptedError("the stream completed without StreamEnd")


class EventStream(AsyncIterator[T]):
    """The async iterator that `events` returns. It disposes its stream when it is left, deleted or cancelled.

    As a context manager (``async with events(...) as stream``) it disposes the stream at the end of the block.

    Args:
        source: Any Observable.
        buffer: Items that may wait for the loop; a full buffer blocks the producing thread.
    """

    _started = False

    def __init__(self, source: Observable[T], buffer: int = 256) -> None:
        self._source = source
        self._wakeup = AsyncWakeup()
        # The producer refers to the wake-up and the handoff, never to this object, so deleting it disposes the stream.
        self._handoff: Handoff[T] = Handoff(buffer, self._wakeup.set, self._wakeup.is_alive)
        self._in_a_row = 0
        self._is_awaited = False

    def __aiter__(self) -> EventStream[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item; the first call subscribes, and whatever it raises disposes the stream."""
        if self._is_awaited:
            raise RuntimeError("two tasks are iterating over one stream")
        try:
            if not self._started:
                self._started = True
                self._wakeup.attach(asyncio.get_running_loop())
                self._handoff.start(self._source)
            self._in_a_row += 1
            if self._in_a_row >= _BURST:
                self._in_a_row = 0
                await asyncio.sleep(0)
            while (item := self._handoff.take()) is Nothing.YET:
                self._in_a_row = 0
                self._is_awaited = True
                if self._handoff.sleep():
                    await self._wakeup.wait()
                self._is_awaited = False
        except BaseException:
            self._is_awaited = False
            self._handoff.close()
            raise
        if item is Nothing.MORE:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Dispose the stream."""
        self._handoff.close()

    async def __aenter__(self) -> EventStream[T]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._handoff.close()

    def __del__(self) -> None:
        if self._started:
            self._handoff.close()


def from_async(make: Callable[[], AsyncIterable[T]], *, loop: asyncio.AbstractEventLoop | None = None) -> Observable[T]:
    """Return the Observable of the items that an async iterator yields.

    Items are emitted on the loop's thread. Disposing, from any thread, cancels the task.

    Args:
        make: Returns the async iterator; called for each subscription.
        loop: Runs the iterator as a task; default: the loop that runs where subscribe() is called, else a new loop
            on a daemon thread.
    """

    def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        """Run the iterator on the given loop, on the one that runs here, or on a new thread."""
        feed = _Feed(make, observer)
        home = loop or running_loop()
        if home is None:
            context = contextvars.copy_context()
            threading.Thread(
                target=context.run, args=(asyncio.run, feed.run()), name="rxllm-from-async", daemon=True
            ).start()
        elif not _call_soon(home, feed.start):
            raise RuntimeError("the event loop given to from_async is closed")
        return feed

    return Observable(subscribe)


class _Feed(abc.DisposableBase, Generic[T]):
    """One async iterator, and the observer of its items."""

    def __init__(self, make: Callable[[], AsyncIterable[T]], observer: abc.ObserverBase[T]) -> None:
        self._make = make
        self._observer = observer
        self._disposed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def dispose(self) -> None:
        self._disposed = True
        if self._loop is not None:
            _call_soon(self._loop, self._cancel)

    def start(self) -> None:
        if not self._disposed:
            self._task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """Deliver all items and the end. Runs as a task of the loop."""
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        try:
            end = await self._deliver()
            if not self._disposed:
                end()
        except asyncio.CancelledError:
            if self._disposed:
                return
            self._observer.on_error(StreamInterruptedError("the task that produced the stream was cancelled"))
            raise
        except Exception as error:  # raised by the subscriber
            self._loop.call_exception_handler({"message": "a subscriber raised", "exception": error})

    async def _deliver(self) -> Callable[[], None]:
        """Deliver all items. Return the call that ends the stream."""
        try:
            items = aiter(self._make())
        except Exception as error:
            return partial(self._observer.on_error, error)
        try:
            while not self._disposed:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                except Exception as error:
                    return partial(self._observer.on_error, error)
                self._observer.on_next(item)
            return self._observer.on_completed
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    """Schedule a call on the loop, from any thread. Return False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return True
