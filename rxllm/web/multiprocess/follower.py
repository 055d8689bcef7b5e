"""A stream of another process, followed in Redis for its watchers in this one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
from reactivex import operators as rx

from ..._core.event_log import Entry, LogState
from ...assistant.events import ToolEnd, ToolStart
from ...errors import LLMError, NotFoundError
from ...events import TokenEvent
from ...relay import RedisLog
from ..served_stream import ServedStream
from .redis_notes import RedisNotes, reaching_redis

_LINGER_SECONDS = 5.0


class FollowedStream(ServedStream[object]):
    """A `ServedStream` with the events, the numbers and the end of another process's.

    It is read from its beginning as soon as it is watched; `on_enter` is called then, and `on_leave` when
    that ends. Stopping it stops the original. Losing its last watcher only ends the reading.
    """

    def __init__(
        self,
        log: RedisLog,
        notes: RedisNotes,
        on_enter: Callable[[FollowedStream], None],
        on_leave: Callable[[FollowedStream], None],
        keep_seconds: float,
    ) -> None:
        events = log.read(joined=False).pipe(rx.map(_event_of))
        super().__init__(events, linger=_LINGER_SECONDS, id=log.id)
        self.known: tuple[LogState, int] = ("open", 0)
        """The state, and the number of the last event, that Redis had when it was last asked."""
        self.user = ""
        """The user who asked for it first, for whom it counts."""
        self._there = log
        self._notes = notes
        self._on_enter = on_enter
        self._on_leave = on_leave
        self._keep_seconds = keep_seconds
        self._is_begun = False

    @property
    def is_under_way(self) -> bool:
        """Whether there was more to come when Redis was last asked."""
        return self.known[0] == "open" and super().is_under_way

    def has_nothing_after(self, after: int) -> bool:
        """Return whether a reader that has seen the event `after` has seen everything, the end included."""
        state, last = self.known
        return (state != "open" and after > last) or super().has_nothing_after(after)

    def watch(self, notify: Callable[[], object]) -> None:
        """Call `notify` whenever there is something new; with the first, the reading begins."""
        super().watch(notify)
        with self._lock:
            begins, self._is_begun = not self._is_begun, True
        if begins:
            self._on_enter(self)
            self._upstream.disposable = self._source.subscribe(self._append, self._close, self._close)

    def stop(self) -> None:
        """Stop the original. Raises `OverloadedError` if Redis is unreachable."""
        with reaching_redis():
            self._there.cancel()

    def may_ask(self, call_id: str) -> bool:
        """Return True: only the process that produces the stream knows."""
        return True

    def approve(self, call_id: str, approved: bool, reason: str = "") -> None:
        """Send the answer to an approval request to the process that produces the stream."""
        answer = msgspec.json.encode((approved, reason))
        with reaching_redis():
            self._notes.answer(f"{self.id}:answers", call_id, answer, self._keep_seconds)

    def release(self) -> None:
        """Stop following. The watchers get no end, so that they continue in another process."""
        self.is_released = True
        self._upstream.dispose()
        self._on_leave(self)
        self._notify()

    def _append(self, event: object) -> None:
        if isinstance(event, ToolStart | ToolEnd):
            with contextlib.suppress(NotFoundError):
                self.approvals.answer(event.call.id, True)  # the answer itself does not matter here
        super()._append(event)

    def _close(self, error: Exception | None = None) -> None:
        if error is not None and self._was_cancelled():
            super().stop()
        else:
            super()._close(error)

    def _was_cancelled(self) -> bool:
        with contextlib.suppress(LLMError):
            found = self._there.look()
            return found is not None and found[0] == "cancelled"
        return False

    def _ended(self) -> None:
        super()._ended()
        self._on_leave(self)

    def _abandon(self) -> None:
        if not self.is_watched:
            self.release()


def _event_of(entry: Entry[TokenEvent]) -> object:
    return entry.event
