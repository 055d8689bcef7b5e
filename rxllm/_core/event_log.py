"""A stream as an append log: one producer appends, any number of readers read from any position.

Events have ids that count up from 1. `read(after)` emits the events after that id at once, merged, and then the live
ones; a reader that lost its connection continues after the last id it received. The log ends once: completed, failed,
or cancelled by a reader. Every reader receives that end, also one that subscribes later. `broadcast` and the web
server use it; the relay's log in Redis has the same interface.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .._runtime.errors import report_exception
from ..errors import StreamInterruptedError
from .delta_merge import Delta, MergeKey, delta_text, make_delta, merge_key, merge_runs

T = TypeVar("T")

LogState: TypeAlias = Literal["open", "completed", "failed", "cancelled"]

_RAW = 256
"""The number of newest events that are kept unmerged."""


class Entry(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """An event and the id to continue after. A merged delta has the id of its last one."""

    id: int
    event: T


class MemoryLog(Generic[T]):
    """A log in the memory of this process. One producer calls `append` and `close`, one call at a time.

    `on_cancel` is called once, when a reader cancels.

    >>> log = MemoryLog[str]()
    >>> log.append("a"), log.append("b")
    (1, 2)
    >>> _ = log.read(after=1).subscribe(print)
    Entry(id=2, event='b')
    >>> _ = log.append("c")
    Entry(id=3, event='c')
    """

    def __init__(self, on_cancel: Callable[[], None] | None = None) -> None:
        self.state: LogState = "open"
        """Whether and how the stream has ended."""
        self._on_cancel = on_cancel
        self._history = _History[T]()
        self._readers: tuple[_Reader[T], ...] = ()
        """The readers that have caught up. The tuple is replaced, never changed."""
        self._error: Exception | None = None
        self._lock = threading.RLock()  # reentrant: an abandoned iterator leaves when the garbage collector finds it
        """Guards the fields above; not held while a reader is called."""
        self._due: deque[Entry[T]] = deque()
        self._delivering = False

    def append(self, event: T) -> int:
        """Add `event`, deliver it to the readers and return its id; does nothing once the log has ended.

        Raises what a sole reader raises.
        """
        with self._lock:
            if self.state != "open":
                return self._history.last
            number = self._history.add(event)
            self._due.append(Entry(number, event))
            if self._delivering:  # called from inside a reader: it is delivered after the current entry
                return number
            self._delivering = True
        self._deliver()
        return number

    def after(self, number: int, max_chars: int | None = None) -> list[Entry[T]]:
        """Return the entries after the id `number`, adjacent deltas merged, up to about `max_chars` characters."""
        with self._lock:
            return self._history.after(number, max_chars)

    def close(self, error: Exception | None = None) -> None:
        """End the log: completed, or failed with `error`; does nothing once the log has ended."""
        if self._mark_ended("completed" if error is None else "failed", error):
            self._end_readers()

    def cancel(self) -> None:
        """Ask the producer to stop, by `on_cancel`. Readers end with a `StreamInterruptedError`. Thread-safe."""
        if self._mark_ended("cancelled", StreamInterruptedError("the stream was cancelled", transient=False)):
            if self._on_cancel is not None:
                self._on_cancel()
            self._end_readers()

    def read(self, after: int = 0) -> Observable[Entry[T]]:
        """Return the entries after the id `after`, adjacent deltas merged; then the live ones, then the end.

        Past entries are emitted on the subscribing thread, live ones on the producer's. A slow reader slows the
        producer once it has caught up, not before.
        """

        def subscribe(observer: abc.ObserverBase[Entry[T]], _: abc.SchedulerBase | None) -> abc.DisposableBase:
            reader = _Reader(observer, after)
            self._catch_up(reader)
            return Disposable(lambda: self._remove(reader))

        return Observable(subscribe)

    def _catch_up(self, reader: _Reader[T]) -> None:
        """Push the entries that a new reader has missed, then add it to the readers or end it."""
        while not reader.closed:
            with self._lock:
                missing = self._history.after(reader.position)
                if not missing and self.state == "open":
                    self._readers = (*self._readers, reader)
                    return
            if not missing:
                reader.end(self._error)
            for entry in missing:
                reader.push(entry)

    def _deliver(self) -> None:
        """Push the entries that are due, also those that are appended meanwhile. Runs on one thread at a time."""
        try:
            while self._due:
                entry = self._due.popleft()
                for reader in self._readers:
                    try:
                        reader.push(entry)
                    except Exception:
                        # The other readers continue. Without any, the producer receives the exception.
                        self._remove(reader)
                        if not self._readers:
                            raise
                        report_exception()
        finally:
            self._due.clear()
            self._delivering = False
            if self.state != "open":
                self._end_readers()

    def _remove(self, reader: _Reader[T]) -> None:
        reader.closed = True
        with self._lock:
            self._readers = tuple(other for other in self._readers if other is not reader)

    def _mark_ended(self, state: LogState, error: Exception | None) -> bool:
        with self._lock:
            if self.state != "open":
                return False
            self.state, self._error = state, error
            return True

    def _end_readers(self) -> None:
        with self._lock:
            if self._delivering:  # the delivering thread calls this afterwards
                return
            readers, self._readers = self._readers, ()
        for reader in readers:
            reader.end(self._error)


class _Reader(Generic[T]):
    """One reader, and the id of its last entry."""

    __slots__ = ("closed", "observer", "position")

    def __init__(self, observer: abc.ObserverBase[Entry[T]], position: int) -> None:
        self.observer = observer
        self.position = position
        self.closed = False

    def push(self, entry: Entry[T]) -> None:
        if not self.closed and entry.id > self.position:
            self.position = entry.id
            self.observer.on_next(entry)

    def end(self, error: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            if error is None:
                self.observer.on_completed()
            else:
                self.observer.on_error(error)


class _Block(NamedTuple, Generic[T]):
    """An event, or deltas merged into one: the id of the last one, and the offset of each one's end in the text."""

    last: int
    event: T
    ends: Sequence[int]


