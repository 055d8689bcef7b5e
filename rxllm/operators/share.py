"""One stream for several receivers: many subscribers, a second observer, a file."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from .._core.event_log import Entry, MemoryLog
from .._core.recording_format import RecordingWriter
from ..events import TokenEvent
from ._operator import Operator, not_an_event, stopwatch, subscribing

T = TypeVar("T")


def broadcast() -> Operator[T, T]:
    """Share one request among any number of subscribers; each gets the whole answer.

    The first subscriber starts the request. A later one gets at once what came before, with adjacent deltas merged,
    and then the live events. When the last one disposes before the end, the request ends, and the next subscriber
    starts a new one. An answer that has completed or failed is replayed to every later subscriber and never requested
    again: put `retry_transient` before this operator. The answer is kept as long as the Observable.

    Live events come on the producer's thread, to one subscriber after the other: a slow one slows all, unless it has
    a `bounded` of its own. A subscriber that raises is removed; the others continue.

    ::

        --a-b-c-d|           one request
        [broadcast()]
        --a-b-c-d|           a subscriber
             (ab)c-d|        another, later
                      (abcd)|   after the end
    """
    return lambda source: Observable(_Broadcast(source).subscribe)


class _Broadcast(Generic[T]):
    """The subscribers of one broadcast, and the event log that they read."""

    def __init__(self, source: Observable[T]) -> None:
        self._source = source
        self._lock = threading.RLock()  # reentrant: a subscriber may leave when the garbage collector finds it
        self._request: tuple[MemoryLog[T], SingleAssignmentDisposable] | None = None
        """The log and the subscription of the request; None before it and after its disposal."""
        self._count = 0

    def subscribe(self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        """Replay the log to the observer, then follow it; the first subscriber starts the request."""
        with self._lock:
            self._count += 1  # first: if another subscriber leaves meanwhile, the request goes on
            starts = self._request is None
            self._request = self._request or (MemoryLog[T](), SingleAssignmentDisposable())
            log, upstream = self._request
        reading = SingleAssignmentDisposable()

        def leave() -> None:
            """Stop a subscriber; the last one before the end stops the request."""
            reading.dispose()
            with self._lock:
                self._count -= 1
                if self._count > 0 or log.state != "open":
                    return
                self._request = None
            upstream.dispose()

        removal = Disposable(leave)

        def append(event: T) -> None:
            log.append(event)

        def on_next(entry: Entry[T]) -> None:
            try:
                observer.on_next(entry.event)
            except BaseException:
                removal.dispose()
                raise

        reading.disposable = log.read().subscribe(on_next, observer.on_error, observer.on_completed)
        if starts:
            upstream.disposable = self._source.subscribe(append, log.close, log.close, scheduler=scheduler)
        return removal


def tee(observer: abc.ObserverBase[T]) -> Operator[T, T]:
    """Pass each item to a second observer first.

    An exception in `observer` goes to on_error and ends the stream for both. Disposing does not call `observer`: use
    `reactivex.operators.finally_action` for that.

    Args:
        observer: Receives on_next, on_error and on_completed.

    ::

        --a-b-|
        [tee(o)]        o sees --a-b-|
        --a-b-|
    """
    return rx_ops.do(observer)


def record(path: str | Path) -> Operator[TokenEvent, TokenEvent]:
    """Write the stream to a file as it passes: a line of JSON for each event, with its time, and one for its end.

    Each line is in the file before the event is passed on, so a recording is readable even if the process was killed.
    `rxllm.testing.recording.replay` plays it again. Each subscription overwrites the file. Error messages are written
    without anything that looks like a key; headers and requests are not in events. Errors of the file go to on_error.
    Times are those of the scheduler given to subscribe(), else of the monotonic clock.

    Args:
        path: The file to write.
    """

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], source: Observable[TokenEvent], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Open the file and subscribe; disposing closes it."""
        writer = RecordingWriter(path, stopwatch(scheduler))
        emit = observer.on_next

        def write(event: TokenEvent) -> None:
            if isinstance(event, str):
                raise not_an_event("record")
            writer.event(event)

        def on_next(event: TokenEvent) -> None:
            try:
                emit(event)
            except BaseException:
                writer.dispose()
                raise

        written = rx_ops.do_action(write, writer.failure, partial(writer.end, "completed"))(source)
        writing = written.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)
        return CompositeDisposable(writing, writer)

    return subscribing(subscribe)
