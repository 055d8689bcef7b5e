"""Streams in asyncio.

`events` is an async iterator over a stream that runs on another thread, `response` and `last` await its result. They
work with any number of loops in any number of threads.

A slow `async for` blocks the producing thread once `buffer` events wait. Cancelling the awaiting task, or leaving the
loop, disposes the stream immediately, which closes its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from reactivex import Observable

from .._core.awaitable import last as last
from ..errors import StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent
from ._async_wakeup import AsyncWakeup
from ._handoff import Handoff, Nothing

__all__ = ["EventStream", "events", "last", "response"]

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
            self._handoff.abandon()
