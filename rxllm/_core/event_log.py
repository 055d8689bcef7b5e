"""A stream as an append log: one producer appends, any number of readers read from where they like.

Events have ids that count up from 1. `read(after)` gives what came after that id, at once and in
few pieces, and then what comes live; a reader that was cut off goes on after the last id it saw.
The log ends once: it was completed, it failed, or a reader cancelled it; all readers end alike,
whenever they come. `broadcast` and the web server stand on it, and a log in another process
keeps the same promises.
"""

from __future__ import annotations

import sys
import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from ..errors import StreamInterruptedError
from .delta_merge import Delta, Kind, coalesced, delta_of, kind_of, piece_of

T = TypeVar("T")

LogState: TypeAlias = Literal["open", "completed", "failed", "cancelled"]

_RAW = 256
"""How many of the newest events are kept as they came; older ones are joined."""


class Entry(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """An event and the id to go on after. A delta may stand for several, `id` being the last one's."""

    id: int
    event: T


class Log(Protocol[T]):
    """What a log does, wherever it is kept. `append` and `close` are called by one producer, one at a time."""

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended."""
        ...

    def append(self, event: T) -> int:
        """Add `event` and return its id; once the log has ended, nothing happens."""
        ...

    def close(self, error: Exception | None = None) -> None:
        """End the log: completed, or failed with `error`; once it has ended, nothing happens."""
        ...

    def read(self, after: int = 0) -> Observable[Entry[T]]:
        """What came after the id `after`, neighbouring deltas joined, then what comes, then the end.

        The past comes on the subscribing thread, the rest on the producer's. A slow reader that is
        up to date slows the producer, one that is still behind does not.
        """
        ...

    def cancel(self) -> None:
        """Ask the producer to stop, from any thread; readers end with a `StreamInterruptedError`."""
        ...


class MemoryLog(Generic[T]):
    """A log in this process. `on_cancel` is called, once, when a reader cancels.

    >>> log = MemoryLog[str]()
    >>> log.append("a"), log.append("b")
    (1, 2)
    >>> _ = log.read(after=1).subscribe(print)
    Entry(id=2, event='b')
    >>> _ = log.append("c")
    Entry(id=3, event='c')
    """

    def __init__(self, on_cancel: Callable[[], None] | None = None) -> None:
        self._on_cancel = on_cancel
        self._history = _History[T]()
        self._readers: tuple[_Reader[T], ...] = ()
        """Those that are up to date; never changed, but replaced."""
        self._state: LogState = "open"
        self._error: Exception | None = None
        self._lock = threading.Lock()
        """Guards the above; never held while a reader is called."""
        self._due: deque[Entry[T]] = deque()
        self._delivering = False

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended."""
        return self._state

    def append(self, event: T) -> int:
        """Add `event`, and pass it on to the readers. What a sole reader raises is raised here."""
        with self._lock:
            if self._state != "open":
                return self._history.last
            number = self._history.add(event)
            entry = Entry(number, event)
            if self._delivering:  # called from inside a reader: its turn comes after what is under way
                self._due.append(entry)
                return number
            self._delivering = True
            readers = self._readers
        self._deliver(entry, readers)
        return number

    def after(self, number: int, most: int | None = None) -> list[Entry[T]]:
        """What is there after the id `number`, neighbouring deltas joined; of more than `most` characters the first."""
        with self._lock:
            return self._history.after(number, most)

    def close(self, error: Exception | None = None) -> None:
        """End the log: completed, or failed with `error`."""
        if self._mark_ended("completed" if error is None else "failed", error):
            self._end_readers()

    def cancel(self) -> None:
        """End the log, and call `on_cancel`."""
        if self._mark_ended("cancelled", StreamInterruptedError("the stream was cancelled", transient=False)):
            if self._on_cancel is not None:
                self._on_cancel()
            self._end_readers()

    def read(self, after: int = 0) -> Observable[Entry[T]]:
        """What came after the id `after`, then what comes, then the end."""

        def subscribe(observer: abc.ObserverBase[Entry[T]], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            reader = _Reader(observer, after)
            self._catch_up(reader)
            return Disposable(lambda: self._remove(reader))

        return Observable(subscribe)

    def _catch_up(self, reader: _Reader[T]) -> None:
        while not reader.closed:
            with self._lock:
                missing = self._history.after(reader.position)
                if not missing and self._state == "open":
                    self._readers = (*self._readers, reader)
                    return
            if not missing:
                self._end_reader(reader)
            for entry in missing:
                reader.push(entry)

    def _deliver(self, entry: Entry[T], readers: tuple[_Reader[T], ...]) -> None:
        try:
            while True:
                for reader in readers:
                    try:
                        reader.push(entry)
                    except Exception:
                        # The others go on; where there are none, the producer is told.
                        self._remove(reader)
                        if not self._readers:
                            raise
                        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
                if not self._due:
                    break
                entry, readers = self._due.popleft(), self._readers
        finally:
            self._due.clear()
            self._delivering = False
        if self._state != "open":
            self._end_readers()

    def _remove(self, reader: _Reader[T]) -> None:
        reader.closed = True
        with self._lock:
            self._readers = tuple(other for other in self._readers if other is not reader)

    def _mark_ended(self, state: LogState, error: Exception | None) -> bool:
        with self._lock:
            if self._state != "open":
                return False
            self._state, self._error = state, error
            return True

    def _end_readers(self) -> None:
        with self._lock:
            if self._delivering:  # whoever delivers comes here afterwards
                return
            readers, self._readers = self._readers, ()
        for reader in readers:
            self._end_reader(reader)

    def _end_reader(self, reader: _Reader[T]) -> None:
        if reader.closed:
            return
        reader.closed = True
        if self._error is None:
            reader.observer.on_completed()
        else:
            reader.observer.on_error(self._error)


class _Reader(Generic[T]):
    """One reader and how far it is."""

    __slots__ = ("closed", "observer", "position")

    def __init__(self, observer: abc.ObserverBase[Entry[T]], position: int) -> None:
        self.observer = observer
        self.position = position
        self.closed = False

    def push(self, entry: Entry[T]) -> None:
        if not self.closed and entry.id > self.position:
            self.position = entry.id
            self.observer.on_next(entry)


class _Block(NamedTuple, Generic[T]):
    """An event, or deltas joined into one: the id of the last, and where each of them ended in the whole."""

    last: int
    event: T
    ends: Sequence[int]


class _History(Generic[T]):
    """All events of a log: the newest as they came, the older ones joined so that little but their text is kept."""

    def __init__(self) -> None:
        self.last = 0
        self._blocks: list[_Block[T]] = []
        self._raw: list[T] = []

    def add(self, event: T) -> int:
        """The id that `event` gets."""
        if len(self._raw) >= _RAW:
            self._pack()
        self._raw.append(event)
        self.last += 1
        return self.last

    def after(self, number: int, most: int | None = None) -> list[Entry[T]]:
        """What came after the event `number`, neighbouring deltas joined; of more than `most` characters the first."""
        entries: list[Entry[T]] = []
        room = most
        for entry in self._from(number):
            entries.append(entry)
            if room is not None and kind_of(entry.event) is not None:
                room -= len(piece_of(cast(Delta, entry.event)))
                if room <= 0:
                    break
        return _joined(entries)

    def _from(self, number: int) -> Iterator[Entry[T]]:
        for at in range(bisect_right(self._blocks, number, key=_last_of), len(self._blocks)):
            block = self._blocks[at]
            seen = number - (block.last - len(block.ends))
            yield Entry(block.last, block.event if seen <= 0 else _rest_of(block, seen))
        packed = self.last - len(self._raw)
        for number_of in range(max(number, packed) + 1, self.last + 1):
            yield Entry(number_of, self._raw[number_of - packed - 1])

    def _pack(self) -> None:
        number = self.last - len(self._raw)
        for kind, group in groupby(self._raw, kind_of):
            events = list(group)
            if kind is None:
                self._blocks.extend(_Block(number + n, event, ()) for n, event in enumerate(events, 1))
            else:
                ends = array("Q", accumulate(len(piece_of(cast(Delta, event))) for event in events))
                self._blocks.append(_Block(number + len(events), coalesced(events)[0], ends))
            number += len(events)
        self._raw.clear()


def _last_of(block: _Block[T]) -> int:
    return block.last


def _rest_of(block: _Block[T], seen: int) -> T:
    """The block's delta without its first `seen` pieces."""
    whole = cast(Delta, block.event)
    return cast(T, delta_of(cast(Kind, kind_of(whole)), piece_of(whole)[block.ends[seen - 1] :]))


def _joined(entries: Sequence[Entry[T]]) -> list[Entry[T]]:
    joined: list[Entry[T]] = []
    for kind, group in groupby(entries, lambda entry: kind_of(entry.event)):
        if kind is None:
            joined.extend(group)
        else:
            run = list(group)
            joined.append(Entry(run[-1].id, coalesced(entry.event for entry in run)[0]))
    return joined
