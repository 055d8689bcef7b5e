"""One stream for several: to many subscribers, to an observer beside the main one, to a file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from .._core.event_log import Entry, MemoryLog
from .._core.recording_format import RecordingWriter
from ..events import TokenEvent
from ._operator import Operator, PlainStep, run_steps
from ._stopwatch import stopwatch

T = TypeVar("T")


def broadcast() -> Operator[T, T]:
    """One request for any number of subscribers, each of which gets all of the answer.

    The first subscriber starts the request. A later one gets at once what came before it, with
    neighbouring deltas joined, and then goes along. When the last one disposes before the end, the
    request ends, and the next subscriber starts another; an answer that has ended, well or not, is
    replayed to whoever comes, and never asked for again. So put `retry` before it.

    Live events come on the producer's thread, to one subscriber after the other: a slow one slows
    all (give it a `bounded` of its own). One that raises is dropped, and the rest goes on. The
    answer is kept for as long as the Observable is.

    ::

        --a-b-c-d|           asked once
        [broadcast()]
        --a-b-c-d|           a subscriber
             (ab)c-d|        another, later
                      (abcd)|   after the end
    """

    def operator(source: Observable[T]) -> Observable[T]:
        return Observable(_Broadcast(source).subscribe)

    return operator


class _Broadcast(Generic[T]):
    """The subscribers of one broadcast, and the log that they read."""

    def __init__(self, source: Observable[T]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._log: MemoryLog[T] | None = None
        self._upstream = SingleAssignmentDisposable()
        self._count = 0

    def subscribe(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        with self._lock:
            log = self._log
            starts = log is None
            if log is None:
                log = self._log = MemoryLog[T]()
                self._upstream = SingleAssignmentDisposable()
            self._count += 1
            upstream = self._upstream
        reading = SingleAssignmentDisposable()
        leaving = Disposable(lambda: self._leave(log, reading))

        def append(event: T) -> None:
            log.append(event)

        def on_next(entry: Entry[T]) -> None:
            try:
                observer.on_next(entry.event)
            except BaseException:
                leaving.dispose()
                raise

        reading.disposable = log.read().subscribe(on_next, observer.on_error, observer.on_completed)
        if starts:
            upstream.disposable = self._source.subscribe(append, log.close, log.close, scheduler=scheduler)
        return leaving

    def _leave(self, log: MemoryLog[T], reading: abc.DisposableBase) -> None:
        reading.dispose()
        with self._lock:
            self._count -= 1
            if self._count > 0 or log.state != "open":
                return
            self._log = None
            upstream = self._upstream
        upstream.dispose()


def tee(observer: abc.ObserverBase[T]) -> Operator[T, T]:
    """Show everything to `observer` too, before it goes on.

    What `observer` raises goes to on_error, and ends the stream for both. Disposing tells it
    nothing: see `reactivex.operators.finally_action` for that.

    ::

        --a-b-|
        [tee(o)]        o sees --a-b-|
        --a-b-|
    """
    return run_steps(lambda: _Tee(observer))


class _Tee(PlainStep[T], Generic[T]):
    def __init__(self, observer: abc.ObserverBase[T]) -> None:
        self._observer = observer

    def feed(self, item: T, /) -> Sequence[T]:
        self._observer.on_next(item)
        return (item,)

    def close(self) -> Sequence[T]:
        self._observer.on_completed()
        return ()

    def fail(self, error: Exception, /) -> Exception:
        try:
            self._observer.on_error(error)
        except Exception as own:
            return own
        return error


def record(path: str | Path) -> Operator[TokenEvent, TokenEvent]:
    """Write the stream to a file as it passes: a line of JSON for each event, with its time, and one for its end.

    `rxllm.testing.recording.replay` plays it again. Each subscription writes the file anew. Texts of errors have
    what looks like a key taken out; headers and requests are not in events. What goes wrong with
    the file goes to on_error. Times are the subscriber's scheduler's, else the system's.
    """

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def subscribe(
            observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            writer = RecordingWriter(path, stopwatch(scheduler))

            def on_next(event: TokenEvent) -> None:
                try:
                    observer.on_next(event)
                except BaseException:
                    writer.dispose()
                    raise

            written = run_steps(lambda: _Record(writer))(source)
            writing = written.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)
            return CompositeDisposable(writing, writer)

        return Observable(subscribe)

    return operator


class _Record(PlainStep[TokenEvent]):
    def __init__(self, writer: RecordingWriter) -> None:
        self._writer = writer

    def feed(self, item: TokenEvent, /) -> Sequence[TokenEvent]:
        self._writer.event(item)
        return (item,)

    def close(self) -> Sequence[TokenEvent]:
        self._writer.end("completed")
        return ()

    def fail(self, error: Exception, /) -> Exception:
        self._writer.failure(error)
        return error
