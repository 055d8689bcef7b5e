"""The streams of one server: how many there may be, whose they are, how they are found again, how they end."""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from reactivex import Observable

from ..errors import LLMError, OverloadedError, RateLimitError
from .approvals import Approvals
from .served_stream import ServedStream

T = TypeVar("T")

log = logging.getLogger("rxllm")

APPROVAL_SECONDS = 3600.0
"""Seconds that a client has to answer a question with a request of its own."""

_MAX_CHATS = 10_000
_MAX_QUESTIONS = 10_000


class Chat(NamedTuple):
    """What answers a conversation that a client has named: a stream, and the message that it writes."""

    stream: str
    message: str


class Streams(Generic[T]):
    """The streams under way, and those that have ended lately. Thread-safe.

    A stream's id holds a signature of its user, so that no other user's request finds the stream.

    Args:
        limit: How many streams may be under way at once.
        per_client: How many of them one client (a user, or else an address) may have.
        keep: How many ended streams can still be read.
        secret: Signs stream ids, approvals and vendor data that clients keep. Default: a random one, so that
            nothing signed before a restart is accepted after it.
    """

    def __init__(self, *, limit: int = 256, per_client: int = 32, keep: int = 64, secret: bytes | None = None) -> None:
        self.secret = secrets.token_bytes(32) if secret is None else secret
        self._limit = limit
        self._per_client = per_client
        self._keep = keep
        self._changed = threading.Condition()
        self._open: dict[str, tuple[ServedStream[T], str]] = {}
        self._clients: Counter[str] = Counter()
        self._ended: OrderedDict[str, ServedStream[T]] = OrderedDict()
        self._draining = False
        self._chats: OrderedDict[tuple[str, str], Chat] = OrderedDict()
        self._questions: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        """Whether a question is still to be answered, and until when it is known; by stream and call."""

    @property
    def under_way(self) -> int:
        """How many streams have not ended."""
        return len(self._open)

    def open(
        self,
        source: Observable[T],
        *,
        client: str = "",
        user: str | None = "",
        linger: float = 0.0,
        approvals: Approvals | None = None,
        on_admitted: Callable[[], object] | None = None,
    ) -> ServedStream[T]:
        """Start a stream.

        Args:
            source: What to subscribe to.
            client: For whom it counts against `per_client`.
            user: Who may watch and stop it. "": the clients of a server without users. None: everybody.
            linger: Seconds that it lives after the last watcher has left.
            approvals: The questions of the stream. Default: new ones.
            on_admitted: Called once there is room for the stream, before it starts: what it raises, `open` raises.

        Raises:
            RateLimitError: The client has too many streams (429).
            OverloadedError: The server has too many, or is shutting down (503).
        """
        stream = self._make(source, self._new_id(user), linger, approvals)
        with self._changed:
            self._refuse_too_many(client)
            self._open[stream.id] = (stream, client)
            self._clients[client] += 1
        try:
            stream.prepare()
            if on_admitted is not None:
                on_admitted()
            stream.start()
        except BaseException:
            stream.stop()
            raise
        return stream

    def get(self, id: str, user: str = "") -> ServedStream[T] | None:  # noqa: A002 - the field's name
        """Return this user's stream with this id if it is under way or has ended lately, else None."""
        return self._find(id) if self._may_use(id, user) else None

    def remember(self, user: str, name: str, chat: Chat) -> None:
        """Store which stream answers the conversation that this user's client calls `name`."""
        with self._changed:
            self._chats[user, name] = chat
            self._chats.move_to_end((user, name))
            if len(self._chats) > _MAX_CHATS:
                del self._chats[self._dispensable_chat()]

    def chat(self, user: str, name: str) -> Chat | None:
        """Return what answers this user's conversation `name`, or answered it last; None if there is nothing."""
        return self._chats.get((user, name))

    def open_question(self, stream: str, call: str) -> None:
        """Store that `stream` asks about `call`: the answer may come with another request, once, within an hour."""
        with self._changed:
            self._questions.setdefault(f"{stream}:{call}", (True, time.monotonic() + APPROVAL_SECONDS))
            self._forget_oldest_question()

    def close_question(self, stream: str, call: str, *, must_be_open: bool) -> bool:
        """Store that the question is answered; return False if it already was.

        Args:
            stream: The id of the stream that asked.
            call: The id of the call that it asked about.
            must_be_open: Return False too if `open_question` was not called, or too long ago.
        """
        key, now = f"{stream}:{call}", time.monotonic()
        with self._changed:
            is_open, until = self._questions.get(key, (not must_be_open, now))
            if not is_open or (must_be_open and until < now):
                return False
            self._questions[key] = (False, now + APPROVAL_SECONDS)
            self._forget_oldest_question()
        return True

    def drain(self, seconds: float = 10.0) -> bool:
        """Start no more streams and wait until all have ended; return whether they did.

        Streams without watchers are stopped at once, the others after `seconds`.
        """
        with self._changed:
            self._draining = True
            unwatched = [stream for stream, _ in self._open.values() if not stream.watchers]
        for stream in unwatched:
            stream.stop()
        with self._changed:
            whole = self._changed.wait_for(lambda: not self._open, seconds)
            left = [stream for stream, _ in self._open.values()]
        for stream in left:
            stream.stop()
        return whole

    def _forget_oldest_question(self) -> None:
        """Keep the bound. The caller must hold the lock."""
        if len(self._questions) > _MAX_QUESTIONS:
            self._questions.popitem(last=False)

    def _dispensable_chat(self) -> tuple[str, str]:
        """Return the oldest chat of the user with the most. The caller must hold the lock."""
        (most, _), *_ = Counter(user for user, _ in self._chats).most_common(1)
        return next(key for key in self._chats if key[0] == most)

    def _find(self, id: str) -> ServedStream[T] | None:  # noqa: A002 - the field's name
        found = self._open.get(id)
        return self._ended.get(id) if found is None else found[0]

    def _make(
        self,
        source: Observable[T],
        id: str,  # noqa: A002 - the field's name
        linger: float,
        approvals: Approvals | None,
    ) -> ServedStream[T]:
        return ServedStream(source, id=id, linger=linger, on_end=self._on_end, approvals=approvals)

    def _new_id(self, user: str | None) -> str:
        unique = secrets.token_urlsafe(16)
        return unique + self._signature(unique, user)

    def _may_use(self, id: str, user: str) -> bool:  # noqa: A002 - the field's name
        unique, signature = id[:22], id[22:].encode()
        users = (user, None)
        return any(hmac.compare_digest(signature, self._signature(unique, one).encode()) for one in users)

    def _signature(self, unique: str, user: str | None) -> str:
        owner = "everybody" if user is None else f"user {user}"
        return base64.urlsafe_b64encode(hmac.digest(self.secret, f"{unique} {owner}".encode(), "sha256")[:12]).decode()

    def _refuse_too_many(self, client: str) -> None:
        """Raise if there may be no further stream. The caller must hold the lock."""
        if self._draining:
            raise OverloadedError("the server is shutting down", status_code=503, retry_after=5.0)
        if self._clients[client] >= self._per_client:
            raise RateLimitError("too many streams at once for one client", status_code=429, retry_after=1.0)
        if len(self._open) >= self._limit:
            raise OverloadedError("the server has as many streams as it takes", status_code=503, retry_after=1.0)

    def _on_end(self, stream: ServedStream[T]) -> None:
        if stream.error is not None and not isinstance(stream.error, LLMError):
            log.error("a stream that is served failed", exc_info=stream.error)
        with self._changed:
            _, client = self._open.pop(stream.id)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._ended[stream.id] = stream
            while len(self._ended) > self._keep:
                self._ended.popitem(last=False)
            self._changed.notify_all()
