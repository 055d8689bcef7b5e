"""The time limits of one stream (`Timeout`), kept by the shared watchdog thread.

Nothing here takes a lock or wakes a thread for an event or a read: moving a limit is a few assignments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from .._runtime.deadlines import Watch, watchdog
from ..errors import APITimeoutError, TimeoutPhase
from ..options import Timeout
from .retry import total_deadline


class TimeLimits(Watch):
    """The limits of one stream. Its methods are for the thread that reads, `expired` and `error` for any thread.

    Args:
        timeout: The limits.
        on_expired: Called once, on the watchdog's thread, when a limit has passed.
    """

    __slots__ = (
        *("started_at", "expired", "phase", "is_waiting", "has_content", "has_noise", "_timeout", "_idle"),
        *("_silence", "_waiting_since", "_content_at"),
    )

    def __init__(self, timeout: Timeout, on_expired: Callable[[], None]) -> None:
        self.started_at = time.monotonic()
        self.expired: TimeoutPhase | None = None
        """The limit that has passed."""
        self.phase: TimeoutPhase = "connect"
        """What `_content_at` limits."""
        self.is_waiting = True
        """The thread waits for the peer. While it does not, only `total` limits it: the subscriber takes its time."""
        self.has_content = False
        """Content has arrived since the limits were set last."""
        self.has_noise = False
        """Signs of life without content have arrived since the last content."""
        self._timeout = timeout
        self._idle, self._silence = _or_infinite(timeout.idle), _or_infinite(timeout.silence)
        self._waiting_since = math.inf
        self._content_at = math.inf
        """When the limit on the wait for a connection, or for content, passes."""
        total_at = min(self.started_at + _or_infinite(timeout.total), total_deadline.get())
        super().__init__(total_at, min(self._idle, self._silence), partial(self._expire, on_expired))

    def due(self) -> float:
        """Return when the first limit passes: computed here, because this is seldom called, and `reset` always."""
        if not self.is_waiting:
            return self.at
        return min(self._content_at, self._waiting_since + self._silence, self.at)

    def start(self) -> None:
        """Start `total`, in the context of the stream; raises `RuntimeError` if there is no thread to watch it."""
        total_deadline.set(math.inf)  # it is not for streams that a subscriber starts inside its on_next
        if self.at < math.inf:
            watchdog.add(self)

    def stop(self) -> None:
        """Stop all limits, and drop the reference to the callback."""
        watchdog.stop(self)

    def start_connect(self) -> None:
        """Limit the wait for a connection; raises `RuntimeError` if there is no thread to watch it."""
        self._content_at = time.monotonic() + _or_infinite(self._timeout.connect)
        watchdog.add(self)

    def enter(self, phase: Literal["sending", "waiting"]) -> None:
        """Limit the silence until the next bytes of the request are sent; or, once all are, the wait for content."""
        self.phase, self._content_at = "silence", math.inf
        if phase == "waiting":
            self.phase = "first_token"
            self._content_at = time.monotonic() + _or_infinite(self._timeout.first_token)
        self.reset()
        watchdog.add(self)

    def reset(self) -> None:
        """Limit the next wait, by what has arrived."""
        self._waiting_since = now = time.monotonic()
        if self.has_content:
            self.has_content = self.has_noise = False
            self._content_at = now + self._idle
        self.is_waiting = True

    def error(self, phase: TimeoutPhase) -> APITimeoutError:
        """Return the error for a limit that has passed."""
        message = f"{_MESSAGES[phase]} within {self._seconds(phase):g} s (timeout {phase!r})"
        if self.has_noise and phase in ("first_token", "idle"):
            # The server works, so the same request would be as slow again.
            return APITimeoutError(f"{message}, although the server shows signs of life", phase=phase, transient=False)
        return APITimeoutError(message, phase=phase)

    def _seconds(self, phase: TimeoutPhase) -> float:
        seconds: float | None = getattr(self._timeout, phase)
        return self.at - self.started_at if seconds is None else seconds

    def _expire(self, on_expired: Callable[[], None]) -> None:
        now = time.monotonic()
        self.expired = "total" if now >= self.at else self.phase if now >= self._content_at else "silence"
        on_expired()


_MESSAGES: dict[TimeoutPhase, str] = {
    "connect": "no connection",
    "silence": "no byte was sent or received",
    "first_token": "no first token",
    "idle": "no further content came",
    "total": "the answer was not complete",
}


def _or_infinite(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
