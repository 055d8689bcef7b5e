"""Publish, follow and cancel a stream: what most programs need of the relay."""

from __future__ import annotations

from operator import attrgetter

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable

from .._core.event_log import LogState
from ..errors import LLMError
from ..events import TokenEvent
from ._deployment import RedisAddress
from ._writer import PublishOptions
from .log import RedisLog


def publish(
    stream: Observable[TokenEvent],
    id: str,  # noqa: A002 - the field's name
    *,
    redis: RedisAddress,
    frame: float = 0.0095,
    lease: float = 10.0,
    keep: float = 3600.0,
    max_frames: int = 200_000,
    patience: float = 60.0,
    take_over: bool = False,
    prefix: str = "rxllm",
) -> Publication:
    """Subscribe to `stream` and write it to Redis under `id`, for `subscribe` in any process.

    The id is claimed first, on the calling thread, so an id that is taken costs no request to the vendor. Then a thread
    writes the events.

    Args:
        stream: The stream; it is subscribed to once.
        id: The stream's id. Never use an id again.
        redis: A client of redis-py (also `Sentinel.master_for(..)` and `RedisCluster`), or a URL: "redis://host:6379/0",
            "redis+sentinel://host:26379,host2:26379/SERVICE/0", "redis+cluster://host:6379".
        frame: Seconds between two entries of the log, on average at least. Events that arrive faster are collected for
            the next entry, adjacent deltas merged; they wait for at most twice as long. At most a quarter of
            `lease`.
        lease: Seconds after which a silent producer counts as lost.
        keep: Seconds that the stream is kept after its last event.
        max_frames: Entries of the log that are kept, about; readers that need older ones get `StreamGoneError`. At one
            entry per `frame` the default lasts 31 minutes. An entry takes about 100 bytes.
        patience: Seconds that the producer continues without Redis; then it sends what was not acknowledged.
        take_over: Continue an id whose producer was lost, after a `StreamReset`; readers see one stream.
        prefix: First part of the keys in Redis.

    Returns:
        The publication: its state, and `dispose` to cancel it.

    Raises:
        StreamTakenError: Another producer has, or had, the id.
        APIConnectionError: Redis is not reachable.
        PermissionDeniedError: Redis refused the credentials.
    """
    options = PublishOptions(frame, lease, keep, max_frames, patience, take_over)
    return Publication(RedisLog(id, redis, prefix=prefix), stream, options)


def subscribe(
    id: str,  # noqa: A002 - the field's name
    *,
    redis: RedisAddress,
    from_start: bool = True,
    last_id: int | None = None,
    wait: float = 10.0,
    patience: float = 60.0,
    prefix: str = "rxllm",
) -> Observable[TokenEvent]:
    """Return the stream that is published under `id`.

    It ends as the published stream does; with `StreamInterruptedError` if it was cancelled, and `ProducerLostError` if
    its producer was lost, both with the complete `partial`; with `StreamGoneError` if nothing is published or events
    are no longer kept; with `APIConnectionError` if Redis stays away. After a lost connection no event is missing or
    repeated. Each subscription has a thread, on which it emits, and a connection; `broadcast` shares one among many
    subscribers. `RedisLog.read` is the same with ids.

    Args:
        id: The stream's id.
        redis: A client or a URL, as for `publish`.
        from_start: Emit the stream from its beginning; else only events from now on.
        last_id: Number of the event to continue after, from 1; default: as `from_start` says.
        wait: Seconds to wait for a stream that is not published yet.
        patience: Seconds to wait for a Redis that is away or not ready.
        prefix: First part of the keys in Redis.
    """
    after = last_id if last_id is not None else (0 if from_start else None)
    return (
        RedisLog(id, redis, prefix=prefix, wait=wait, patience=patience).read(after).pipe(rx.map(attrgetter("event")))
    )


def cancel(id: str, *, redis: RedisAddress, prefix: str = "rxllm") -> None:  # noqa: A002 - the field's name
    """Cancel the stream `id` from any process: its producer disposes the upstream, and all readers end.

    Does nothing to a stream that has ended.

    Args:
        id: The stream's id.
        redis: A client or a URL, as for `publish`.
        prefix: First part of the keys in Redis.

    Raises:
        StreamGoneError: There is no such stream.
        APIConnectionError: Redis is not reachable.
    """
    RedisLog(id, redis, prefix=prefix).cancel()


class Publication(abc.DisposableBase):
    """A stream that this process writes to Redis; returned by `publish`.

    Args:
        log: The log to write to.
        stream: The stream to subscribe to.
        options: How it is written and kept.
    """

    def __init__(self, log: RedisLog, stream: Observable[TokenEvent], options: PublishOptions) -> None:
        self.id = log.id
        self._upstream = SingleAssignmentDisposable()
        self._log = log
        self._writer = log.claim(self._upstream.dispose, options)

        def append(event: TokenEvent) -> None:
            log.append(event)

        self._upstream.disposable = stream.subscribe(append, log.close, log.close)

    @property
    def state(self) -> LogState:
        """Whether and how the stream ended in Redis, as far as this process knows."""
        return self._writer.state

    @property
    def error(self) -> LLMError | None:
        """Why publishing stopped, if not because the stream ended: the lease expired, or Redis stayed away."""
        return self._writer.error

    def wait(self, timeout: float | None = None) -> bool:
        """Block until Redis has all events and the end; return whether it has.

        If the process exits earlier, the readers get an error.

        Args:
            timeout: Seconds to wait at most; None waits without limit.
        """
        return self._writer.ended.wait(timeout)

    def dispose(self) -> None:
        """Dispose the upstream and end all readers, as `cancel` does. Does not block."""
        self._upstream.dispose()
        self._log.abandon()
