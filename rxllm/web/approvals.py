"""Questions to a client that a stream waits for: whether a tool call may run."""

from __future__ import annotations

import threading

from reactivex import Observable
from reactivex.subject import AsyncSubject

_MOST = 1000
"""Questions of one stream: a client must not fill the memory with answers to what was never asked."""


class Approvals:
    """The open questions of one stream. A question may be asked and answered from any thread, in either order.

    >>> approvals = Approvals()
    >>> _ = approvals.ask("call_1").subscribe(print)
    >>> approvals.answer("call_1", True)
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[str, AsyncSubject[bool]] = {}

    def ask(self, call_id: str) -> Observable[bool]:
        """The answer for this tool call, as soon as there is one."""
        return self._question(call_id)

    def answer(self, call_id: str, approved: bool) -> None:
        """Let the tool call run, or not."""
        if len(self._questions) >= _MOST and call_id not in self._questions:
            return
        question = self._question(call_id)
        question.on_next(approved)
        question.on_completed()

    def _question(self, call_id: str) -> AsyncSubject[bool]:
        with self._lock:
            return self._questions.setdefault(call_id, AsyncSubject[bool]())