class _History(Generic[T]):
    """All events of a log: the newest ones unmerged, the older ones merged."""

    def __init__(self) -> None:
        self.last = 0
        self._blocks: list[_Block[T]] = []
        self._raw: list[T] = []

    def add(self, event: T) -> int:
        """Add `event` and return its id."""
        if len(self._raw) >= _RAW:
            self._pack()
        self._raw.append(event)
        self.last += 1
        return self.last

    def after(self, number: int, max_chars: int | None = None) -> list[Entry[T]]:
        """Return the entries after the id `number`, adjacent deltas merged, up to about `max_chars` characters."""
        entries: list[Entry[T]] = []
        room = max_chars
        for entry in self._from(number):
            entries.append(entry)
            if room is not None and merge_key(entry.event) is not None:
                room -= len(delta_text(cast(Delta, entry.event)))
                if room <= 0:
                    break
        return _merged(entries)

    def _from(self, number: int) -> Iterator[Entry[T]]:
        """Yield the entries after `number`: from the packed blocks, then those that are not packed yet."""
        for at in range(bisect_right(self._blocks, number, key=attrgetter("last")), len(self._blocks)):
            block = self._blocks[at]
            seen = number - (block.last - len(block.ends))
            yield Entry(block.last, block.event if seen <= 0 else _rest_of(block, seen))
        packed = self.last - len(self._raw)
        for number_of in range(max(number, packed) + 1, self.last + 1):
            yield Entry(number_of, self._raw[number_of - packed - 1])

    def _pack(self) -> None:
        number = self.last - len(self._raw)
        for event, lengths in merge_runs(self._raw):
            number += len(lengths) or 1
            self._blocks.append(_Block(number, event, array("Q", accumulate(lengths)) if lengths else ()))
        self._raw.clear()


def _rest_of(block: _Block[T], seen: int) -> T:
    """Return the block's delta without its first `seen` deltas."""
    whole = cast(Delta, block.event)
    return cast(T, make_delta(cast(MergeKey, merge_key(whole)), delta_text(whole)[block.ends[seen - 1] :]))


def _merged(entries: Sequence[Entry[T]]) -> list[Entry[T]]:
    """Return the entries with neighbouring deltas of the same kind merged."""
    merged: list[Entry[T]] = []
    count = 0
    for event, lengths in merge_runs(entry.event for entry in entries):
        count += len(lengths) or 1
        merged.append(Entry(entries[count - 1].id, event))
    return merged
