"""Streams on an asyncio loop: the scheduler, and all of `rxllm.aio`."""

from __future__ import annotations

import asyncio
import contextvars

from ..sinks.aio import EventStream, events, from_async, last, response
from ._pump import PumpScheduler

__all__ = ["AsyncIOScheduler", "EventStream", "events", "from_async", "last", "response"]


class AsyncIOScheduler(PumpScheduler):
    """Runs actions on `loop` (the running one, when none is given), from any thread; stops quietly when it is closed.

    Actions see the context variables of where the scheduler was made. What one raises goes to the loop's
    exception handler.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__()
        self._loop = loop or asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._timer: asyncio.TimerHandle | None = None

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._drain, context=self._context)
        except RuntimeError:  # the loop is closed
            self._close()

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._drain, context=self._context)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a scheduled action raised", "exception": error})
