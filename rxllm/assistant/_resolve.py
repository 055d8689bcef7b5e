"""Wait for the value of what a tool or `approve` returns: a value, an awaitable or an Observable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from typing import TypeGuard, cast

from reactivex import Observable
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from ..sinks._async_wakeup import running_loop
from ._asyncio_loop import AsyncioLoop, CancelTask, set_result


def resolve(
    outcome: object,
    loop: AsyncioLoop,
    on_value: Callable[[object], None],
    on_item: Callable[[object], None],
    on_error: Callable[[BaseException], None],
    handle: SerialDisposable,
) -> None:
    """Call `on_value` with the value of `outcome`, or `on_error`. May also raise what `outcome` raises.

    The value of an Observable or an async iterator is its last item (None if it has none); each item goes to `on_item`.
    Awaitables and async iterators run on the event loop of this thread if one runs here, else on `loop` while this
    thread blocks. `handle` cancels all.
    """
    if isinstance(outcome, AsyncIterator):
        outcome = _last_item(cast("AsyncIterator[object]", outcome), on_item)
    if _is_observable(outcome):
        _subscribe(outcome, on_value, on_item, on_error, handle)
    elif not _is_awaitable(outcome):
        on_value(outcome)
    elif (running := running_loop()) is None:
        on_value(loop.wait_for(outcome, handle))
    else:
        _await_on(running, outcome, on_value, on_error, handle)


def _subscribe(
    source: Observable[object],
    on_value: Callable[[object], None],
    on_item: Callable[[object], None],
    on_error: Callable[[BaseException], None],
    handle: SerialDisposable,
) -> None:
    """Subscribe to an Observable; its last item, None if it has none, is the value."""
    last: list[object] = [None]

    def on_next(item: object) -> None:
        last[0] = item
        on_item(item)

    # Set before subscribing: what follows from the value may replace the handle's disposable.
    place = SingleAssignmentDisposable()
    handle.disposable = place
    place.disposable = source.subscribe(on_next, on_error, lambda: on_value(last[0]))


async def _last_item(items: AsyncIterator[object], on_item: Callable[[object], None]) -> object:
    last: object = None
    async for last in items:
        on_item(last)
    return last


def _await_on(
    loop: asyncio.AbstractEventLoop,
    awaitable: Awaitable[object],
    on_value: Callable[[object], None],
    on_error: Callable[[BaseException], None],
    handle: SerialDisposable,
) -> None:
    """Run an awaitable as a task of the loop of this thread, without blocking it."""
    result: Future[object] = Future()

    def done(_: asyncio.Task[None]) -> None:
        error = result.exception() if result.done() else asyncio.CancelledError("cancelled")
        if error is None:
            on_value(result.result())
        else:
            on_error(error)

    task = loop.create_task(set_result(awaitable, result))
    task.add_done_callback(done)
    handle.disposable = CancelTask(loop, task)


def _is_observable(value: object) -> TypeGuard[Observable[object]]:
    return isinstance(value, Observable)


def _is_awaitable(value: object) -> TypeGuard[Awaitable[object]]:
    return isinstance(value, Awaitable)
