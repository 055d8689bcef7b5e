"""Streams with names: one for each key in this process, which goes on whoever watches, and is replayed to whoever asks.

For programs whose code is run again while a stream is under way: a Streamlit script at each click, a notebook cell
that is executed once more. Not the viewer owns the stream, but the name: a viewer that leaves stops nothing, and one
that is slow slows nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import EventLoopScheduler

from .._core.event_log import Entry, MemoryLog
from ..operators.pacing.pace import bounded

T = TypeVar("T")

KEPT = 256
"""How many streams that have ended are kept for replay: those last asked for."""


def named(key: Hashable, make_stream: Callable[[], Observable[T]]) -> Observable[T]:
    """The stream of this name; `make_stream` is called, and the request made, only if there is none yet.

    Each subscriber gets all of it from the beginning, on a thread that it need not share, with neighbouring deltas
    joined where it is behind. Disposing leaves the stream running: `forget_named` ends it. A stream that has ended,
    well or not, is replayed until it is forgotten, or `KEPT` others were asked for since.

    >>> import reactivex
    >>> from rxllm.sinks.iterate import iter_events
    >>> list(iter_events(named("greeting", lambda: reactivex.of("Hel", "lo"))))
    ['Hel', 'lo']
    >>> list(iter_events(named("greeting", lambda: reactivex.of("asked again?"))))
    ['Hel', 'lo']
    >>> forget_named("greeting")
    """

    def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        own_thread = EventLoopScheduler(exit_if_empty=True)
        log = cast(MemoryLog[T], _log_named(key, make_stream))
        events: Observable[T] = log.read().pipe(rx.map(_event_of))
        return events.pipe(bounded(own_thread, overflow="coalesce")).subscribe(observer)

    return Observable(subscribe)


def forget_named(key: Hashable) -> None:
    """Stop the stream of this name, if it runs, and forget it: the next who asks for it begins anew."""
    with _lock:
        log = _logs.pop(key, None)
    if log is not None:
        log.cancel()


_lock = threading.Lock()
_logs: dict[Hashable, MemoryLog[object]] = {}
"""The last one asked for is the last one here."""


def _log_named(key: Hashable, make_stream: Callable[[], Observable[object]]) -> MemoryLog[object]:
    upstream = SingleAssignmentDisposable()
    with _lock:
        log = _logs.pop(key, None)
        starts = log is None
        if log is None:
            log = MemoryLog[object](on_cancel=upstream.dispose)
        _logs[key] = log
        _drop_oldest_ended()
    if starts:
        _start(log, upstream, make_stream)
    return log


def _start(
    log: MemoryLog[object], upstream: SingleAssignmentDisposable, make_stream: Callable[[], Observable[object]]
) -> None:
    def append(event: object) -> None:
        log.append(event)

    try:
        upstream.disposable = make_stream().subscribe(append, log.close, log.close)
    except Exception as error:  # it goes where the stream's own errors go: to all who read
        log.close(error)


def _drop_oldest_ended() -> None:
    ended = [key for key, log in _logs.items() if log.state != "open"]
    for key in ended[: max(0, len(ended) - KEPT)]:
        del _logs[key]


def _event_of(entry: Entry[T]) -> T:
    return entry.event
