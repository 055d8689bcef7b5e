"""`RedisLog`: the log interface of `_core.event_log` on Redis Streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import cast

from reactivex import Observable, abc

from .._core.awaitable import AwaitableObservable
from .._core.error_format import ErrorRecord
from .._core.event_log import Entry, LogState
from ..errors import ConfigurationError
from ..events import TokenEvent
from ._deployment import RedisAddress
from ._lua_scripts import CANCEL, GET_STATE, Keys, Script
from ._reader import LogReader
from ._redis import SharedConnections
from ._segments import Ending, ending_to_json, segment_reader
from ._writer import LogWriter, PublishOptions
from .errors import StreamGoneError

_CANCELLED = Ending("cancelled")


class RedisLog:
    """The log of one stream. Any process may `read` and `cancel` it; the one that `claim`s it appends.

    Constructing it connects to nothing.

    Args:
        id: The stream's id.
        redis: A client or a URL, as for `publish`.
        prefix: First part of the keys in Redis.
        wait: Seconds that a reader waits for a stream that is not published yet.
        patience: Seconds that a reader waits for a Redis that is away or not ready.
        events: Type of the entries, if they are not only token events: `AssistantEvent`.

    Raises:
        ValueError: The id is empty.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name
        redis: RedisAddress,
        *,
        prefix: str = "rxllm",
        wait: float = 10.0,
        patience: float = 60.0,
        events: object = TokenEvent,
    ) -> None:
        if not id:
            raise ValueError("a stream is published under an id; got an empty one")
        self.id = id
        self._address = redis
        self._keys = Keys.of(id, prefix)
        self._channel = f"{prefix}:stops"
        self._wait = wait
        self._patience = patience
        self._decoder = segment_reader(events)
        self._writer: LogWriter | None = None
        """What this process writes the log with; None unless it has claimed it."""

    @property
    def state(self) -> LogState:
        """Whether and how the stream ended; asks Redis. Raises `StreamGoneError` if there is none."""
        found = self.look()
        if found is None:
            raise StreamGoneError(f"there is no stream {self.id!r}")
        return found[0]

    def look(self) -> tuple[LogState, int] | None:
        """Return the stream's state and its last number, or None if there is no such stream. Asks Redis."""
        state, last, *_ = self._call(GET_STATE)
        if not isinstance(state, bytes) or not state:
            return None
        return cast(LogState, state.decode()), int(last)

    def claim(self, on_cancel: Callable[[], None], options: PublishOptions | None = None) -> LogWriter:
        """Become the producer: after this, `append`, `close` and `abandon` write to the log. Asks Redis once.

        Args:
            on_cancel: Called once, on the writer's thread, if a cancellation or a failure ends the log before `close`.
            options: How the stream is written and kept; default: `PublishOptions()`.

        Raises:
            StreamTakenError: Another producer has, or had, the id.
            APIConnectionError: Redis is not reachable.
        """
        options = options or PublishOptions(patience=self._patience)
        self._writer = LogWriter(self._address, self._keys, self._channel, options)  # claims the id in Redis, or raises
        self._writer.start(on_cancel)
        return self._writer

    def append(self, event: TokenEvent) -> int:
        """Add `event`, which is written with the next segment; return its number.

        Args:
            event: A token event, or one of the type `events`.
        """
        return self._claimed().append(event)

    def close(self, error: Exception | None = None) -> None:
        """End the log after the events that were appended.

        Args:
            error: The error that it failed with; None if it completed.
        """
        ending = Ending("completed") if error is None else Ending("failed", ErrorRecord.of(error))
        self._claimed().close(ending)

    def abandon(self) -> None:
        """Cancel the log if this process produces it. Does not wait for Redis."""
        if self._writer is not None:
            self._writer.close(_CANCELLED)

    def cancel(self) -> None:
        """End the log for all readers and make its producer stop; asks Redis. Does nothing once it has ended.

        Raises:
            StreamGoneError: There is no such stream.
        """
        if self._call(CANCEL, ending_to_json(_CANCELLED), self._channel) == [-1]:
            raise StreamGoneError(f"there is no stream {self.id!r}")

    def read(self, after: int | None = 0, *, joined: bool = True) -> Observable[Entry[TokenEvent]]:
        """Return the entries after a number, then the live ones, then the end.

        They are emitted on a thread of the subscription. Disposing closes its connection.

        Args:
            after: Number of the event to continue after; None: only events from now on.
            joined: Merge adjacent deltas; else each event arrives as it was appended, with its own number.
        """

        def subscribe(observer: abc.ObserverBase[Entry[TokenEvent]], _: abc.SchedulerBase | None) -> abc.DisposableBase:
            reading = LogReader(
                self._address, self._keys, observer, after, self._wait, self._patience, self._decoder, joined=joined
            )
            return reading.start()

        return AwaitableObservable(subscribe)

    def _call(self, script: Script, *arguments: str | bytes) -> list[bytes | int]:
        with closing(SharedConnections(self._address)) as connections:
            return connections.call(script, self._keys, *arguments)

    def _claimed(self) -> LogWriter:
        if self._writer is None:
            raise ConfigurationError("only the producer of a log may append: call claim() first")
        return self._writer
