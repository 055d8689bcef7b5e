"""The streams of one server: how many there may be, how they are found again, how they end when it does."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter, OrderedDict
from typing import Generic, NamedTuple, TypeVar

from reactivex import Observable

from ..errors import LLMError, OverloadedError, RateLimitError
from .approvals import Approvals
from .served_stream import ServedStream

T = TypeVar("T")

log = logging.getLogger("rxllm")


_CHATS = 10_000


class Chat(NamedTuple):
    """What answers a conversation that a client has its own name for: a stream, and the message that it writes."""

    stream: str
    message: str


class Streams(Generic[T]):
    """The streams that are under way, and those that have ended lately.

    `limit` streams may be under way at once, `per_client` of them for one client; `keep` that have
    ended can still be read. `secret` signs the questions that clients answer with a request of their
    own (see `rxllm.web.ai_sdk_api`); processes that accept each other's answers need the same secret.
    Thread-safe.
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
        self._chats: OrderedDict[str, Chat] = OrderedDict()

    @property
    def under_way(self) -> int:
        """How many streams have not ended."""
        return len(self._open)

    def open(
        self, source: Observable[T], *, client: str = "", linger: float = 0.0, approvals: Approvals | None = None
    ) -> ServedStream[T]:
        """Start `source` for `client`; it is disposed `linger` seconds after the last watcher has left.

        Raises `RateLimitError` (429) where the client, `OverloadedError` (503) where all together
        have too many, or the server is about to end.
        """
        stream = self._make(source, linger, approvals)
        with self._changed:
            self._refuse_too_many(client)
            self._open[stream.id] = (stream, client)
            self._clients[client] += 1
        try:
            stream.start()
        except BaseException:
            stream.stop()
            raise
        return stream

    def get(self, id: str) -> ServedStream[T] | None:  # noqa: A002 - the field's name
        """The stream of this id, if it is under way or has ended lately."""
        found = self._open.get(id)
        return self._ended.get(id) if found is None else found[0]

    def remember(self, name: str, chat: Chat) -> None:
        """Note what answers the conversation that a client calls `name`."""
        with self._changed:
            self._chats[name] = chat
            self._chats.move_to_end(name)
            if len(self._chats) > _CHATS:
                self._chats.popitem(last=False)

    def chat(self, name: str) -> Chat | None:
        """What answers this conversation, or did last."""
        return self._chats.get(name)

    def drain(self, seconds: float = 10.0) -> bool:
        """Start no more, and wait until all that are watched have ended; whether they did.

        Those that nobody watches are stopped at once, the others after `seconds`.
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

    def _make(self, source: Observable[T], linger: float, approvals: Approvals | None) -> ServedStream[T]:
        return ServedStream(source, linger=linger, on_end=self._on_end, approvals=approvals)

    def _refuse_too_many(self, client: str) -> None:
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
