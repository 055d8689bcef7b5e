"""The reader's side: a thread that follows a log from any number, through lost connections, to its end.

It keeps the number of the last event that it delivered and continues after it on a new connection. It declares a silent
producer lost only after it has itself seen for a whole lease that the lease is not held: when Redis was away and comes
back after the lease expired, the producer has time to renew it.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
import time
from collections.abc import Generator, Sequence

import msgspec
from reactivex import abc

from .._core.event_log import Entry
from .._core.stream_errors import emit_error
from .._runtime.errors import report_exception
from ..errors import APIConnectionError, LLMError, StreamError, StreamInterruptedError
from ..events import Response, TokenEvent
from ..operators._response_builder import ResponseBuilder
from ._deployment import RedisAddress
from ._lua_scripts import GET_STATE, GIVE_UP, Keys
from ._redis import Fields, RedisConnections
from ._segments import Ending, SegmentReader, ending_from_json, ending_to_json, entries_in
from .errors import ProducerLostError, StreamGoneError

_LONGEST_BLOCK = 1.0
"""Seconds that a read waits for new events."""
_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0
"""Seconds before calls to a Redis that is away; doubled with each that fails."""
_SOCKET_SECONDS = 3.0
"""Timeout of a call; longer than it blocks (`_LONGEST_BLOCK`), so that a dead connection is noticed soon."""


class LogReader(abc.DisposableBase):
    """One subscription. `after` is the number to continue after; None: only events from now on."""

    def __init__(
        self,
        address: RedisAddress,
        keys: Keys,
        observer: abc.ObserverBase[Entry[TokenEvent]],
        after: int | None,
        wait: float,
        patience: float,
        segment_reader: SegmentReader,
        *,
        joined: bool,
    ) -> None:
        self._redis = RedisConnections(address, timeout=_SOCKET_SECONDS)
        self._keys = keys
        self._observer = observer
        self._after = after
        self._from_start = after == 0
        self._lease = wait
        """Seconds for which the lease must not be held before the producer counts as lost."""
        self._patience = patience
        self._segment_reader = segment_reader
        self._joined = joined
        self._answer = ResponseBuilder()
        self._unheld_since: float | None = None
        """Since when each check has found that no producer holds the lease; None while one does."""
        self._away_since: float | None = None
        """Since when all calls to Redis have failed; None after one that did not."""
        self._delay = _FIRST_RETRY
        """Seconds before the next call after one that failed."""
        self._is_end_due = False
        """Redis has said that the stream has ended: its end is read next, or is gone."""
        self._disposed = threading.Event()
        self._error: LLMError | None = None
        """The error that the stream ends with."""

    def start(self) -> LogReader:
        """Start the reading thread."""
        context = contextvars.copy_context()
        name = f"rxllm-relay-read-{next(_numbers)}"
        threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()
        return self

    def dispose(self) -> None:
        """Deliver nothing more, and close the connection. Thread-safe."""
        self._disposed.set()
        self._redis.close()

    def _run(self) -> None:
        """Deliver the log until it ends or fails, or the reader is closed. Runs on the reading thread."""
        on_next = self._observer.on_next
        try:
            for batch in self._batches():
                for entry in batch:
                    if self._disposed.is_set():
                        return
                    on_next(entry)
            if self._disposed.is_set():
                return
            if self._error is None:
                self._observer.on_completed()
            else:
                if self._error.partial is None:
                    self._error.partial = self._partial()
                emit_error(self._observer, self._error)
        except Exception:  # raised by the subscriber
            report_exception()
        finally:
            self._redis.close()

    def _batches(self) -> Generator[Sequence[Entry[TokenEvent]], None, None]:
        """Yield the events, segment by segment, until the end; set `_error` if it is an error."""
        try:
            yield from self._segments()
        except LLMError as error:
            self._error = error
        except Exception as error:  # a connection that `dispose` closes can fail with any error
            self._error = StreamError(f"the log could not be read: {type(error).__name__}: {error}")

    def _segments(self) -> Generator[Sequence[Entry[TokenEvent]], None, None]:
        """Yield the events of each segment until the end. Raises the error that the stream ends with."""
        while not self._disposed.is_set():
            rows: list[Fields] = []
            try:
                if self._after is not None:
                    block = 0.001 if self._is_end_due else min(_LONGEST_BLOCK, self._lease / 4)
                    rows = self._redis.read(self._keys.log, f"{self._after}-0", block)
                if not rows:
                    self._check_state()
            except APIConnectionError as error:
                self._wait_for_redis(error)
                continue
            self._away_since, self._delay = None, _FIRST_RETRY
            if rows:
                self._unheld_since = None
            for row in rows:
                if (ending := row.get(b"end")) is not None:
                    _raise_if_failed(ending_from_json(ending))
                    return
                yield self._entries(row)

    def _entries(self, row: Fields) -> list[Entry[TokenEvent]]:
        """Return the new events in a row of the log."""
        assert self._after is not None
        try:
            entries = list(entries_in(row[b"frame"], self._after, self._segment_reader, joined=self._joined))
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise StreamError(f"the stream's log has an entry that rxllm did not write: {error}") from error
        for entry in entries:
            self._answer.add(entry.event)
            self._after = entry.id
        return entries

    def _check_state(self) -> None:
        """Ask Redis, after a silence, whether the stream is still open and its producer alive."""
        state, last, lease, held = self._redis.call(GET_STATE, self._keys)
        if self._after is None:  # only events from now on
            self._after = int(last)
            return
        self._lease = int(lease) / 1000 or self._lease
        if state not in (b"open", b""):
            if self._is_end_due:
                raise StreamGoneError(f"the stream ended with event {int(last)}, before event {self._after}")
            self._is_end_due = True  # the end was written after the last read, and is read next
        elif held:
            self._unheld_since = None
        elif self._unheld_since is None:
            self._unheld_since = time.monotonic()
        elif time.monotonic() - self._unheld_since >= self._lease:
            if not state:
                raise StreamGoneError("there is no stream with this id: it is not published yet, or no longer kept")
            self._give_up(time.monotonic() - self._unheld_since - self._lease)

    def _give_up(self, seconds_past_lease: float) -> None:
        """End the stream for all readers. A replica cannot do so: there, only this reader ends, after `patience`."""
        lost = Ending("failed", lost=True)
        try:
            self._redis.call(GIVE_UP, self._keys, ending_to_json(lost))
        except APIConnectionError:
            if seconds_past_lease >= self._patience:
                _raise_if_failed(lost)

    def _wait_for_redis(self, error: APIConnectionError) -> None:
        """Sleep after a failed call, longer each time, or raise `error` if Redis is away for `patience` seconds."""
        if self._disposed.is_set():
            return
        now = time.monotonic()
        self._unheld_since = None  # the producer could not renew its lease either: it has a whole lease of time again
        self._away_since = self._away_since or now
        if now - self._away_since >= self._patience:
            raise error
        self._disposed.wait(self._delay)
        self._delay = min(self._delay * 2, _LAST_RETRY)

    def _partial(self) -> Response:
        """Return the answer so far: everything that is kept, not only what this reader wanted."""
        if self._from_start:
            return self._answer.response()
        answer, after = ResponseBuilder(), 0
        try:
            while frames := self._frames(after):
                for frame in frames:
                    for entry in entries_in(frame, after, self._segment_reader):
                        answer.add(entry.event)
                        after = entry.id
        except LLMError:
            return self._answer.response()
        return answer.response()

    def _frames(self, after: int) -> list[bytes]:
        return [row[b"frame"] for row in self._redis.read(self._keys.log, f"{after}-0") if b"frame" in row]


def _raise_if_failed(ending: Ending) -> None:
    if ending.lost:
        raise ProducerLostError("the stream's producer was lost: it did not renew its lease")
    if ending.state == "cancelled":
        raise StreamInterruptedError("the stream was cancelled", transient=False)
    if ending.error is not None:
        raise ending.error.to_error()


_numbers = itertools.count(1)
