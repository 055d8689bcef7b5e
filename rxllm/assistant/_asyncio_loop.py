"""The event loop of an assistant's async tools.

asyncio objects (locks, queues, HTTP clients) belong to one loop, so all async tools of an assistant share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import Awaitable
from concurrent.futures import Future
from functools import partial

from reactivex import abc
from reactivex.disposable import SerialDisposable

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
        context = contextvars.copy_context()
        with self._lock:
            loop = self._open()
            self._waiting += 1
            loop.call_soon_threadsafe(partial(self._start, loop, awaitable, context, handle, result))
            if not self._is_running:
                self._is_running = True
                workers.run("rxllm-asyncio", partial(self._run, loop))
        return result.result()

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._process != os.getpid():  # a forked process needs its own
            self._process, self._waiting, self._is_running = os.getpid(), 0, False
            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, _close, self._loop)
        return self._loop

    def _start(
        self,
        loop: asyncio.AbstractEventLoop,
        awaitable: Awaitable[object],
        context: contextvars.Context,
        handle: SerialDisposable,
        result: Future[object],
    ) -> None:
        """Create the task of an awaitable; the loop stops with the last one. Runs on the loop."""

        def done(task: asyncio.Task[None]) -> None:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    loop.stop()
            if task.cancelled():  # before it began
                result.set_exception(asyncio.CancelledError("cancelled"))

        task = loop.create_task(set_result(awaitable, result), context=context)
        task.add_done_callback(done)
        handle.disposable = CancelTask(loop, task)

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


class CancelTask(abc.DisposableBase):
    """Cancels a task of a loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        self._loop = loop
        self._task = task

    def dispose(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the task has ended
            self._loop.call_soon_threadsafe(self._task.cancel)


async def set_result(awaitable: Awaitable[object], result: Future[object]) -> None:
    """Await `awaitable`. Raise nothing: KeyboardInterrupt and SystemExit would end the loop."""
    try:
        value = await awaitable
    except BaseException as error:
        result.set_exception(error)
    else:
        result.set_result(value)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop of an assistant that is garbage, on any thread."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left and running_loop() is None:
        loop.run_until_complete(asyncio.wait(left, timeout=1))
    loop.close()
