"""Publishing a stream, following it and stopping it: what most programs need of the relay."""

from __future__ import annotations

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable

from .._core.event_log import Entry, LogState
from ..errors import LLMError
from ..events import TokenEvent
from ._deployment import RedisAddress
from ._segments import Ending
from ._writer import PublishOptions
from .log import RedisLog


def publish(
    stream: Observable[TokenEvent],
    id: str,  # noqa: A002 - the field's name
    *,
    redis: RedisAddress,
    frame: float = 1 / 30,
    lease: float = 10.0,
    keep: float = 3600.0,
    max_frames: int = 10_000,
    patience: float = 60.0,
    take_over: bool = False,
    prefix: str = "rxllm",
) -> Publication:
    """Subscribe to `stream`, and carry it to Redis under `id`, for `subscribe` in any process.

    What comes within a `frame` (seconds) is one entry, its deltas joined. A producer that is not
    heard of for `lease` seconds is given up. The stream is kept for `keep` seconds after its last
    event, at most `max_frames` entries of it (about). Without Redis it goes on for `patience`
    seconds; what was not acknowledged is sent when Redis is back. `take_over` goes on with an id
    whose producer is lost, after a `StreamReset`; readers see one stream.

    The id is claimed first, on the calling thread, so an id that is taken costs no request: raises
    `StreamTakenError` there, `APIConnectionError` where Redis is not to be reached.
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
    """The stream that is published under `id`: all of it, or what follows the event `last_id`, or what comes from now.

    A lost connection to Redis is made again for `patience` seconds, and nothing is missed or comes
    twice. Ends as the stream does; with `StreamInterruptedError` where it was cancelled,
    `ProducerLostError` where its producer is gone, both with the whole `partial`; `StreamGoneError`
    where nothing is published within `wait` seconds, or events asked for are no longer kept;
    `APIConnectionError` where Redis stays away. Each subscription has a thread and a
    connection: `broadcast` shares one among many. `RedisLog.read` is the same, with the ids.
    """
    after = last_id if last_id is not None else (0 if from_start else None)
    return RedisLog(id, redis, prefix=prefix, wait=wait, patience=patience).read(after).pipe(rx.map(_event_of))


def cancel(id: str, *, redis: RedisAddress, prefix: str = "rxllm") -> None:  # noqa: A002 - the field's name
    """Stop the stream `id`, from any process: its producer disposes the upstream, and all readers end.

    Nothing happens to a stream that has ended. Raises `StreamGoneError` where there is none.
    """
    RedisLog(id, redis, prefix=prefix).cancel()


class Publication(abc.DisposableBase):
    """A stream on its way to Redis. Made by `publish`."""

    def __init__(self, log: RedisLog, stream: Observable[TokenEvent], options: PublishOptions) -> None:
        self.id = log.id
        self._upstream = SingleAssignmentDisposable()
        self._writer = log.claim(self._upstream.dispose, options)

        def append(event: TokenEvent) -> None:
            log.append(event)

        self._upstream.disposable = stream.subscribe(append, log.close, log.close)

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended in Redis, as far as this process knows."""
        return self._writer.state

    @property
    def error(self) -> LLMError | None:
        """Why it is published no more, where that is not the stream's own end: it was given up, Redis stayed away."""
        return self._writer.error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until Redis has everything and the end; whether that is over.

        A process that ends before ends the stream: its readers get an error.
        """
        return self._writer.ended.wait(timeout)

    def dispose(self) -> None:
        """Stop, without waiting: the upstream is disposed, and all readers end as with `cancel`."""
        self._upstream.dispose()
        self._writer.close(Ending("cancelled"))


def _event_of(entry: Entry[TokenEvent]) -> TokenEvent:
    return entry.event
