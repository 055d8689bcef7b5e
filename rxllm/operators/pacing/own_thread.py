"""A thread for one subscription's timers, where nobody gave a scheduler."""

from __future__ import annotations

from contextlib import suppress

from reactivex import abc
from reactivex.internal import DisposedException
from reactivex.scheduler import EventLoopScheduler


class OwnThread(EventLoopScheduler):
    """Starts with the first timer, and ends when it is disposed, on that thread itself too.

    There reactivex's own would wait on for work: it looks for the disposal only before it runs some.
    """

    def dispose(self) -> None:
        """End the thread; what is pending is dropped."""
        if self._has_thread():
            with suppress(DisposedException):
                self.schedule(_nothing)
        super().dispose()


def _nothing(scheduler: abc.SchedulerBase, state: object | None = None) -> None:
    """Some work."""
