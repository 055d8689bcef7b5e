"""A served stream: one request that any number of web clients watch, each at its own pace.

The events are kept in a log. A watcher is notified that there is something new and takes what came since, adjacent
deltas merged. A slow watcher delays no other; only when no watcher keeps up does the producer wait. A stream that no
client watches is disposed, at once or after `linger` seconds, in which a page that reloads can come back.
"""

from __future__ import annotations

import secrets
import threading
from array import array
from collections.abc import Callable
from typing import cast

from reactivex import Observable
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable

from .._core.delta_merge import Delta, delta_text, merge_key
from .._core.event_log import Entry, LogState, MemoryLog
from .._core.scheduling import TimerScheduler
from ..assistant.events import ApprovalRequest
from ..errors import StreamError
from ..sinks._async_wakeup import running_loop
from .approvals import Approvals
from .formats.stream_format import STOPPED

MAX_CHARS = 2_000_000
"""Characters that one stream may hold; a longer answer fails."""

MAX_UNREAD_CHARS = 250_000
"""Characters that the producer may be ahead of the fastest watcher before it waits."""

AT_ONCE = 65_536
"""About how many characters a watcher takes at once."""

_EVENT_CHARS = 100
"""Characters that an event without text counts for, so that a stream of such events is bounded too."""

_FIRST_WATCHER_SECONDS = 10.0
_ANSWER_SECONDS = 300.0
"""Seconds that a stream without watchers waits for its user's approval: it has no request under way."""

_LOOK_SECONDS = 1.0
"""Seconds between two checks of a producer that waits whether the readers of its watchers have vanished."""


