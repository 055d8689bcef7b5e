"""Work on a producing scheduler that the user gave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from reactivex import abc
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler, TrampolineScheduler

_waits: ContextVar[bool] = ContextVar("rxllm_waits", default=False)
"""The caller of subscribe() waits for the stream, inside work of this thread's CurrentThreadScheduler."""


@contextmanager
def waiting_for_stream() -> Generator[None, None, None]:
    """Say that the subscriptions made here are waited for on this thread."""
    token = _waits.set(not CurrentThreadScheduler.singleton().schedule_required())
    try:
        yield
    finally:
        _waits.reset(token)


def schedule_after_subscribe(
    scheduler: abc.SchedulerBase, run: Callable[[], object], given: abc.SchedulerBase | None
) -> abc.DisposableBase:
    """Schedule `run`; `given` is the scheduler that subscribe() has got. Return what cancels it.

    A scheduler that runs its work inline would run it inside subscribe(), before the observers are linked, so that no
    operator could dispose. There, `run` is called when they are: before the outermost subscribe() returns. Not if the
    caller waits for the stream: this may be inside other work of the thread, after which alone it would begin.
    """
    caller = threading.get_ident()
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
