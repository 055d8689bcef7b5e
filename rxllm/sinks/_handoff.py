"""A bounded queue between the thread that produces a stream and one consumer that pulls.

The producer blocks while the consumer is `bound` items behind, so a slow consumer slows the socket. `close`, from any
thread, unblocks the producer and disposes the source. The consumer is woken only when it sleeps: while it is busy, an
item costs an append. There is no backpressure for items pushed on the consumer's own thread: it would wait for itself.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

from .._arguments import check_type
from .._core.scheduling import waiting_for_stream
from .._runtime.thread_cache import dispose_on_worker
from ..errors import ConfigurationError

T = TypeVar("T")

_LOOK_SECONDS = 1.0
"""Seconds between checks that the consumer is still alive while the producer is blocked."""


class Nothing(enum.Enum):
    """Why there is no item."""

    YET = enum.auto()
    """None yet."""
    MORE = enum.auto()
    """No further item comes: the stream has ended or was closed."""


class Handoff(Generic[T]):
    """A bounded queue between an Observable and a consumer that pulls.

    `wake` is called on the producer's thread when an item arrives while the consumer sleeps; it must not block, and
    returns False if the consumer will never read again. `alive` returns whether the consumer can still read.
    """

    def __init__(self, bound: int, wake: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
        if bound < 1:
            raise ConfigurationError(f"a buffer must hold at least 1 item; got {bound!r}")
        self._bound = bound
        self._resume_at = bound // 2
        self._wake = wake
        self._alive = alive
        self._items: deque[T] = deque()
        self._room = threading.Event()
        self._blocked = False
        self._sleeping = False
        self._closed = False
        self._ended = False
        self._error: Exception | None = None
        self._consumer: int | None = None
        self._subscription = SingleAssignmentDisposable()

    def start(self, source: Observable[T]) -> None:
        """Subscribe; called once, on the consumer's thread."""
        check_type("source", source, Observable)
        self._consumer = threading.get_ident()
        with waiting_for_stream():
            self._subscription.disposable = source.subscribe(self._put, self._end, self._end)

    def close(self) -> None:
        """Dispose the source, and unblock the producer and the consumer. Safe to call from any thread, repeatedly.

        The garbage collector closes a generator on any thread, perhaps inside a lock of this stream. So only the
        consumer's thread disposes itself; for another one, a worker does.
        """
        if self._consumer in (None, threading.get_ident()):
            self._dispose()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Close on a worker; for a finalizer."""
        has_ended = self._closed or self._ended
        self._closed = True
        if not has_ended:
            dispose_on_worker(self._dispose)

    # No lock is needed below, because each side first writes its own mark and then reads the other's: the producer
    # appends, then checks for a sleeper; the consumer marks itself sleeping, then checks for items.

    def take(self) -> T | Nothing:
        """Return the next item, or why there is none; raise the stream's error after its last item."""
        ended = self._ended
        if self._closed:
            return Nothing.MORE
        if self._items:
            if len(self._items) >= self._bound:
                self._consumer = threading.get_ident()  # a web server may take each item on another thread
            item = self._items.popleft()
            if self._blocked and len(self._items) <= self._resume_at:
                self._room.set()
            return item
        if not ended:
            return Nothing.YET
        if self._error is not None:
            raise self._error
        return Nothing.MORE

    def sleep(self) -> bool:
        """Ask to be woken and return True, or return False if there is something to read."""
        self._sleeping = True
        if self._items or self._ended or self._closed:
            self._sleeping = False
            return False
        return True

    def _put(self, item: T) -> None:
        """Add an item; block while the queue is full, except on the consumer's own thread."""
        if self._closed:
            return
        self._items.append(item)
        if self._sleeping:
            self._rouse()
        if len(self._items) >= self._bound and threading.get_ident() != self._consumer:
            self._wait_for_room()

    def _end(self, error: Exception | None = None) -> None:
        self._error = error
        self._ended = True
        if self._sleeping:
            self._rouse()

    def _rouse(self) -> None:
        self._sleeping = False
        if not self._wake():
            self._dispose()

    def _wait_for_room(self) -> None:
        """Block the producer until there is room; look now and then whether the consumer is still alive."""
        self._blocked = True
        while True:
            self._room.clear()
            if len(self._items) < self._bound or self._closed:
                break
            if not self._room.wait(_LOOK_SECONDS) and not self._alive():
                self._dispose()
        self._blocked = False

    def _dispose(self) -> None:
        self._closed = True
        self._subscription.dispose()
        self._room.set()
        if self._sleeping:
            self._sleeping = False
            self._wake()
