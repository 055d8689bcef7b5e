"""Run the work of turns and tools: on a scheduler that the user gave, or on daemon threads."""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable
from functools import partial

from reactivex import abc
from reactivex.disposable import Disposable

from .._core.scheduling import TimerScheduler
from .._runtime.thread_cache import workers

_numbers = itertools.count(1)


def run_on(
    scheduler: abc.SchedulerBase | None, work: Callable[[], None], name: str, values: contextvars.Context
) -> abc.DisposableBase:
    """Run `work` on `scheduler`, or on a daemon thread `rxllm-<name>-<n>`, in a copy of the context `values`."""
    context = values.copy()  # two threads cannot be in the same context at the same time
    if scheduler is None:
        workers.run(f"rxllm-{name}-{next(_numbers)}", partial(context.run, work))
        return Disposable()

    def run(_scheduler: abc.SchedulerBase, _state: object | None = None) -> None:
        context.run(work)

    return scheduler.schedule(run)


def run_after(scheduler: abc.SchedulerBase | None, seconds: float, work: Callable[[], None]) -> abc.DisposableBase:
    """Run `work` in `seconds` seconds on `scheduler`, or on a timer thread."""

    def run(_scheduler: abc.SchedulerBase, _state: object | None = None) -> None:
        work()

    return (scheduler or TimerScheduler.singleton()).schedule_relative(seconds, run)


def now(scheduler: abc.SchedulerBase | None) -> float:
    """Return the seconds of the clock of `scheduler`."""
    return (scheduler or TimerScheduler.singleton()).now.timestamp()
