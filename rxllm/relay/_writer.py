"""The producer's side: a thread that carries events to Redis, a frame at a time.

Appending costs the stream's thread an append to a deque, and one wake-up a frame. What Redis has
not acknowledged is sent again, and what it has lost (a restart from an older copy, or from none)
is replayed: frames are kept here as long as there. Each call renews the lease; when there
is nothing to send, one is made three times per lease.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import secrets
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from .._core.error_format import ErrorRecord
from .._core.event_log import LogState
from ..errors import APIConnectionError, LLMError, StreamError, StreamInterruptedError
from ..events import StreamReset, TokenEvent
from ._channel_listener import listen
from ._lua_scripts import CLAIM, WRITE, Keys
from ._redis import RedisAddress, RedisConnections
from ._segments import Ending, Segment, ending_to_json, segment_of
from .errors import ProducerLostError, StreamTakenError

log = logging.getLogger("rxllm")

_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0
_EXIT_SECONDS = 1.0


class PublishOptions(msgspec.Struct, frozen=True):
    """How a stream is produced and kept; seconds, and frames."""

    frame: float = 1 / 30
    lease: float = 10.0
    keep: float = 3600.0
    max_frames: int = 10_000
    patience: float = 60.0
    take_over: bool = False

    def __post_init__(self) -> None:
        for name in ("lease", "keep", "max_frames", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)!r}")
        if self.frame < 0:
            raise ValueError(f"frame must not be below 0; got {self.frame!r}")
        if self.keep < self.lease:
            raise ValueError(f"keep={self.keep!r} is shorter than lease={self.lease!r}: the stream would not last")


class LogWriter:
    """The producer of one stream. `stop` is called once, on the writer's thread, if the log ends before the stream."""

    def __init__(self, address: RedisAddress, keys: Keys, channel: str, options: PublishOptions) -> None:
        self.state: LogState = "open"
        self.error: LLMError | None = None
        self.ended = threading.Event()
        self._stop: Callable[[], None] = _nothing
        self._redis = RedisConnections(address)
        self._keys = keys
        self._options = options
        self._token = secrets.token_hex(16)
        self._pending: deque[TokenEvent] = deque()
        self._count = 0
        """The number of the last event that was appended."""
        self._ending: Ending | None = None
        self._segments: list[Segment] = []
        self._gathered = 0
        """The number of the last event that is in a frame."""
        self._acknowledged = 0
        self._sleeping = False
        self._wake = threading.Event()
        self._urgent = threading.Event()
        """There is an end, or a stop, that is not to wait for the next frame."""
        self._closing = threading.Lock()
        try:
            found = self._claim(0, take_over=options.take_over)
        except BaseException:
            self._redis.close()
            raise
        self._count = self._gathered = self._acknowledged = found
        if found:
            self.append(StreamReset("the producer was lost, and another began again"))
        self._leave = listen(address, self._redis.name, channel, keys.state, self._hurry)

    def start(self, stop: Callable[[], None]) -> None:
        """Begin to carry what is appended; call `stop` if nobody wants more."""
        self._stop = stop
        _live.add(self)
        threading.Thread(target=self._run, name=f"rxllm-relay-write-{next(_numbers)}", daemon=True).start()

    def append(self, event: TokenEvent) -> int:
        """Add an event; its number. Nothing happens once the log has ended."""
        if self._ending is not None or self.state != "open":
            return self._count
        self._count += 1
        self._pending.append(event)
        if self._sleeping:
            self._wake.set()
        return self._count

    def close(self, ending: Ending) -> None:
        """End the log after what was appended; from any thread, and only once."""
        with self._closing:
            if self._ending is not None:
                return
            self._ending = ending
        self._hurry()

    def _hurry(self) -> None:
        self._urgent.set()
        self._wake.set()

    def _claim(self, start: int, *, take_over: bool = False) -> int:
        """Become the producer, or still be it; the number of the log's last event, `start` if Redis knows of none."""
        lease, keep = _milliseconds(self._options.lease), _milliseconds(self._options.keep)
        state, last = self._redis.call(CLAIM, self._keys, self._token, lease, keep, start, "1" if take_over else "")
        if state != b"open":
            raise StreamTakenError("another producer has, or has had, this id; give each stream an id of its own")
        return int(last)

    def _run(self) -> None:
        try:
            while self.state == "open":
                self._rest()
                self._send()
        except LLMError as error:
            self._fail(error)
        except Exception as error:
            self._fail(StreamError(f"an event could not be published: {type(error).__name__}: {error}"))
            with suppress(LLMError):
                self._write(None, Ending("failed", ErrorRecord.of(error)))
        finally:
            self._leave()
            self._redis.close()
            _live.discard(self)
            self._segments.clear()
            self._pending.clear()
            if self._ending is None:
                self._stop()
            self.ended.set()

    def _fail(self, error: LLMError) -> None:
        self.error, self.state = error, "failed"
        log.warning("a stream is no longer published: %s", error)

    def _rest(self) -> None:
        """Until there is something to send, or the lease is to be renewed."""
        self._wake.clear()
        self._sleeping = True
        if not self._pending and not self._urgent.is_set():
            self._wake.wait(self._options.lease / 3)
        self._sleeping = False

    def _send(self) -> None:
        """Send what came, or renew the lease; the end once nothing is left before it. Takes a frame's time."""
        self._urgent.clear()
        ending = self._gather()
        idle = self._acknowledged >= self._gathered
        while self.state == "open":
            at = bisect_right(self._segments, self._acknowledged, key=_last_of)
            frame = self._segments[at] if at < len(self._segments) else None
            self._heed(*self._write(frame, ending if at + 1 >= len(self._segments) else None))
            if ending is None and self._acknowledged >= self._gathered:
                break
        if not idle and self.state == "open":
            self._urgent.wait(self._options.frame)

    def _gather(self) -> Ending | None:
        """Make a frame of what came; the ending, if that was all."""
        ending = self._ending  # read first: nothing is appended after it
        events = [self._pending.popleft() for _ in range(len(self._pending))]
        if events:
            frame = segment_of(events, self._gathered)
            self._gathered = frame.last
            self._segments.append(frame)
            if len(self._segments) > self._options.max_frames and self._segments[0].last <= self._acknowledged:
                del self._segments[0]
        return ending

    def _write(self, frame: Segment | None, ending: Ending | None) -> tuple[str, int]:
        """Send, again while there is no connection; the stream's state in Redis, and the number of its last event."""
        before, last, payload = frame or Segment(self._acknowledged, self._acknowledged, b"")
        closing = ("", b"") if ending is None else (ending.state, ending_to_json(ending))
        arguments = (self._token, before, last, payload, self._options.max_frames, *closing)
        pause, give_up_at = _FIRST_RETRY, 0.0
        while True:
            try:
                state, number = self._redis.call(WRITE, self._keys, *arguments)
            except APIConnectionError:
                now = time.monotonic()
                give_up_at = give_up_at or now + self._options.patience
                if now >= give_up_at:
                    raise
                if ending is None:
                    self._gather()  # what comes meanwhile is kept joined
                time.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY, self._options.lease / 4)
            else:
                return _text_of(state), int(number)

    def _heed(self, said: str, last: int) -> None:
        """Act on the state that Redis tells."""
        match said:
            case "open":
                self._acknowledged = last
            case "behind":
                # It came back with less than it had acknowledged.
                self._acknowledged = last
                if not any(frame.before == last for frame in self._segments):
                    raise StreamError("Redis has lost more of the stream than its producer keeps")
            case "unknown":
                # It came back with nothing: without a copy on disk, or flushed.
                with suppress(APIConnectionError):
                    self._acknowledged = self._claim(self._segments[0].before if self._segments else self._acknowledged)
            case "taken":
                raise StreamTakenError("another producer has taken the stream over")
            case "completed" | "cancelled":
                self.state = said
            case _:
                if self._ending is None or self._ending.state != "failed":
                    raise ProducerLostError("the lease was not renewed in time, and the stream was given up")
                self.state = "failed"


_live: set[LogWriter] = set()
_numbers = itertools.count(1)


def _last_of(frame: Segment) -> int:
    return frame.last


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _text_of(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _nothing() -> None:
    pass


@atexit.register
def _end_live_streams() -> None:
    """Tell the readers when the interpreter ends, rather than let the leases run out."""
    writers = list(_live)
    failure = ErrorRecord.of(StreamInterruptedError("the process that published the stream has ended"))
    for writer in writers:
        writer.close(Ending("failed", failure))
    deadline = time.monotonic() + _EXIT_SECONDS
    for writer in writers:
        writer.ended.wait(max(0.0, deadline - time.monotonic()))
