"""A stream of another process, followed in Redis for its watchers in this one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from operator import attrgetter

import msgspec
from reactivex import operators as rx
from reactivex.disposable import SerialDisposable

from ..._core.event_log import LogState
from ..._core.scheduling import TimerScheduler
from ...assistant.events import ToolEnd, ToolStart
from ...errors import LLMError, NotFoundError
from ...relay import RedisLog
from ..served_stream import ServedStream
from .redis_notes import RedisNotes, reaching_redis

WATCHED_SECONDS = 15.0
"""How long a process is believed to watch a stream after it has said so."""

_LINGER_SECONDS = 5.0


class FollowedStream(ServedStream):
    """A `ServedStream` with the events, the numbers and the end of another process's.

    It is read from its beginning as soon as it is watched; `on_enter` is called then, and `on_end` when that ends.
    Stopping it stops the original. Losing its last watcher only ends the reading.
    """

    def __init__(
        self,
        log: RedisLog,
        notes: RedisNotes,
        user: str,
        on_enter: Callable[[FollowedStream], None],
        on_end: Callable[[ServedStream], None],
    ) -> None:
        events = log.read(joined=False).pipe(rx.map(attrgetter("event")))
        super().__init__(events, linger=_LINGER_SECONDS, id=log.id, on_end=on_end)
        self.known: tuple[LogState, int] = ("open", 0)
        """The state, and the number of the last event, that Redis had when it was last asked."""
        self.user = user
        """The user who asked for it first, for whom it counts."""
        self._there = log
        self._notes = notes
        self._on_enter = on_enter
        self._is_begun = False
        self._next_note = SerialDisposable()

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
            self._note_in(0.0)
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
        self._notes.answer(f"{self.id}:answers", call_id, msgspec.json.encode((approved, reason)))

    def release(self) -> None:
        """Stop following. The watchers get no end, so that they continue in another process."""
        self.is_released = True
        self._upstream.dispose()
        self._ended()

    def _note_in(self, seconds: float) -> None:
        self._next_note.disposable = TimerScheduler.singleton().schedule_relative(seconds, self._note)

    def _note(self, *_: object) -> None:
        """Note, again and again, that the stream is watched here, so that its process does not abandon it."""
        with contextlib.suppress(LLMError):  # its own process does not reach Redis either, and waits
            self._notes.put(f"{self.id}:watched", b"1", WATCHED_SECONDS)
        self._note_in(WATCHED_SECONDS / 3)

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
        self._next_note.dispose()
        super()._ended()

    def _abandon(self, *_: object) -> None:
        if not self.is_watched:
            self.release()
