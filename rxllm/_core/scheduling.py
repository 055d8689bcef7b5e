"""Work on a scheduler that the user gave."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reactivex import abc
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler


def schedule_after_subscribe(scheduler: abc.SchedulerBase, run: Callable[[], object]) -> abc.DisposableBase:
    """Schedule `run`. Return what cancels it.

    A scheduler that runs its work inline would run it inside subscribe(), before the observers are linked, so that no
    operator could dispose. There, `run` is called when they are: before the outermost subscribe() returns.
    """
    caller = threading.get_ident()
    returned = False
    inline = SerialDisposable()

    def work(_: abc.SchedulerBase, __: object | None = None) -> None:
        run()

    def action(scheduler: abc.SchedulerBase, _: object | None = None) -> None:
        if returned or threading.get_ident() != caller:
            run()
        else:
            inline.disposable = CurrentThreadScheduler.singleton().schedule(work)

    scheduled = scheduler.schedule(action)
    returned = True
    return scheduled if inline.disposable is None else inline
