"""A stream as an append log on Redis Streams: `rxllm`'s one log, for all processes that reach the same Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from reactivex import Observable, abc

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
    """The log of the stream `id`. Anybody may `read` and `cancel`; whoever has `claim`ed it appends.

    `redis` is a `redis.Redis` or a URL. `wait` is for how many seconds a reader waits for a stream
    that nobody has published yet; `patience` for how many seconds without Redis it tries again.
    `events` is what entries are read as, where they are not only token events: `AssistantEvent`.
    Making one connects to nothing.
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
        self._pieces_of = segment_reader(events)
        self._writer: LogWriter | None = None

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended; asks Redis. Raises `StreamGoneError` where there is none."""
        found = self.look()
        if found is None:
            raise self._unknown()
        return found[0]

    def look(self) -> tuple[LogState, int] | None:
        """The stream's state and the number of its last event; None where there is no such stream. Asks Redis."""
        state, last, *_ = self._call(GET_STATE)
        if not isinstance(state, bytes) or not state:
            return None
        return cast(LogState, state.decode()), int(last)

    def claim(self, on_cancel: Callable[[], None], options: PublishOptions | None = None) -> LogWriter:
        """Become the producer, and be told by `on_cancel` if the log ends before `close`; asks Redis once.

        Raises `StreamTakenError` where somebody is, or was, and `APIConnectionError` where Redis is not there.
        """
        options = options or PublishOptions(patience=self._patience)
        self._writer = LogWriter(self._address, self._keys, self._channel, options)
        self._writer.start(on_cancel)
        return self._writer

    def append(self, event: TokenEvent) -> int:
        """Add `event`, which goes to Redis with the next frame; its number."""
        return self._claimed().append(event)

    def close(self, error: Exception | None = None) -> None:
        """End the log after what was appended: completed, or failed with `error`."""
        ending = Ending("completed") if error is None else Ending("failed", ErrorRecord.of(error))
        self._claimed().close(ending)

    def abandon(self) -> None:
        """End the log as its producer, all readers as with `cancel`; without waiting for Redis."""
        self._claimed().close(_CANCELLED)

    def cancel(self) -> None:
        """End the log for all, and have its producer stop; asks Redis. Nothing happens once it has ended.

        Raises `StreamGoneError` where there is none.
        """
        if self._call(CANCEL, ending_to_json(_CANCELLED), self._channel) == [-1]:
            raise self._unknown()

    def read(self, after: int | None = 0, *, joined: bool = True) -> Observable[Entry[TokenEvent]]:
        """What came after the number `after` (None: after now), neighbouring deltas joined, what comes, the end.

        Where they are not to be `joined`, each event comes as it was appended, and no number is left out.
        All on one thread of the subscription's own. Disposing closes its connection.
        """

        def subscribe(
            observer: abc.ObserverBase[Entry[TokenEvent]], _: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            reading = LogReader(
                self._address, self._keys, observer, after, self._wait, self._patience, self._pieces_of, joined=joined
            )
            return reading.start()

        return Observable(subscribe)

    def _call(self, script: Script, *arguments: str | bytes) -> list[bytes | int]:
        connections = SharedConnections(self._address)
        try:
            return connections.call(script, self._keys, *arguments)
        finally:
            connections.close()

    def _unknown(self) -> StreamGoneError:
        return StreamGoneError(f"nothing is known of a stream {self.id!r}")

    def _claimed(self) -> LogWriter:
        if self._writer is None:
            raise ConfigurationError("only its producer appends to a log: claim() it first")
        return self._writer
