"""What wakes a task of an event loop from other threads, when there is something or when nothing was for a while."""

from __future__ import annotations

import asyncio


class AsyncBell:
    """Rings in one event loop, from any thread; of many rings before it is heard, one is."""

    def __init__(self, seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False
        self._news = False
        self._seconds = seconds
        self._quiet = True
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look)

    def ring(self) -> None:
        """There is something."""
        if not self._rung:
            self._rung = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                return  # the loop is closed, and nobody waits

    async def wait(self) -> bool:
        """Wait for a ring; False where so many seconds (to twice as many) have passed without."""
        await self._event.wait()
        self._event.clear()
        news, self._news = self._news, False
        return news

    def close(self) -> None:
        """Time no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._rung = self._quiet = False
        self._news = True
        self._event.set()

    def _look(self) -> None:
        if self._quiet:
            self._event.set()
        self._quiet = True
        self._timer = self._loop.call_later(self._seconds or 0.0, self._look)
