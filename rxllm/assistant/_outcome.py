"""One road for values, awaitables and Observables: what a tool or `approve` gave, however it gives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeGuard

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable


def settle(
    outcome: object,
    on_value: Callable[[object], None],
    on_item: Callable[[object], None],
    on_error: Callable[[BaseException], None],
    handle: SerialDisposable,
) -> None:
    """Call `on_value` with what `outcome` comes to, or `on_error`.

    An Observable comes to its last item, and each goes to `on_item` too (of none: to None). An
    awaitable is run on this thread, or on its loop where one runs. `handle` cancels either.
    """
    if _is_observable(outcome):
        _Last(outcome, on_value, on_item, on_error).subscribe(handle)
    elif _is_awaitable(outcome):
        _Waiting(outcome, on_value, on_error).run(handle)
    else:
        on_value(outcome)


def _is_observable(value: object) -> TypeGuard[Observable[object]]:
    return isinstance(value, Observable)


def _is_awaitable(value: object) -> TypeGuard[Awaitable[object]]:
    return isinstance(value, Awaitable)


class _Last:
    """The last item of an Observable."""

    def __init__(
        self,
        source: Observable[object],
        on_value: Callable[[object], None],
        on_item: Callable[[object], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._source = source
        self._on_value = on_value
        self._on_item = on_item
        self._on_error = on_error
        self._last: object = None

    def subscribe(self, handle: SerialDisposable) -> None:
        # Its own place first: what follows from a value may already have taken the handle.
        place = SingleAssignmentDisposable()
        handle.disposable = place
        place.disposable = self._source.subscribe(self._on_next, self._on_error, self._on_completed)

    def _on_next(self, item: object) -> None:
        self._last = item
        self._on_item(item)

    def _on_completed(self) -> None:
        self._on_value(self._last)


class _Waiting:
    """An awaitable, as a task that can be cancelled from any thread."""

    def __init__(
        self,
        awaitable: Awaitable[object],
        on_value: Callable[[object], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._awaitable = awaitable
        self._on_value = on_value
        self._on_error = on_error

    def run(self, handle: SerialDisposable) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # SIGINT is the main thread's; a Runner would only touch it there.
            with asyncio.Runner() as runner:
                loop = runner.get_loop()
                task = self._task(loop, handle)
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    loop.run_until_complete(task)
            self._done(task)
        else:
            self._task(loop, handle).add_done_callback(self._done)

    def _task(self, loop: asyncio.AbstractEventLoop, handle: SerialDisposable) -> asyncio.Task[object]:
        task = loop.create_task(self._value())
        handle.disposable = _Cancel(loop, task)
        return task

    async def _value(self) -> object:
        return await self._awaitable

    def _done(self, task: asyncio.Task[object]) -> None:
        if task.cancelled():
            self._on_error(asyncio.CancelledError("cancelled"))
        elif (error := task.exception()) is not None:
            self._on_error(error)
        else:
            self._on_value(task.result())


class _Cancel(abc.DisposableBase):
    """Cancels a task, from whichever thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[object]) -> None:
        self._loop = loop
        self._task = task

    def dispose(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to cancel
            self._loop.call_soon_threadsafe(self._task.cancel)
