"""Wait for the value of what a tool or `approve` returns: a value, an awaitable or an Observable.

asyncio objects (locks, queues, HTTP clients) belong to one loop, so all async tools of an assistant share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeGuard, cast

from reactivex import Observable
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable

from .._runtime.errors import report_exception
from .._runtime.thread_cache import workers
from ..sinks._async_wakeup import running_loop


class AsyncioLoop:
    """An event loop that runs on a worker thread while it has awaitables to wait for. Thread-safe.

    Between tools no thread runs; tasks that a tool left behind continue with the next tool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._waiting = 0
        self._is_running = False

    def wait_for(self, awaitable: Awaitable[object], handle: SerialDisposable) -> object:
        """Block until `awaitable` has ended; return its value or raise what it raises. `handle` cancels it."""
        result: Future[object] = Future()
        with self._lock:
            loop = self._open()
            self._waiting += 1
            loop.call_soon_threadsafe(start_task, loop, awaitable, handle, result, partial(self._ended, loop))
            if not self._is_running:
                workers.run("rxllm-asyncio", partial(self._run, loop))
                self._is_running = True  # not before: if there is no thread, the next call tries again
        return result.result()

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._process != os.getpid():  # a forked process needs its own
            self._process, self._waiting, self._is_running = os.getpid(), 0, False
            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, _close, self._loop)
        return self._loop

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the loop with its last task. Runs on the loop."""
        with self._lock:
            self._waiting -= 1
            if not self._waiting:
                loop.stop()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until no tool waits for it. Runs on a thread of its own."""
        while True:
            try:
                loop.run_forever()
            except BaseException:  # of a callback or a task that a tool left behind
                report_exception()
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return


def start_task(
    loop: asyncio.AbstractEventLoop,
    awaitable: Awaitable[object],
    handle: SerialDisposable,
    result: Future[object],
    on_end: Callable[[], None],
) -> None:
    """Run an awaitable as a task of `loop`, and then call `on_end`. Must be called on the loop. `handle` cancels it."""

    async def set_result() -> None:
        # Raises nothing: KeyboardInterrupt and SystemExit would end the loop.
        try:
            value = await awaitable
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    def done(_: asyncio.Task[None]) -> None:
        if not result.done():  # cancelled before it began
            result.set_exception(asyncio.CancelledError("cancelled"))
        on_end()

    def cancel() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the task has ended
            loop.call_soon_threadsafe(task.cancel)

    task = loop.create_task(set_result())
    task.add_done_callback(done)
    handle.disposable = Disposable(cancel)


def resolve(
    make: Callable[[], object],
    loop: AsyncioLoop,
    on_value: Callable[[object], None],
    on_item: Callable[[object], None],
    on_error: Callable[[BaseException], None],
    handle: SerialDisposable,
) -> None:
    """Call `make`, and `on_value` with the value of what it returns. What any of the two raises goes to `on_error`.

    The value of an Observable or an async iterator is its last item (None if it has none); each item goes to `on_item`.
    Awaitables and async iterators run on the event loop of this thread if one runs here, else on `loop` while this
    thread blocks. `handle` cancels all.
    """

    def take(value: Callable[[], object]) -> None:
        try:
            on_value(value())
        except BaseException as error:  # code of the user may raise CancelledError, SystemExit ...
            on_error(error)

    try:
        outcome = make()
        if isinstance(outcome, AsyncIterator):
            outcome = _last_item(cast("AsyncIterator[object]", outcome), on_item)
        if _is_observable(outcome):
            last: list[object] = [None]

            def on_next(item: object) -> None:
                last[0] = item
                on_item(item)

            # Set before subscribing: what follows from the value may replace the handle's disposable.
            place = SingleAssignmentDisposable()
            handle.disposable = place
            place.disposable = outcome.subscribe(on_next, on_error, lambda: take(last.pop))
        elif not _is_awaitable(outcome):
            take(lambda: outcome)
        elif (running := running_loop()) is None:
            take(partial(loop.wait_for, outcome, handle))
        else:
            result: Future[object] = Future()
            start_task(running, outcome, handle, result, lambda: take(result.result))
    except BaseException as error:
        on_error(error)


async def _last_item(items: AsyncIterator[object], on_item: Callable[[object], None]) -> object:
    last: object = None
    async for last in items:
        on_item(last)
    return last


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop of an assistant that is garbage, on any thread; at the end of the program it may still run."""
    if loop.is_running():
        return
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left and running_loop() is None:
        loop.run_until_complete(asyncio.wait(left, timeout=1))
    loop.close()


def _is_observable(value: object) -> TypeGuard[Observable[object]]:
    return isinstance(value, Observable)


def _is_awaitable(value: object) -> TypeGuard[Awaitable[object]]:
    return isinstance(value, Awaitable)
