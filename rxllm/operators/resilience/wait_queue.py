"""Streams that wait in a queue for a limit that they share, first come, first served.

A `SharedLimit` is used by many streams and is thread-safe. Nothing is locked per event, and no lock is held while a
stream is started or disposed, or delivers.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from ..._core.awaitable import AwaitableObservable
from ..._core.scheduling import capture_context, timer_scheduler
from ..._runtime.platform import reset_in_children
from ...events import TokenEvent
from .._operator import Outcome, WatchedStream

_SOON = 1e-6
"""Seconds below which no timer is set: clocks that are datetimes have microseconds."""


L = TypeVar("L", bound="SharedLimit")


class SharedLimit:
    """An operator whose state is shared by all streams that it is applied to."""

    stream_class: ClassVar[type[LimitedStream[Any]]]
    """The class of its streams."""

    def __init__(self, scheduler: abc.SchedulerBase | None) -> None:
        self._scheduler = scheduler
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Begin without streams: in a forked process, those that run or wait are its parent's."""
        self.lock = threading.RLock()  # a scheduler may run what it is given at once
        self.running: set[LimitedStream[Any]] = set()
        self._waiting: dict[LimitedStream[Any], None] = {}
        self._admitting: set[int] = set()
        """The threads that admit. A stream that runs inside its subscribe() does not keep other threads from it."""
        self._timer = SerialDisposable()

    def __call__(self, source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream that waits for this limit when it is subscribed to.

        Args:
            source: The stream to limit. Disposing the subscription gives up its place in the queue.
        """

        def subscribe(observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None) -> abc.DisposableBase:
            """Queue a stream for this subscription, and start what may start."""
            stream = self.stream_class(self, source, observer, given, timer_scheduler(self._scheduler, given))
            with self.lock:
                self._waiting[stream] = None
            try:
                self.admit()
            except BaseException:  # its subscription ends with the exception: it must not wait on
                stream.dispose()
                raise
            return stream

        return AwaitableObservable(subscribe)

    def admit(self) -> None:
        """Start the streams that may start now, in the order of the queue; set a timer for the next one."""
        with self.lock:
            if threading.get_ident() in self._admitting:
                return  # the caller that admits checks the queue again after each stream
            self._admitting.add(threading.get_ident())
        while (stream := self._next()) is not None:
            try:
                stream.in_context(stream.subscribe)
            except BaseException:
                with self.lock:
                    self._admitting.discard(threading.get_ident())
                self.admit()
                raise

    def leave(self, stream: LimitedStream[Any]) -> None:
        """Remove `stream` from the queue or from the running streams. The caller must call `admit` afterwards."""
        with self.lock:
            self._waiting.pop(stream, None)
            if stream in self.running:
                self.running.remove(stream)
                stream.left()

    def _next(self) -> LimitedStream[Any] | None:
        """Return the next stream that may start now; else None, stop admitting, and set the timer for the first one."""
        wait: float | None = None
        with self.lock:
            while (stream := self._first()) is not None and (wait := stream.wait()) is not None and wait < _SOON:
                self.running.add(stream)
                stream.entered()
                if self._waiting.pop(stream, stream) is None:
                    return stream
                self.leave(stream)  # a finalizer or a signal handler on this thread has disposed it meanwhile
            self._admitting.discard(threading.get_ident())
            slot = SingleAssignmentDisposable()  # filled after the fact: the scheduler may run the timer at once
            self._timer.disposable = slot
            if stream is not None and wait is not None:
                slot.disposable = stream.timers.schedule_relative(wait, lambda _, __: self.admit())
            return None

    def _first(self) -> LimitedStream[Any] | None:
        """Return the first stream of the queue; None if it is empty."""
        while True:
            with suppress(RuntimeError):  # a finalizer or a signal handler has removed one between the two calls
                return next(iter(self._waiting), None)


class LimitedStream(WatchedStream[TokenEvent], Generic[L]):
    """One stream, waiting or running."""

    def __init__(
        self,
        limit: L,
        source: Observable[TokenEvent],
        observer: abc.ObserverBase[TokenEvent],
        given: abc.SchedulerBase | None,
        timers: abc.SchedulerBase,
    ) -> None:
        super().__init__(observer)
        self.timers = timers
        """The scheduler that it waits on."""
        self.limit = limit
        self._source = source
        self._given = given
        self.in_context: Callable[[Callable[[], None]], None] = capture_context()
        """Calls a function in a copy of the subscriber's context."""

    @abstractmethod
    def wait(self) -> float | None:
        """Return the seconds until it may start: 0 now, None after another stream has left. Must hold the lock."""

    def entered(self) -> None:
        """Book the start. Must hold the lock."""

    def left(self) -> None:
        """Book the end. Must hold the lock."""

    def subscribe(self) -> None:
        """Subscribe to the source, unless disposed."""
        if not self._upstream.is_disposed:
            self.start(self._source, self._given)

    def _end(self, outcome: Outcome, notify: Callable[[], None]) -> None:
        """Give up the place before the end is passed on: a retry that it causes may take the place."""
        self.limit.leave(self)
        try:
            notify()
        finally:
            self.limit.admit()
