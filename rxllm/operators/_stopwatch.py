"""Reading the time: the scheduler's where there is one, so that virtual time works, else the system's."""

from __future__ import annotations

import time
from collections.abc import Callable

from reactivex import abc

from .._core.attempts import scheduler_seconds


def stopwatch(scheduler: abc.SchedulerBase | None) -> Callable[[], float]:
    """What tells the seconds since now."""
    if scheduler is None:
        started = time.monotonic()
        return lambda: time.monotonic() - started
    begun = scheduler_seconds(scheduler)
    return lambda: scheduler_seconds(scheduler) - begun
