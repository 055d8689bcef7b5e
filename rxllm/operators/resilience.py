"""Recovery: what to do when a stream fails."""

from __future__ import annotations

import random
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable
from reactivex.scheduler import TimeoutScheduler

from ..errors import LLMError
from ..events import CONTENT_EVENTS, StreamEnd, TokenEvent

MAX_DELAY = 60.0


def retry(
    max_retries: int = 2,
    *,
    base_delay: float = 0.5,
    max_delay: float = MAX_DELAY,
    scheduler: abc.SchedulerBase | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Callable[[Observable[TokenEvent]], Observable[TokenEvent]]:
    """Subscribe again, at most `max_retries` times, while nothing of the answer has been seen.

    Only transient errors before the first content event are tried again. The wait before try n
    is between 0 and ``base_delay * 2**n`` seconds (full jitter), at least the server's Retry-After;
    a server that asks for more than `max_delay` seconds gets no second try: its error goes on.
    Events before the first content event are held back until it comes, so that a second try shows
    no second `StreamStart`. Waits run on `scheduler`; disposing ends them.

    ::

        -S-X                        the first try, transient
           ..S--a--b--|             the second, after a wait
        [       retry()         ]
        ---------Sa--b--|
    """

    def apply(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        if max_retries <= 0:
            return source

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], subscribe_scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            timers = scheduler or subscribe_scheduler or TimeoutScheduler.singleton()
            current, waiting = SerialDisposable(), SerialDisposable()
            tries = 0
            answered = False

            def attempt(_: abc.SchedulerBase | None = None, __: object | None = None) -> None:
                held: list[TokenEvent] = []
                emit = observer.on_next

                def on_next(event: TokenEvent) -> None:
                    nonlocal answered
                    if answered:
                        emit(event)
                    elif isinstance(event, (*CONTENT_EVENTS, StreamEnd)):
                        answered = True
                        for earlier in held:
                            emit(earlier)
                        emit(event)
                    else:
                        held.append(event)

                def on_error(error: Exception) -> None:
                    nonlocal tries
                    delay = None if answered else _delay(error)
                    if delay is None:
                        observer.on_error(error)
                    else:
                        tries += 1
                        waiting.disposable = timers.schedule_relative(delay, attempt)

                current.disposable = source.subscribe(
                    on_next, on_error, observer.on_completed, scheduler=subscribe_scheduler
                )

            def _delay(error: Exception) -> float | None:
                if not isinstance(error, LLMError) or not error.transient or tries >= max_retries:
                    return None
                asked = error.retry_after or 0.0
                return None if asked > max_delay else max(asked, jitter(0.0, min(max_delay, base_delay * 2**tries)))

            attempt()
            return CompositeDisposable(current, waiting)

        return Observable(subscribe)

    return apply
