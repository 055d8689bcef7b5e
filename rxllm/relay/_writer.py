"""The producer's side: a thread that writes events to Redis, one segment at a time.

Appending an event costs the stream's thread an append to a deque, and one wake-up per segment. Segments that Redis has
not acknowledged are sent again, and segments that it has lost (a restart from an older copy, or from none) too: the
writer keeps as many as Redis does. The lease is renewed three to six times in its length.
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
from operator import attrgetter
from typing import cast

import msgspec

from .._core.error_format import ErrorRecord
from .._core.event_log import LogState
from .._runtime.platform import after_fork
from ..errors import APIConnectionError, LLMError, StreamError, StreamInterruptedError
from ..events import StreamReset, TokenEvent
from ._channel_listener import listen
from ._deployment import RedisAddress
from ._lua_scripts import CLAIM, WRITE, Keys
from ._redis import SOCKET_SECONDS, SharedConnections, milliseconds
from ._segments import Ending, Segment, ending_to_json, segment_of
from .errors import ProducerLostError, StreamTakenError

log = logging.getLogger("rxllm")

_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0
_EXIT_SECONDS = 1.0
_LONGEST_KEEP = 1e12
"""Seconds; Redis counts milliseconds in 64 bits."""


class PublishOptions(msgspec.Struct, frozen=True):
    """How a stream is written and kept.

    Attributes:
        frame: Seconds between two entries of the log (segments), on average at least. Events that arrive faster are
            collected for the next one, adjacent deltas merged; they wait for at most twice as long.
        lease: Seconds after which a silent producer counts as lost. Calls to Redis time out after a third of it.
        keep: Seconds that the stream is kept after its last event.
        max_frames: Entries that are kept, about. A fast stream fills `1 / frame` of them per second, and an entry
            takes about 100 bytes, in Redis and in the producer.
        patience: Seconds that the producer continues without Redis.
        take_over: Continue a stream whose producer was lost.
    """

    frame: float = 0.0095
    lease: float = 10.0
    keep: float = 3600.0
    max_frames: int = 200_000
    patience: float = 60.0
    take_over: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work together."""
        for name in ("lease", "keep", "max_frames", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)!r}")
        if not isinstance(self.max_frames, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # of your arguments
            raise ValueError(f"max_frames must be a whole number; got {self.max_frames!r}")
        if self.keep > _LONGEST_KEEP:
            raise ValueError(f"keep must be at most {_LONGEST_KEEP:.0e} seconds; got {self.keep!r}")
        if not 0 <= self.frame <= self.lease / 4:
            raise ValueError(f"frame must be from 0 to a quarter of lease={self.lease!r}; got {self.frame!r}")
        if self.keep < self.lease:
            raise ValueError(f"keep={self.keep!r} is shorter than lease={self.lease!r}: the stream would not last")


class LogWriter:
    """Writes one stream. `append` is for one thread at a time; `close` is thread-safe."""

    def __init__(self, address: RedisAddress, keys: Keys, channel: str, options: PublishOptions) -> None:
        self.state: LogState = "open"
        self.error: LLMError | None = None
        self.ended = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._redis = SharedConnections(address, timeout=min(SOCKET_SECONDS, options.lease / 3))
        self._keys = keys
        self._options = options
        self._token = secrets.token_hex(16)
        self._pending: deque[TokenEvent] = deque()
        self._count = 0
        """Number of the last event that was appended."""
        self._ending: Ending | None = None
        self._segments: list[Segment] = []
        self._gathered = 0
        """Number of the last event that is in a segment."""
        self._acknowledged = 0
        self._next_at = 0.0
        """Time of `time.monotonic()` before which no further segment is sent."""
        self._renew_at = 0.0
        """Time from which the next call renews the lease."""
        self._is_fast = False
        """Whether events arrive faster than segments may be sent."""
        self._sleeping = False
        self._wake = threading.Event()
        self._wake_at = 0.0
        """Events that arrive earlier do not wake the thread."""
        self._urgent = False
        """Set for an end or a cancellation, which must not wait for the next segment."""
        self._closing = threading.Lock()
        try:
            found = self._claim(0, take_over=options.take_over)
        except BaseException:
            self._redis.close()
            raise
        self._count = self._gathered = self._acknowledged = found
        if found:
            self.append(StreamReset("the producer was lost; another one starts again"))
        self._leave = listen(address, self._redis.name, channel, keys.state, self._hurry)
        self._urgent = True  # the first call comes at once: a cancellation between the claim and this was not heard

    def start(self, stop: Callable[[], None]) -> None:
        """Start the thread; it calls `stop` once if the log ends before the stream does."""
        self._stop = stop
        _live.add(self)
        threading.Thread(target=self._run, name=f"rxllm-relay-write-{next(_numbers)}", daemon=True).start()

    def append(self, event: TokenEvent) -> int:
        """Add an event and return its number; does nothing once the log has ended."""
        if self._ending is not None or self.state != "open":
            return self._count
        self._count += 1
        self._pending.append(event)
        if self._sleeping and time.monotonic() >= self._wake_at:
            self._wake.set()
        return self._count

    def close(self, ending: Ending) -> None:
        """End the log after the events that were appended; later calls do nothing."""
        with self._closing:
            if self._ending is not None:
                return
            self._ending = ending
        self._hurry()

    def _hurry(self) -> None:
        self._urgent = True
        self._wake.set()

    def _claim(self, start: int, *, take_over: bool = False) -> int:
        """Become the producer, or stay it; return the number of the log's last event, `start` if Redis has no log."""
        lease, keep = milliseconds(self._options.lease), milliseconds(self._options.keep)
        state, last = self._redis.call(CLAIM, self._keys, self._token, lease, keep, start, "1" if take_over else "")
        if state != b"open":
            raise StreamTakenError("another producer has, or had, this id; give each stream its own id")
        return int(last)

    def _run(self) -> None:
        """Send segments until the log ends. Runs on the writer's thread."""
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
        """Block until a segment should be sent, or the lease must be renewed.

        A segment is sent with the first event that arrives at or after `_next_at`. Events that arrive earlier wait for
        it, for one more `frame` at most.
        """
        if self._is_fast:
            self._sleep(self._next_at, self._options.frame)
            self._is_fast = bool(self._pending)
        if not self._is_fast:
            self._sleep(0.0, self._options.lease / 3)
            self._is_fast = bool(self._pending) and time.monotonic() < self._next_at
            if self._is_fast:
                self._sleep(self._next_at, self._options.frame)

    def _sleep(self, wake_at: float, longest: float) -> None:
        """Block until an event arrives at or after `wake_at`, until `longest` seconds after it, or until the end."""
        self._wake.clear()
        self._wake_at, self._sleeping = wake_at, True
        now = time.monotonic()
        if not self._urgent and not (self._pending and now >= wake_at):
            self._wake.wait(max(0.0, wake_at - now) + longest)
        self._sleeping = False

    def _send(self) -> None:
        """Send the events, or renew the lease; then the end, if there is one."""
        self._urgent = False
        ending = self._gather()
        began = time.monotonic()
        while self.state == "open":
            at = bisect_right(self._segments, self._acknowledged, key=attrgetter("last"))
            segment = self._segments[at] if at < len(self._segments) else None
            self._heed(*self._write(segment, ending if at + 1 >= len(self._segments) else None))
            if ending is None and self._acknowledged >= self._gathered:
                break
        self._next_at = max(self._next_at + self._options.frame, began)  # a delay of one segment is made up by the next

    def _gather(self) -> Ending | None:
        """Make a segment of the pending events; return the ending if nothing follows them."""
        ending = self._ending  # read first: no event is appended after it
        events = [self._pending.popleft() for _ in range(len(self._pending))]
        if events:
            segment = segment_of(events, self._gathered)
            self._gathered = segment.last
            self._segments.append(segment)
            if len(self._segments) > self._options.max_frames and self._segments[0].last <= self._acknowledged:
                del self._segments[0]
        return ending

    def _write(self, segment: Segment | None, ending: Ending | None) -> tuple[str, int]:
        """Send a segment and the ending, if any; repeat while Redis is away, for `patience` seconds.

        Without a segment the call renews the lease. Returns the stream's state in Redis and its last event's number.
        """
        before, last, payload = segment or Segment(self._acknowledged, self._acknowledged, b"")  # one that adds nothing
        ending_of_log = ("", b"") if ending is None else (ending.state, ending_to_json(ending))
        delay, give_up_at = _FIRST_RETRY, 0.0
        while True:
            began = time.monotonic()
            renew = int(segment is None or began >= self._renew_at)
            arguments = (self._token, before, last, payload, self._options.max_frames, renew, *ending_of_log)
            try:
                state, number = self._redis.call(WRITE, self._keys, *arguments)
                if state == b"unknown":  # Redis restarted empty, was flushed, or evicted the key
                    first = self._segments[0].before if self._segments else self._acknowledged
                    state, number = b"open", self._claim(first)  # may fail for as long as a write
            except APIConnectionError:
                now = time.monotonic()
                give_up_at = give_up_at or now + self._options.patience
                if now >= give_up_at:
                    raise
                if ending is None:
                    self._gather()  # events that arrive meanwhile are kept merged
                time.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY, self._options.lease / 4)  # soon enough to keep the lease
                self._renew_at = 0.0  # the lease may have run low: the next attempt renews it
            else:
                if renew:
                    # Then an idle third of a lease may follow: half a lease without a renewal, at most.
                    self._renew_at = began + self._options.lease / 6
                return cast(bytes, state).decode(), int(number)

    def _heed(self, said: str, last: int) -> None:
        """Act on the state that Redis returned."""
        match said:
            case "open":
                self._acknowledged = last
            case "behind":
                # Redis restarted from an older copy.
                self._acknowledged = last
                if not any(segment.before == last for segment in self._segments):
                    raise StreamError("Redis lost more than the producer keeps, or another program wrote to the log")
            case "taken":
                raise StreamTakenError("another producer took the stream over")
            case "completed" | "cancelled":
                self.state = said
            case _:
                if self._ending is None or self._ending.state != "failed":
                    raise ProducerLostError("the lease was not renewed in time, so a reader ended the stream")
                self.state = "failed"


_live: set[LogWriter] = set()
after_fork(_live.clear)  # the streams are the parent's
_numbers = itertools.count(1)


@atexit.register
def _end_live_streams() -> None:
    """End the streams when the interpreter exits, so that readers need not wait for the leases."""
    writers = list(_live)
    failure = ErrorRecord.of(StreamInterruptedError("the process that published the stream has exited"))
    for writer in writers:
        writer.close(Ending("failed", failure))
    deadline = time.monotonic() + _EXIT_SECONDS
    for writer in writers:
        writer.ended.wait(max(0.0, deadline - time.monotonic()))
