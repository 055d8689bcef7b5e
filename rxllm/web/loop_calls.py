"""Calls from other threads to an asyncio loop, so that a loop which serves many streams is not woken for each token."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from weakref import WeakValueDictionary

from ..sinks._async_wakeup import AsyncWakeup

_BATCH_SECONDS = 0.005
"""How long calls are collected while they come fast: the delay that a reader may see."""

_FAST_SECONDS = 0.01
"""Calls that come faster than one in this time are collected."""


class LoopCalls:
    """Calls functions on `loop`, from any thread: at once if they are rare, else all that came in 5 ms together.

    Waking a loop costs a system call in each of two threads, and two switches of the interpreter lock: more than most
    of the functions. While calls come fast, a timer of the loop runs them, so that no other thread needs to wake it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: deque[Callable[[], None]] = deque()
        self._scheduled = threading.Lock()
        """Held, by no thread in particular, while the loop is going to call `_run`."""
        self._last_run = 0.0
        """When the loop called a function last, in its own time."""

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> LoopCalls:
        """Return the calls of `loop`, the same object as long as it is in use. Must be called on the loop."""
        return _all.setdefault(loop, cls(loop))

    def call(self, function: Callable[[], None]) -> None:
        """Call `function`, which must not block or raise, on the loop soon. Raises `RuntimeError` if it is closed."""
        self._due.append(function)
        if self._scheduled.acquire(blocking=False):
            self._loop.call_soon_threadsafe(self._run)
        elif self._loop.is_closed():
            raise RuntimeError("the event loop is closed")

    def _run(self) -> None:
        """Call all functions that are due; come again in 5 ms if there were some not long ago too."""
        is_fast = False
        if self._due:
            now = self._loop.time()
            is_fast, self._last_run = now - self._last_run < _FAST_SECONDS, now
            for _ in range(len(self._due)):
                self._due.popleft()()
        if is_fast:
            self._loop.call_later(_BATCH_SECONDS, self._run)
            return
        self._scheduled.release()
        if self._due and self._scheduled.acquire(blocking=False):  # a call that came before the release
            self._loop.call_soon(self._run)


_all: WeakValueDictionary[asyncio.AbstractEventLoop, LoopCalls] = WeakValueDictionary()
"""The calls of each loop, as long as a wake-up uses them."""


def new_wakeup() -> AsyncWakeup:
    """Return a wake-up for a task of the running loop."""
    wakeup, loop = AsyncWakeup(), asyncio.get_running_loop()
    wakeup.attach(loop, LoopCalls.of(loop).call)
    return wakeup
