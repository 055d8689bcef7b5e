"""Questions to a client that a stream waits for: whether a tool call may run."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable
from typing import cast

import msgspec
from reactivex import Observable
from reactivex.subject import AsyncSubject

from .._json import is_object
from ..messages import ToolCall

_MOST = 1000
"""Questions of one stream: a client must not fill the memory with answers to what was never asked."""


class Approvals:
    """The questions of one stream. One may be asked and answered from any thread, in either order.

    `on_ask`, which must not block, is called when something is asked that has no answer yet.

    >>> approvals = Approvals()
    >>> _ = approvals.ask("call_1").subscribe(print)
    >>> approvals.answer("call_1", True)
    True
    """

    def __init__(self) -> None:
        self.on_ask: Callable[[], None] = _nothing
        self._lock = threading.Lock()
        self._questions: dict[str, AsyncSubject[bool | str]] = {}
        self._asked: set[str] = set()
        self._answered: set[str] = set()

    def ask(self, call_id: str) -> Observable[bool | str]:
        """The answer for this tool call, as soon as there is one: True, False, or the reason why not."""
        question = self._question(call_id)
        self._asked.add(call_id)
        if call_id not in self._answered:
            self.on_ask()
        return question

    def answer(self, call_id: str, approved: bool, reason: str = "") -> None:
        """Let the tool call run, or not; the first answer counts."""
        if len(self._questions) >= _MOST and call_id not in self._questions:
            return
        question = self._question(call_id)
        with self._lock:
            if call_id in self._answered:
                return
            self._answered.add(call_id)
        question.on_next(approved or reason)
        question.on_completed()

    def are_asked(self, call_ids: Iterable[str]) -> bool:
        """Whether all of these were asked for, be they answered or not."""
        return self._asked.issuperset(call_ids)

    def is_answered(self, call_id: str) -> bool:
        """Whether this has its answer."""
        return call_id in self._answered

    def are_open(self, call_ids: Iterable[str]) -> bool:
        """Whether all of these wait for their answers."""
        return (self._asked - self._answered).issuperset(call_ids)

    def _question(self, call_id: str) -> AsyncSubject[bool | str]:
        with self._lock:
            return self._questions.setdefault(call_id, AsyncSubject[bool | str]())


class ApprovalIds:
    """Names for questions that only who holds `secret` can make, each for one call with its arguments.

    A client that sends a conversation back, with its answers in it, cannot have a tool run that no
    model has asked for, nor with other arguments.

    >>> ids = ApprovalIds(b"secret")
    >>> call = ToolCall("call_1", "pay", {"sum": 5})
    >>> ids.fits(ids.of(call), call), ids.fits(ids.of(call), ToolCall("call_1", "pay", {"sum": 50}))
    (True, False)
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, call: ToolCall) -> str:
        """The name of the question whether `call` may run."""
        said = msgspec.json.encode([call.id, call.name, _as_javascript(call.arguments)], order="sorted")
        return f"{call.id}.{hmac.digest(self._secret, said, 'sha256').hex()[:32]}"

    def fits(self, approval_id: str, call: ToolCall) -> bool:
        """Whether that is it."""
        return hmac.compare_digest(approval_id.encode(), self.of(call).encode())


def _as_javascript(value: object) -> object:
    """A value as it comes back from a browser, which does not know 1.0 from 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_object(value):
        return {key: _as_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_javascript(item) for item in cast("list[object]", value)]
    return value


def _nothing() -> None:
    """Nobody wants to know."""
