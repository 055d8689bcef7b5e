"""Streams on an asyncio loop: the scheduler, and all of `rxllm.aio`."""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial

from ..sinks.aio import EventStream, events, last, response
from ._loop_scheduler import LoopScheduler

__all__ = ["AsyncIOScheduler", "EventStream", "events", "last", "response"]


class AsyncIOScheduler(LoopScheduler):
    """Runs actions on an asyncio loop, from any thread; stops quietly when the loop is closed.

    Actions see the context variables of where the scheduler was made. The error of an action goes to the loop's
    exception handler.

    Args:
        loop: The loop; the running one by default.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._handle: asyncio.TimerHandle | None = None
        super().__init__(partial(self._loop.call_soon_threadsafe, context=self._context))

    def _arm(self, seconds: float | None) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None if seconds is None else self._loop.call_later(seconds, self._drain, context=self._context)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a scheduled action raised", "exception": error})
