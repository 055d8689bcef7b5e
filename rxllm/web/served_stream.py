"""A stream that is served: one request, however many watch it, each at its own pace.

Its events are kept in a log. Whoever watches is told that there is something, and takes what came
since, neighbouring deltas joined: a slow watcher costs nothing but its connection, and slows
nobody. A stream that nobody watches is disposed, at once or after `linger` seconds, in which its
watcher may come back (a page that is reloaded, a connection that broke).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

from .._core.delta_merge import Delta, delta_text, merge_key
from .._core.event_log import Entry, LogState, MemoryLog
from ..errors import StreamError
from .approvals import Approvals

T = TypeVar("T")

MAX_CHARS = 8_000_000
"""How much text one stream may hold; what says more fails."""

AT_ONCE = 65_536
"""About how many characters are taken at once for one watcher."""

_FIRST_WATCHER_SECONDS = 10.0
_ANSWER_SECONDS = 300.0
"""How long a stream that waits for its user lives without a watcher: it has no request under way."""


class ServedStream(Generic[T]):
    """One stream under way, or ended. Made by `Streams.open`; safe to use from any thread."""

    def __init__(
        self,
        source: Observable[T],
        *,
        linger: float = 0.0,
        max_chars: int = MAX_CHARS,
        on_end: Callable[[ServedStream[T]], None] | None = None,
        approvals: Approvals | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> None:
        self.id = secrets.token_urlsafe(16) if id is None else id
        """Who knows it may watch and stop the stream: it cannot be guessed."""
        self.approvals = Approvals() if approvals is None else approvals
        """What the stream asks its user."""
        self.approvals.on_ask = self._ring
        self.error: Exception | None = None
        self.last = 0
        """The number of the newest event."""
        self.is_released = False
        """Whether this process serves it no more, while it goes on elsewhere."""
        self._paused_after: int | None = None
        self._source = source
        self._linger = linger
        self._chars_left = max_chars
        self._on_end = on_end
        self._upstream = SingleAssignmentDisposable()
        self._log = MemoryLog[T](self._upstream.dispose)
        self._bells: tuple[Callable[[], None], ...] = ()
        """Those who watch; never changed, but replaced."""
        self._lock = threading.Lock()
        """Guards the bells and the timer."""
        self._abandoned: threading.Timer | None = None

    @property
    def state(self) -> LogState:
        """Whether and how the stream has ended."""
        return self._log.state

    @property
    def is_under_way(self) -> bool:
        """Whether there is more to come."""
        return self.state == "open"

    def is_over(self, after: int) -> bool:
        """Whether who has seen the event `after` has seen all, the end included."""
        return self.state != "open" and after > self.last

    @property
    def watchers(self) -> int:
        """How many watch it now."""
        return len(self._bells)

    def start(self) -> None:
        """Make the request; the stream stays `_FIRST_WATCHER_SECONDS` at least for somebody to watch."""
        self._set_timer(max(self._linger, _FIRST_WATCHER_SECONDS))
        self._upstream.disposable = self._source.subscribe(self._append, self._close, self._close)

    def approve(self, call_id: str, approved: bool, reason: str = "") -> None:
        """Answer what the stream asks, or will ask: whether a tool call may run."""
        self.approvals.answer(call_id, approved, reason)

    def pause(self, after: int) -> None:
        """Its watcher leaves to ask the user, and will go on after the event `after`: the stream waits for that."""
        self._paused_after = after

    @property
    def is_paused(self) -> bool:
        """Whether a watcher has left to ask the user."""
        return self._paused_after is not None

    def go_on(self) -> int:
        """The event after which the watcher goes on that has asked the user."""
        after, self._paused_after = self._paused_after, None
        return self.last if after is None else after

    def stop(self) -> None:
        """Dispose the stream, for all who watch."""
        self._log.cancel()
        self._ended()

    def since(self, after: int) -> tuple[Entry[T], ...]:
        """What came after the event `after`, neighbouring deltas joined; empty where nothing did, yet or ever.

        Of more than about `AT_ONCE` characters the first: whoever is behind comes again, and is not
        sent more than it has shown to take.
        """
        return tuple(self._log.after(after, AT_ONCE))

    def watch(self, bell: Callable[[], None]) -> None:
        """Call `bell`, from any thread, whenever there is something new, an end included; it must not block."""
        with self._lock:
            self._bells = (*self._bells, bell)
            self._cancel_timer()

    def unwatch(self, bell: Callable[[], None]) -> None:
        """Call it no more. The last who leaves a stream that does not linger stops it."""
        with self._lock:
            self._bells = tuple(other for other in self._bells if other != bell)
            if self._bells or self._log.state != "open":
                return
        seconds = max(self._linger, 0.0 if self._paused_after is None else _ANSWER_SECONDS)
        if seconds > 0:
            self._set_timer(seconds)
        else:
            self.stop()

    def _append(self, event: T) -> None:
        if merge_key(event) is not None:
            self._chars_left -= len(delta_text(cast(Delta, event)))
            if self._chars_left < 0:
                self._close(StreamError("the answer is longer than this server keeps"))
                self._upstream.dispose()
                return
        self.last = self._log.append(event)
        self._ring()

    def _close(self, error: Exception | None = None) -> None:
        self.error = error
        self._log.close(error)
        self._ended()

    def _ended(self) -> None:
        with self._lock:
            self._cancel_timer()
            on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell()

    def _set_timer(self, seconds: float) -> None:
        with self._lock:
            if self._bells or self._log.state != "open":
                return
            self._cancel_timer()
            timer = threading.Timer(seconds, self._abandon)
            timer.name, timer.daemon = "rxllm-web-abandoned", True
            self._abandoned = timer
            timer.start()

    def _abandon(self) -> None:
        if not self._bells:
            self.stop()

    def _cancel_timer(self) -> None:
        if self._abandoned is not None:
            self._abandoned.cancel()
            self._abandoned = None
