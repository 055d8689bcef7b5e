"""A stopwatch on the scheduler's clock, so that virtual time works, else on the system's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from reactivex import abc

from .._core.attempts import scheduler_seconds


def stopwatch(scheduler: abc.SchedulerBase | None) -> Callable[[], float]:
    """Return a function that returns the seconds since this call."""
    if scheduler is None:
        now = time.monotonic
        started = now()
        return lambda: now() - started
    started = scheduler_seconds(scheduler)
    return lambda: scheduler_seconds(scheduler) - started
