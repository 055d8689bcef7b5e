"""A second request if the first one is slow to answer."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from ..._core.attempts import Race
from ..._core.retry import error_class
from ..._core.scheduling import timer_scheduler
from ...events import TokenEvent
from .._operator import Operator, check_number, subscribing
from .fallback import stream_of


def hedge(
    after_seconds: float,
    make_stream: Callable[[], Observable[TokenEvent]],
    *,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[TokenEvent, TokenEvent]:
    """Start a second request if no content has come after `after_seconds`; keep the stream that answers first.

    The other stream is disposed at that moment. If the first request fails earlier, the second one starts at once,
    unless the error would be the same anywhere (class "raise" of `error_class`). If both fail, the stream ends with
    the error that came first. Both requests cost: choose `after_seconds` so that nine in ten answers begin earlier.

    Args:
        after_seconds: Seconds from the subscription to the second request, 0 or more.
        make_stream: Makes the second stream. An exception that it raises counts as the failure of that stream.
        scheduler: Runs the wait; default: the scheduler given to subscribe(), else a thread for all delays.

    Raises:
        ConfigurationError: `after_seconds` is negative.

    ::

        -------------------(too late)
        ....S--a--b--|              after_seconds=4
        [ hedge(4, make_stream) ]
        -------Sa--b--|
    """
    check_number("hedge(after_seconds=...)", after_seconds, 0)

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], first: Observable[TokenEvent], given: abc.SchedulerBase | None
    ) -> Race:
        """Start the first stream and the timer for the second."""
        second = iter((stream_of(make_stream),))  # next() takes it once, from whichever thread
        timer = SingleAssignmentDisposable()
        errors: list[Exception] = []

        def start_second(_: object = None, __: object = None) -> None:
            timer.dispose()
            for stream in second:
                race.start(stream)

        def on_loss(race: Race, error: Exception | None, losses: int) -> None:
            """After a failure start the second stream, or end the race with the error that came first."""
            if error is not None:
                errors.append(error)
            if error is None or error_class(error) == "raise":
                race.finish(error)
            elif losses == 2:
                race.finish(errors[0])
            else:
                start_second()

        race = Race(observer, given, on_loss)
        race.subscriptions.add(timer)
        race.start(first)
        if not (race.decided or timer.is_disposed):
            try:
                timer.disposable = timer_scheduler(scheduler, given).schedule_relative(after_seconds, start_second)
            except BaseException:
                race.dispose()
                raise
        return race

    return subscribing(subscribe)
