"""Work on a producing scheduler that the user gave, and work that waits."""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler, TimeoutScheduler, TrampolineScheduler
from reactivex.scheduler.scheduler import Scheduler

from .._runtime.deadlines import Watch, watchdog
from .._runtime.errors import report_exception
from .._runtime.thread_cache import workers

T = TypeVar("T")
_State = TypeVar("_State")

_waits: ContextVar[bool] = ContextVar("rxllm_waits", default=False)
"""The caller of subscribe() blocks until the stream ends, inside work of this thread's CurrentThreadScheduler."""


@contextmanager
def waiting_for_stream() -> Generator[None, None, None]:
    """Return a context for a subscription after which the caller blocks until the stream ends."""
    token = _waits.set(not CurrentThreadScheduler.singleton().schedule_required())
    try:
        yield
    finally:
        _waits.reset(token)


def schedule_after_subscribe(
    scheduler: abc.SchedulerBase, run: Callable[[], object], given: abc.SchedulerBase | None
) -> abc.DisposableBase:
    """Schedule `run`; `given` is the argument `scheduler` of subscribe(). Return what cancels it.

    A scheduler that runs its work inline would run it inside subscribe(), before the observers are linked, so that no
    operator could dispose. There, the current thread's trampoline calls `run`: at the end of the outermost subscribe().
    A caller that blocks until the stream ends may itself be inside the trampoline's work, which could not go on then:
    for it, `run` is called at once.
    """
    caller = threading.get_ident()
    # reactivex's run() blocks too; it subscribes with a NewThreadScheduler, or the scheduler that it was given.
    waits = _waits.get() or not (given is None or isinstance(given, TrampolineScheduler))
    returned = False
    inline = SerialDisposable()

    def work(_: abc.SchedulerBase, __: object | None = None) -> None:
        run()

    def action(scheduler: abc.SchedulerBase, _: object | None = None) -> None:
        if returned or waits or threading.get_ident() != caller:
            run()
        else:
            inline.disposable = CurrentThreadScheduler.singleton().schedule(work)

    scheduled = scheduler.schedule(action)
    returned = True
    return scheduled if inline.disposable is None else inline


class TimerScheduler(TimeoutScheduler):
    """reactivex's scheduler, but all delays wait on one thread, where it starts a thread for each."""

    def schedule(self, action: typing.ScheduledAction[_State], state: _State | None = None) -> abc.DisposableBase:
        """Run `action` on a worker."""
        return self.schedule_relative(0.0, action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run `action` on a worker after `duetime`, in seconds or as a timedelta.

        Raises:
            RuntimeError: There is no thread to wait on.
        """
        result = SingleAssignmentDisposable()

        def work() -> None:
            try:
                if not result.is_disposed:
                    result.disposable = self.invoke_action(action, state)
            except BaseException:
                report_exception()

        def expire() -> None:
            try:
                workers.run("rxllm-timer", work)
            except RuntimeError:  # no thread: better late limits of other streams than no end of this one
                work()

        watch = Watch(time.monotonic() + self.to_seconds(duetime), math.inf, expire)
        watchdog.add(watch)
        return CompositeDisposable(Disposable(lambda: watchdog.stop(watch)), result)


def timer_scheduler(own: abc.SchedulerBase | None, given: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """Return the scheduler that an operator waits on: its own, the subscription's, or our timer."""
    return own or given or TimerScheduler.singleton()


def scheduler_seconds(scheduler: abc.SchedulerBase) -> float:
    """Return a scheduler's time in seconds from an arbitrary moment; setting the system clock does not change it.

    Schedulers with a time of their own (virtual time, an event loop) keep it. The others read the system clock,
    for which the monotonic clock stands in.
    """
    if getattr(type(scheduler), "now", None) is Scheduler.now:
        return time.monotonic()
    return scheduler.to_seconds(scheduler.now)


def capture_context() -> Callable[[Callable[[], T]], T]:
    """Capture the current contextvars. Return a function that runs callables in a copy of them, from any thread."""
    context = contextvars.copy_context()

    def run(work: Callable[[], T]) -> T:
        return context.copy().run(work)

    return run
