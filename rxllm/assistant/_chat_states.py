"""The states of a chat session, emitted in order, one at a time, once per frame while text arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec
from reactivex import abc
from reactivex.subject import BehaviorSubject

from ._chat_messages import ChatMessage

ChatStatus: TypeAlias = Literal["ready", "submitted", "streaming", "error"]
"""Whether the session waits for a message, has asked, receives the answer, or has failed."""


class ChatState(msgspec.Struct, frozen=True):
    """All of a session at one moment.

    Args:
        messages: The messages, the oldest first; of a running answer what has arrived.
        status: What the session does.
        error: What the last answer failed with.
    """

    messages: tuple[ChatMessage, ...] = ()
    status: ChatStatus = "ready"
    error: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether an answer is awaited or arrives."""
        return self.status in ("submitted", "streaming")


class StateEmitter:
    """Emits the state that `take` returns after it has changed. Thread-safe.

    Of several threads that emit at once, one emits for all; so no thread waits for a subscriber of another.
    """

    def __init__(
        self, lock: threading.RLock, take: Callable[[], ChatState], frame: float, scheduler: abc.SchedulerBase
    ) -> None:
        self.states = BehaviorSubject(take())
        self.closed = False
        self._lock = lock
        self._take = take
        self._frame = frame
        self._scheduler = scheduler
        self._changed = False
        self._emitting = False
        self._frame_due = False

    def change(self) -> None:
        """Mark the state as changed. The caller holds the lock."""
        self._changed = True

    def change_soon(self) -> None:
        """Mark the state as changed, to be emitted within a frame. The caller holds the lock."""
        self._changed = True
        if not self._frame_due:
            self._frame_due = True
            try:
                self._scheduler.schedule_relative(self._frame, self._on_frame)
            except RuntimeError:  # no thread can be started: the next change tries again
                self._frame_due = False

    def close(self) -> None:
        """Complete after the last state. The caller holds the lock, and calls `emit` afterwards."""
        self.closed = self._changed = True

    def emit(self) -> None:
        """Emit the state if it has changed. The caller must not hold the lock."""
        with self._lock:
            if self._emitting:
                return
            self._emitting = True
        try:
            while (state := self._next()) is not None:
                self.states.on_next(state)
        except BaseException:
            self._emitting = False
            raise
        if self.closed:
            self.states.on_completed()

    def _on_frame(self, *_: object) -> None:
        self._frame_due = False
        self.emit()

    def _next(self) -> ChatState | None:
        """Return the state to emit; None if there is none, and the emitting ends."""
        with self._lock:
            if not self._changed:
                self._emitting = self.closed  # nothing is emitted after completion
                return None
            self._changed = False
            return self._take()
