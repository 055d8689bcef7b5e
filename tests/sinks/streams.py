"""Streams that run on threads of their own, and say what becomes of them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

T = TypeVar("T")

LIMIT_SECONDS = 60.0


class Produced(Generic[T]):
    """An Observable of `items`, from a thread for each subscription; `error` ends it instead of completion."""

    def __init__(self, items: Iterable[T], error: Exception | None = None) -> None:
        self._items = items
        self._error = error
        self.subscriptions = 0
        self.emitted = 0
        self.disposed = threading.Event()
        self.ended = threading.Event()
        """The producing thread has ended, one way or the other."""
        self.observable: Observable[T] = Observable(self._subscribe)

    def _subscribe(self, observer: abc.ObserverBase[T], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        self.subscriptions += 1
        threading.Thread(target=self._run, args=(observer,), daemon=True).start()
        return Disposable(self.disposed.set)

    def _run(self, observer: abc.ObserverBase[T]) -> None:
        for item in self._items:
            if self.disposed.is_set():
                break
            self.emitted += 1
            observer.on_next(item)
        else:
            if self._error is None:
                observer.on_completed()
            else:
                observer.on_error(self._error)
        self.ended.set()


class Collecting:
    """A stream of one item whose producer then runs the garbage collector, inside the lock that disposing takes."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        """To be set by the test when only the garbage collector can find the consumer."""
        self.disposed = threading.Event()
        self.collected = threading.Event()
        """The producer has its lock no longer."""
        self._lock = threading.Lock()
        self.observable: Observable[int] = Observable(self._subscribe)

    def _subscribe(self, observer: abc.ObserverBase[int], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        threading.Thread(target=self._run, args=(observer,), daemon=True).start()
        return Disposable(self._dispose)

    def _dispose(self) -> None:
        with self._lock:
            self.disposed.set()

    def _run(self, observer: abc.ObserverBase[int]) -> None:
        observer.on_next(1)
        self.abandoned.wait(LIMIT_SECONDS)
        with self._lock:
            gc.collect()
        self.collected.set()


def endless() -> Iterable[int]:
    """Numbers as fast as they are taken."""
    number = 0
    while True:
        yield number
        number += 1
