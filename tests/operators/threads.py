"""What the tests on real threads share: a producer of one's own, an observer to wait for, a generous limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable

LIMIT = 60.0
"""Seconds after which something that should have happened has not."""


class Producer:
    """A cold source that emits on a thread of its own, as a model's stream does, until it is disposed."""

    def __init__(self, items: Iterable[Any], *, then: Callable[[abc.ObserverBase[Any]], object] | None = None) -> None:
        self._items = items
        self._then = then or (lambda observer: observer.on_completed())
        self.disposed = threading.Event()
        self.finished = threading.Event()
        self.subscriptions = 0
        self.produced = 0
        self.observable: Observable[Any] = Observable(self._subscribe)

    def _subscribe(self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        self.subscriptions += 1
        threading.Thread(target=self._run, args=(observer,), daemon=True).start()
        return Disposable(self.disposed.set)

    def _run(self, observer: abc.ObserverBase[Any]) -> None:
        try:
            for item in self._items:
                if self.disposed.is_set():
                    return
                observer.on_next(item)
                self.produced += 1
            self._then(observer)
        finally:
            self.finished.set()


class Seen:
    """An observer that keeps what it sees, and can be waited for."""

    def __init__(self, on_next: Callable[[Any], object] | None = None) -> None:
        self.values: list[Any] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended = threading.Event()
        self.threads: set[int] = set()
        self._also = on_next

    def on_next(self, value: Any) -> None:
        self.threads.add(threading.get_ident())
        self.values.append(value)
        if self._also is not None:
            self._also(value)

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.ended.set()

    def on_completed(self) -> None:
        self.completed = True
        self.ended.set()

    def subscribe(self, source: Observable[Any]) -> abc.DisposableBase:
        """Subscribe to `source`."""
        return source.subscribe(self.on_next, self.on_error, self.on_completed)

    def wait(self, seconds: float = LIMIT) -> None:
        """Until the stream has ended."""
        assert self.ended.wait(seconds), "the stream has not ended"
