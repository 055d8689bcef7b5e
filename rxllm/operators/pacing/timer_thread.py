"""A thread for the timers of one subscription, if no scheduler was given."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta

from reactivex import abc
from reactivex.internal import DisposedException
from reactivex.internal.constants import UTC_ZERO
from reactivex.scheduler import EventLoopScheduler


class TimerThread(EventLoopScheduler):
    """An event loop on a thread that starts with the first timer and ends with dispose().

    Its clock is the monotonic one: setting the system clock neither delays nor hastens a timer.
    """

    @property
    def now(self) -> datetime:
        """The monotonic time, as the `datetime` that reactivex expects."""
        return UTC_ZERO + timedelta(seconds=time.monotonic())

    def dispose(self) -> None:
        """End the thread; pending timers are dropped. May be called on that thread itself.

        reactivex's loop looks for the disposal only before it runs work, so this gives it some.
        """
        if self._has_thread():
            with suppress(DisposedException):
                self.schedule(_do_nothing)
        super().dispose()


def _do_nothing(scheduler: abc.SchedulerBase, state: object | None = None) -> None:
    pass
