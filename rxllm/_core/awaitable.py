"""Waiting for a stream that runs on another thread: with `await`, or blocking."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable

from .._runtime.thread_cache import dispose_on_worker
from ..errors import StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent
from .scheduling import waiting_for_stream

T = TypeVar("T")


class AwaitableObservable(Observable[T]):
    """``await`` returns its last item, or raises its error; cancelling the task disposes the subscription.

    reactivex's own ``await`` sets its future from the emitting thread, which does not wake the event loop. What `pipe`
    returns can be awaited too. A `for` loop over it raises `TypeError`, as reactivex's
    ``__getitem__`` would make the loop endless.
    """

    __iter__ = None

    def __await__(self) -> Generator[Any, None, T]:
        return last(self).__await__()

    if not TYPE_CHECKING:  # the inherited overloads describe it

        def pipe(self, *operators):
            piped = super().pipe(*operators)
            return AwaitableObservable(piped._subscribe) if type(piped) is Observable else piped


async def last(source: Observable[T]) -> T:
    """Await the last item of `source`.

    Args:
        source: Any Observable.

    Raises:
        LookupError: The stream completed without an item. An error of the stream is raised unchanged.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    items = deque[T](maxlen=1)

    def settle(error: Exception | None) -> None:
        if ended.done():  # the task was cancelled
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def end(error: Exception | None = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, error)

    subscription = source.subscribe(items.append, end, end)
    dispose = subscription.dispose
    try:
        await ended
    except GeneratorExit:  # the garbage collector has found it, on any thread
        dispose = partial(dispose_on_worker, dispose)
        raise
    finally:
        dispose()
    if not items:
        raise LookupError("the stream completed without an item")
    return items[0]


def wait_for_response(events: Observable[TokenEvent]) -> Response:
    """Return the response of a stream, or raise its error; blocks until it ends."""
    ended = threading.Event()
    responses: list[Response] = []
    errors: list[Exception] = []

    def on_next(event: TokenEvent) -> None:
        if isinstance(event, StreamEnd):
            responses.append(event.response)

    def on_error(error: Exception) -> None:
        errors.append(error)
        ended.set()

    with waiting_for_stream():
        subscription = events.subscribe(on_next, on_error, ended.set)
    try:
        ended.wait()
    finally:
        subscription.dispose()
    if errors:
        raise errors[0]
    if not responses:  # of a model of the user's
        raise StreamInterruptedError("the stream completed without StreamEnd")
    return responses[0]
