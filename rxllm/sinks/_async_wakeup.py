"""The event loop of this thread, and how other threads wake a task of a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs on this thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class AsyncWakeup:
    """A thread-safe asyncio.Event for one waiting task, which costs less than asyncio's."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._is_coming = False
        """Whether a wake-up is on its way to the loop: further ones need not be sent."""
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def attach(
        self, loop: asyncio.AbstractEventLoop, call: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        """Set the loop on which the task runs. Must be called first.

        Args:
            loop: The loop.
            call: Calls a function on the loop, from any thread. Default: the loop's `call_soon_threadsafe`.
        """
        self._loop = loop
        self._call = call or loop.call_soon_threadsafe

    def is_alive(self) -> bool:
        """Return whether the loop is open, so that a task may still wait."""
        return not self._loop.is_closed()

    def set(self) -> bool:
        """Wake the task, or have its next `wait` return at once. Return False if the loop is closed. Thread-safe."""
        if self._is_coming:
            return self.is_alive()
        self._is_coming = True
        try:
            self._call(self.set_here)
        except RuntimeError:
            return False
        return True

    def set_here(self) -> None:
        """Wake the task, or have its next `wait` return at once. Must be called on the loop."""
        self._is_coming = False
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it is set, and reset it."""
        if not self._is_set:
            self._waiter = self._loop.create_future()
            await self._waiter
        self._is_set = False
