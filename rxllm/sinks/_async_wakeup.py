"""Wakes one task of an asyncio loop from other threads."""

from __future__ import annotations

import asyncio


class AsyncWakeup:
    """A thread-safe asyncio.Event for one waiting task, with an idle timeout.

    Args:
        idle_seconds: `wait` returns False after between `idle_seconds` and twice that without `set`. Default: never.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(self, idle_seconds: float | None = None) -> None:
        self._event = asyncio.Event()
        self._is_set = False
        """Whether a wake-up is on its way to the loop: further ones need not be sent."""
        self._was_set = False
        self._idle_seconds = idle_seconds
        self._is_idle = True
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the loop on which the task runs. Must be called first."""
        self._loop = loop
        if self._idle_seconds is not None:
            self._timer = loop.call_later(self._idle_seconds, self._on_timer)

    def is_alive(self) -> bool:
        """Return whether the loop is open, so that a task may still wait."""
        return not self._loop.is_closed()

    def set(self) -> bool:
        """Wake the task, or have its next `wait` return at once. Return False if the loop is closed. Thread-safe."""
        if not self._is_set:
            self._is_set = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                return False
        return True

    async def wait(self) -> bool:
        """Wait for `set`; return False after the idle timeout."""
        await self._event.wait()
        self._event.clear()
        was_set, self._was_set = self._was_set, False
        return was_set

    def close(self) -> None:
        """Stop the idle timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._is_set = self._is_idle = False
        self._was_set = True
        self._event.set()

    def _on_timer(self) -> None:
        if self._is_idle:
            self._event.set()
        self._is_idle = True
        self._timer = self._loop.call_later(self._idle_seconds or 0.0, self._on_timer)
