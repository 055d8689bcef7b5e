"""One stream per key in this process: it continues without subscribers and is replayed to each new one.

For programs whose code runs again while a stream is under way, such as a Streamlit script or a notebook cell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import TypeVar, cast

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import EventLoopScheduler

from .._core.awaitable import AwaitableObservable
from .._core.event_log import MemoryLog
from .._runtime.platform import after_fork
from ..operators.pacing.pace import bounded

__all__ = ["KEPT", "forget_shared_stream", "shared_stream"]

T = TypeVar("T")

KEPT = 256
"""The number of ended streams that are kept for replay: the most recently used ones."""


def shared_stream(key: Hashable, factory: Callable[[], Observable[T]]) -> Observable[T]:
    """Return the stream of this key; call `factory`, and make its request, only if there is none yet.

    Each subscriber receives all of the stream from its beginning, on a thread of its own; adjacent deltas are merged
    if a subscriber is behind. Disposing a subscription does not stop the stream: `forget_shared_stream` does. A
    stream that has ended, with or without an error, is replayed until it is forgotten, or until `KEPT` other keys
    were used since.

    Args:
        key: Identifies the stream in this process.
        factory: Returns the stream. It runs on the subscribing thread; what it raises becomes the stream's error.

    Returns:
        A cold Observable of the stream's items.

    >>> import reactivex
    >>> from rxllm.sinks.iterate import iter_events
    >>> list(iter_events(shared_stream("greeting", lambda: reactivex.of("Hel", "lo"))))
    ['Hel', 'lo']
    >>> list(iter_events(shared_stream("greeting", lambda: reactivex.of("asked again?"))))
    ['Hel', 'lo']
    >>> forget_shared_stream("greeting")
    """

    def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        own_thread = EventLoopScheduler(exit_if_empty=True)
        log = cast(MemoryLog[T], _log_of(key, factory))
        events: Observable[T] = log.read().pipe(rx.map(attrgetter("event")))
        return events.pipe(bounded(own_thread, overflow="coalesce")).subscribe(observer)

    return AwaitableObservable(subscribe)


def forget_shared_stream(key: Hashable) -> None:
    """Stop the stream of this key if it runs, and forget it: the next `shared_stream` starts a new one.

    Args:
        key: The key given to `shared_stream`; an unknown one does nothing.
    """
    with _lock:
        log = _logs.pop(key, None)
    if log is not None:
        log.cancel()


_lock = threading.RLock()  # reentrant: a finalizer may forget its stream
_logs: dict[Hashable, MemoryLog[object]] = {}
"""In the order of their last use."""


def _forget_open_streams() -> None:
    """Forget the streams that run: in a forked process, they are its parent's, and would never go on."""
    global _lock
    _lock = threading.RLock()
    for key, log in tuple(_logs.items()):
        if log.state == "open":
            del _logs[key]


after_fork(_forget_open_streams)


def _log_of(key: Hashable, factory: Callable[[], Observable[object]]) -> MemoryLog[object]:
    """Return the log of `key`, as the newest; start the stream if there is none. What `factory` raises is its error."""
    upstream = SingleAssignmentDisposable()
    with _lock:
        log = _logs.pop(key, None)
        starts = log is None
        if log is None:
            log = MemoryLog[object](on_cancel=upstream.dispose)
        _logs[key] = log
        ended = [other for other, kept in list(_logs.items()) if kept.state != "open"]
        for other in ended[: max(0, len(ended) - KEPT)]:
            _logs.pop(other, None)
    if starts:

        def append(event: object) -> None:
            log.append(event)

        try:
            upstream.disposable = factory().subscribe(append, log.close, log.close)
        except Exception as error:  # each subscriber receives it
            log.close(error)
    return log