class ServedStream:
    """One stream under way, or ended. Made by `Streams.open`. Thread-safe.

    Args:
        source: The stream of events; subscribed to by `start`.
        linger: Seconds that it lives without a watcher.
        on_end: Called once when the stream has ended, on the thread that ends it.
        approvals: The questions of this stream. Default: new ones.
        id: The name under which clients find the stream. Default: a random one.
    """

    def __init__(
        self,
        source: Observable[object],
        *,
        linger: float = 0.0,
        on_end: Callable[[ServedStream], None] | None = None,
        approvals: Approvals | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> None:
        self.id = secrets.token_urlsafe(16) if id is None else id
        self.approvals = Approvals() if approvals is None else approvals
        self.approvals.on_ask = self._notify
        self.last = 0
        """The number of the newest event."""
        self.is_released = False
        """Whether the stream continues in another process and this one no longer serves it."""
        self.paused_after: int | None = None
        """The number of the last event of a watcher that has left to ask its user, and returns within 300 s."""
        self.is_awaited = False
        """Whether such a watcher is on its way again. The one before it may leave after that."""
        self._source = source
        self._linger = linger
        self._chars = array("Q", [0])
        """The characters of all events up to each one, by its number."""
        self._taken_to = 0
        """The number of the newest event that a watcher has taken."""
        self._room = threading.Condition()
        """Notified when a producer that waits should look again."""
        self._on_end = on_end
        self._error: Exception | None = None
        self._upstream = SingleAssignmentDisposable()
        self._log = MemoryLog[object](self._upstream.dispose)
        self._watchers: tuple[Callable[[], object], ...] = ()
        """Replaced, never changed: read without the lock."""
        self._lock = threading.RLock()  # reentrant: a watcher may leave when the garbage collector finds it
        """Guards the watchers and the timer."""
        self._timer = SerialDisposable()
        """Abandons the stream after a time without a watcher."""

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended."""
        return self._log.state

    @property
    def is_under_way(self) -> bool:
        """Whether the stream has not ended."""
        return self.state == "open"

    def has_nothing_after(self, after: int) -> bool:
        """Return whether a reader that has seen the event `after` has seen everything, the end included."""
        return self.state != "open" and after > self.last

    @property
    def error(self) -> Exception | None:
        """What the stream failed with, or that it was stopped; None while it has not, or if it completed."""
        return STOPPED if self.state == "cancelled" else self._error

    @property
    def is_watched(self) -> bool:
        """Whether anything watches the stream now."""
        return bool(self._watchers)

    def prepare(self) -> None:
        """Get what `start` needs from elsewhere, so that it does not fail for want of it."""

    def start(self) -> None:
        """Make the request, after `prepare`. The stream then waits at least 10 s for its first watcher."""
        self._abandon_after(max(self._linger, _FIRST_WATCHER_SECONDS))
        self._upstream.disposable = self._source.subscribe(self._append, self._close, self._close)

    def may_ask(self, call_id: str) -> bool:
        """Return whether the stream has asked about this call, as far as this process knows."""
        return self.approvals.were_asked([call_id])

    def approve(self, call_id: str, approved: bool, reason: str = "") -> None:
        """Allow or refuse a tool call that waits for approval.

        Args:
            call_id: The call's id.
            approved: Whether it may run.
            reason: Why it may not run; the model reads it.

        Raises:
            NotFoundError: The call does not wait for approval.
        """
        self.approvals.answer(call_id, approved, reason)

    def stop(self) -> None:
        """Dispose the stream for all watchers."""
        self._log.cancel()
        self._ended()

    def since(self, after: int) -> tuple[Entry[object], ...]:
        """Return the entries after the event `after`, adjacent deltas merged; empty if there is nothing new.

        Returns at most about `AT_ONCE` characters: call again for the rest.
        """
        entries = tuple(self._log.after(after, AT_ONCE))
        if entries and entries[-1].id > self._taken_to:
            with self._room:
                self._taken_to = max(self._taken_to, entries[-1].id)  # another watcher may take at the same time
                self._room.notify_all()
        return entries

    def watch(self, notify: Callable[[], object]) -> None:
        """Call `notify` from any thread whenever there is something new, an end included. It must not block.

        If it returns False, its reader has vanished: it watches no more.
        """
        with self._lock:
            self._watchers = (*self._watchers, notify)
            self.is_awaited = False
            self._timer.disposable = Disposable()

    def unwatch(self, notify: Callable[[], object]) -> None:
        """Stop calling `notify`. A stream with `linger=0` stops when its last watcher leaves."""
        with self._lock:
            self._watchers = tuple(other for other in self._watchers if other != notify)
            if self._watchers or self._log.state != "open":
                return
        self._unblock()
        seconds = max(self._linger, _ANSWER_SECONDS if self.is_awaited or self.paused_after is not None else 0.0)
        if seconds > 0:
            self._abandon_after(seconds)
        else:
            self.stop()

    def _append(self, event: object) -> None:
        """Add an event to the log and wake the watchers; wait for one if too much is unread."""
        size = len(delta_text(cast(Delta, event))) if merge_key(event) is not None else _EVENT_CHARS
        chars = self._chars[-1] + size
        if chars > MAX_CHARS:
            self._close(StreamError("the answer is longer than this server keeps"))
            self._upstream.dispose()
            return
        if isinstance(event, ApprovalRequest):
            self.approvals.expect(event.call.id)
        self._chars.append(chars)
        self.last = self._log.append(event)
        self._notify()
        if chars - self._chars[self._taken_to] > MAX_UNREAD_CHARS and running_loop() is None:  # which must not block
            self._wait_for_a_watcher()

    def _wait_for_a_watcher(self) -> None:
        """Block the producer until a watcher has caught up, all have left, or the stream has ended."""

        def may_go_on() -> bool:
            is_ahead = self._chars[-1] - self._chars[self._taken_to] > MAX_UNREAD_CHARS
            return not is_ahead or not self._watchers or self.state != "open"

        while True:
            with self._room:
                if self._room.wait_for(may_go_on, _LOOK_SECONDS):
                    return
            self._notify()  # drops watchers whose reader has vanished

    def _unblock(self) -> None:
        """Let a producer that waits look again."""
        with self._room:
            self._room.notify_all()

    def _close(self, error: Exception | None = None) -> None:
        self._error = error
        self._call_on_end()  # before a watcher sees the end: its next request must find the place free
        self._log.close(error)
        self._ended()

    def _ended(self) -> None:
        """Cancel the timer, call `on_end` once and wake the watchers."""
        self._unblock()
        with self._lock:
            self._timer.dispose()
        self._call_on_end()
        self._notify()

    def _call_on_end(self) -> None:
        with self._lock:
            on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    def _notify(self) -> None:
        for notify in self._watchers:
            if notify() is False:
                self.unwatch(notify)

    def _abandon_after(self, seconds: float) -> None:
        with self._lock:
            if not self._watchers:
                timer = TimerScheduler.singleton()
                self._timer.disposable = timer.schedule_relative(seconds, self._abandon)

    def _abandon(self, *_: object) -> None:
        """Stop the stream if it has no watcher; on a worker, as what is disposed may block."""
        if not self._watchers:
            self.stop()
