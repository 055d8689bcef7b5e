"""The states of a chat session, emitted in order, one at a time, once per frame while text arrives."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Literal

from reactivex import abc
from reactivex.subject import BehaviorSubject

from ._chat_messages import ChatState


class StateEmitter:
    """Emits the state that `take` returns whenever it has changed. Thread-safe. The caller must not hold `lock`.

    Of several threads that emit at once, one emits for all; so no thread waits for a subscriber of another.
    """

    def __init__(
        self, lock: threading.RLock, take: Callable[[], ChatState], frame: float, scheduler: abc.SchedulerBase
    ) -> None:
        self.states = BehaviorSubject(take())
        self.closed = False
        """Whether the Observable completes after the last state; set under the lock."""
        self._lock = lock
        self._take = take
        self._frame = frame
        self._scheduler = scheduler
        self._emitting = False
        self._frame_due = False

    def emit_soon(self) -> None:
        """Emit the state within a frame."""
        if not self._frame_due:
            self._frame_due = True
            try:
                self._scheduler.schedule_relative(self._frame, self._on_frame)
            except RuntimeError:  # no thread can be started: the next change tries again
                self._frame_due = False

    def emit(self) -> None:
        """Emit the state if it has changed."""
        with self._lock:
            if self._emitting:
                return
            self._emitting = True
        try:
            while isinstance(state := self._next(), ChatState):
                self.states.on_next(state)
        except BaseException:
            self._emitting = False
            raise
        if state == "completed":
            self.states.on_completed()

    def _on_frame(self, *_: object) -> None:
        self._frame_due = False
        self.emit()

    def _next(self) -> ChatState | Literal["unchanged", "completed"]:
        """Return the state to emit; "unchanged" or "completed" if it is that of before, and the emitting ends."""
        with self._lock:
            state, before = self._take(), self.states.value
            if not _is_same(state, before):
                return state
            self._emitting = self.closed  # nothing is emitted after completion
            return "completed" if self.closed else "unchanged"


def _is_same(one: ChatState, other: ChatState) -> bool:
    """Return whether two states have the same objects. Values of tools in them may have no usable equality."""
    if (one.status, len(one.messages)) != (other.status, len(other.messages)) or one.error is not other.error:
        return False
    return all(map(operator.is_, one.messages, other.messages))
