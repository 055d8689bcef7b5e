"""What carries a stream from the thread that produces it to one consumer that pulls: bounded, in order, cheap.

The producer waits while the consumer is `bound` items behind, so a slow consumer slows the socket; `close` (from any
thread) lets it go and disposes the source. The consumer is woken only when it sleeps: while it is busy, passing an
item on costs an append. One producer, one consumer.

The one case without backpressure: items pushed on the consumer's own thread, which would wait for itself.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

T = TypeVar("T")

_LOOK_SECONDS = 1.0
"""How often a producer that is made to wait looks whether anybody will ever read on."""


class Nothing(enum.Enum):
    """What there is to read instead of an item."""

    YET = enum.auto()
    MORE = enum.auto()


class Handoff(Generic[T]):
    """A bounded queue between an Observable and a consumer that pulls.

    `wake` is called on the producer's thread when there is something to read and the consumer sleeps; it must not
    block, and returns False when the consumer is gone for good. `alive` says whether the consumer can still read.
    """

    def __init__(self, bound: int, wake: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
        if bound < 1:
            raise ValueError(f"a buffer holds at least 1 item; got {bound!r}")
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
        self._consumer = threading.get_ident()
        self._subscription.disposable = source.subscribe(self._put, self._end, self._end)

    def close(self) -> None:
        """Dispose the source and let whoever waits go; from any thread, any number of times."""
        self._closed = True
        self._subscription.dispose()
        self._room.set()
        if self._sleeping:
            self._sleeping = False
            self._wake()

    # No lock is needed below because each side first writes its own mark and then looks at the other's: the producer
    # appends, then looks for a sleeper; the consumer marks itself sleeping, then looks for items.

    def take(self) -> T | Nothing:
        """The next item, or that there is none (yet, or any more); raises the stream's error when it comes to it."""
        ended = self._ended
        if self._closed:
            return Nothing.MORE
        if self._items:
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
        """Ask to be woken; False when there is something to read after all."""
        self._sleeping = True
        if self._items or self._ended or self._closed:
            self._sleeping = False
            return False
        return True

    def _put(self, item: T) -> None:
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
            self.close()

    def _wait_for_room(self) -> None:
        self._blocked = True
        while True:
            self._room.clear()
            if len(self._items) < self._bound or self._closed:
                break
            if not self._room.wait(_LOOK_SECONDS) and not self._alive():
                self.close()
        self._blocked = False
