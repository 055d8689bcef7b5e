"""The limit on a whole stream, of which the wait for its start is a part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable

from ..errors import APITimeoutError
from ..events import TokenEvent
from .scheduling import TimerScheduler
from .stream_errors import emit_error

_SHORTEST = 0.001


def waiting_within(
    total: float,
    limit: Callable[[Observable[TokenEvent]], Observable[TokenEvent]],
    stream: Callable[[float], Observable[TokenEvent]],
) -> Observable[TokenEvent]:
    """Return `stream`, called with the seconds that are left when `limit` admits it.

    If `total` seconds pass before that, the stream ends with an `APITimeoutError`.
    """

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        deadline = time.monotonic() + total
        decided = threading.Lock()
        """Acquired once: by the admission or by the limit, whichever comes first."""
        waiting = SerialDisposable()

        def expire(*_: object) -> None:
            if decided.acquire(blocking=False):
                waiting.dispose()
                message = f"the answer was not complete within {total:g} s (timeout 'total'): it waited for a free slot"
                emit_error(observer, APITimeoutError(message, phase="total"))

        timer = TimerScheduler.singleton().schedule_relative(total, expire)

        def admitted(_: abc.SchedulerBase) -> Observable[TokenEvent]:
            timer.dispose()
            if not decided.acquire(blocking=False):
                return rx.never()
            return stream(max(deadline - time.monotonic(), _SHORTEST))

        waiting.disposable = limit(rx.defer(admitted)).subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(waiting, timer)

    return Observable(subscribe)
