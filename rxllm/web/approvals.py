"""Approvals of tool calls: the questions of one stream, and the signatures by which a client answers them later."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable

from reactivex import Observable, just
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import AsyncSubject

from .._json import decode, encode, is_array, is_object
from ..errors import NotFoundError
from ..messages import ToolCall


class Approvals:
    """The questions of one stream: may this tool call run? Thread-safe.

    A question is known from `expect` or `ask` on, and is answered once. Answers that came with the request itself
    (`decided`, by call id) are used once, by the first `ask` for exactly that call.

    Args:
        decided: Calls that the client has decided about in its request, with the decision: True, or the reason
            why not ("" for none). The caller has checked that this server issued each call.
        refusal: Why no question can be answered, if its client has no way to. Default: it can.

    Example:
        >>> approvals = Approvals()
        >>> _ = approvals.ask(ToolCall("call_1", "pay", {})).subscribe(print)
        >>> approvals.answer("call_1", True)
        True
    """

    def __init__(self, decided: Iterable[tuple[ToolCall, bool | str]] = (), *, refusal: str = "") -> None:
        self.on_ask: Callable[[], None] = lambda: None
        """Called, on the asking thread, when a question has no answer yet. Must not block."""
        self._refusal = refusal
        self._lock = threading.Lock()
        self._decided = {call.id: (call, answer) for call, answer in decided}
        self._unused = set(self._decided)
        self._questions: dict[str, _Question] = {}

    def expect(self, call_id: str) -> None:
        """Accept an answer for this call from now on, although `ask` may come later."""
        with self._lock:
            self._questions.setdefault(call_id, _Question())

    def ask(self, call: ToolCall) -> Observable[bool | str]:
        """Return the answer for `call` as an Observable of one item: True, False, or the reason why not."""
        if self._refusal:
            return just(self._refusal, ImmediateScheduler.singleton())
        with self._lock:
            if self.is_decided(call) and call.id in self._unused:
                self._unused.remove(call.id)
                return just(self._decided[call.id][1], ImmediateScheduler.singleton())
            question = self._questions.get(call.id)
            if question is None or (question.is_taken and not question.is_open):  # an answer is for one `ask`
                question = self._questions[call.id] = _Question()
            question.is_taken = True
        self.on_ask()
        return question.answer

    def answer(self, call_id: str, approved: bool, reason: str = "") -> None:
        """Answer an open question. Raises `NotFoundError` (404) if this call does not wait for an answer."""
        with self._lock:
            question = self._questions.get(call_id)
            if question is None or not question.is_open:
                raise NotFoundError(f"no tool call {call_id!r} waits for approval", status_code=404)
            question.is_open = False
        question.answer.on_next(approved or reason)
        question.answer.on_completed()

    def is_decided(self, call: ToolCall) -> bool:
        """Return whether the request itself held the answer for `call`."""
        return call.id in self._decided and is_same_call(self._decided[call.id][0], call)

    def were_asked(self, call_ids: Iterable[str]) -> bool:
        """Return whether each of these calls was asked about, answered or not."""
        return self._questions.keys() >= set(call_ids)

    def are_open(self, call_ids: Iterable[str]) -> bool:
        """Return whether each of these calls waits for an answer."""
        return all(id in self._questions and self._questions[id].is_open for id in call_ids)  # noqa: A001 - the field's name


class _Question:
    """One question: its answer, whether it may still be answered, whether `ask` has returned it."""

    def __init__(self) -> None:
        self.answer = AsyncSubject[bool | str]()
        self.is_open = True
        self.is_taken = False


class Signatures:
    """Signs what clients keep for this server, so that the server recognises its own.

    Args:
        secret: The key. All processes that serve the same clients need the same one.

    Example:
        >>> signatures = Signatures(b"secret")
        >>> signature = signatures.sign("call_1", {"sum": 5})
        >>> signatures.is_own(signature, "call_1", {"sum": 5.0}), signatures.is_own(signature, "call_1", {"sum": 6})
        (True, False)
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, *bound: object) -> str:
        """Return the signature of these values, in order: anything that JSON can hold."""
        data = encode(_as_javascript(decode(encode(bound))))
        return hmac.digest(self._secret, data, "sha256").hex()[:32]

    def is_own(self, signature: str, *bound: object) -> bool:
        """Return whether `signature` is this server's for these values."""
        return hmac.compare_digest(signature.encode(), self.sign(*bound).encode())


def is_same_call(one: ToolCall, other: ToolCall) -> bool:
    """Return whether two calls do the same under the same id; vendor fields do not count."""
    return (one.id, one.name, one.arguments) == (other.id, other.name, other.arguments)


def may_be_rounded(value: object) -> bool:
    """Return whether a browser may have sent another number than it got: from 2**53 on, JavaScript leaves some out.

    Example:
        >>> may_be_rounded({"ids": [1, 0.5]}), may_be_rounded({"ids": [9007199254740992]})
        (False, True)
    """
    if isinstance(value, int | float):
        return abs(value) >= 2**53
    inner = value.values() if is_object(value) else value if is_array(value) else ()
    return any(map(may_be_rounded, inner))


def _as_javascript(value: object) -> object:
    """Return `value` as a browser holds it, to which all numbers are doubles: 1 and 1.0 are the same there."""
    if isinstance(value, int | float):
        try:
            return float(value) + 0.0  # there is no -0.0 in its JSON
        except OverflowError:
            return None
    if is_object(value):
        return {key: _as_javascript(value[key]) for key in sorted(value)}
    return list(map(_as_javascript, value)) if is_array(value) else value
