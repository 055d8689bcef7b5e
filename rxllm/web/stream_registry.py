"""The streams of one server: how many there may be, whose they are, how they are found again, how they end."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

from reactivex import Observable

from ..errors import LLMError, OverloadedError, RateLimitError
from .approvals import Approvals, Signatures
from .served_stream import ServedStream

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = logging.getLogger("rxllm")

APPROVAL_SECONDS = 3600.0
"""Seconds that a client has to answer a question with a request of its own."""

_UNIQUE_CHARS = 22
"""The characters of a stream's id before the signature."""

_LEAVE_SECONDS = 5.0
"""How many seconds `drain` waits until watchers have sent the end: servers close WebSockets after that."""
_MAX_CHATS = 10_000
_MAX_QUESTIONS = 10_000


class Chat(NamedTuple):
    """What answers a conversation that a client has named: a stream, and the message that it writes."""

    stream: str
    message: str


Verdict: TypeAlias = Literal["approved", "denied", "used"]
"""How a question was closed: by an answer to the stream that asked, or by a request that went on without it."""


class _Kept(Generic[K, V]):
    """A dict with a limit: beyond it, the owner of the most entries loses its oldest. Not thread-safe.

    The owner of an unknown key is "".
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, tuple[V, str]] = {}

    def get(self, key: K) -> V | None:
        return self._entries.get(key, (None, ""))[0]

    def owner(self, key: K) -> str:
        return self._entries.get(key, (None, ""))[1]

    def put(self, key: K, value: V, owner: str) -> None:
        """Store `value` as the newest entry."""
        self._entries.pop(key, None)
        self._entries[key] = (value, owner)
        if len(self._entries) > self._limit:
            ((most, _),) = Counter(owner for _, owner in self._entries.values()).most_common(1)
            del self._entries[next(key for key, (_, owner) in self._entries.items() if owner == most)]


class Streams:
    """The streams under way, and those that have ended lately. Thread-safe.

    A stream's id holds a signature of its user, so that no other user's request finds the stream.

    Args:
        limit: How many streams may be under way at once.
        per_client: How many of them one client (a user, or else an address) may have.
        keep: How many ended streams can still be read. Beyond it, the client with the most loses its oldest.
        secret: Signs stream ids, approvals and vendor data that clients keep. Default: a random one, so that
            nothing signed before a restart is accepted after it.
    """

    def __init__(self, *, limit: int = 256, per_client: int = 32, keep: int = 64, secret: bytes | None = None) -> None:
        self.secret = secret or secrets.token_bytes(32)
        self.signatures = Signatures(self.secret)
        self._limit = limit
        self._per_client = per_client
        self._changed = threading.Condition()
        self._open: dict[str, tuple[ServedStream, str]] = {}
        """Each stream by its id, with its client."""
        self._ended = _Kept[str, ServedStream](keep)
        self._draining = False
        self._chats = _Kept[tuple[str, str], Chat](_MAX_CHATS)
        """By the user, and the name that the user's client has given to the conversation."""
        self._questions = _Kept[tuple[str, str], tuple[Verdict | None, float]](_MAX_QUESTIONS)
        """How a question was closed, None for not yet, and until when that is known; by stream and call."""

    @property
    def under_way(self) -> int:
        """How many streams have not ended."""
        return len(self._open)

    def open(
        self,
        source: Observable[object],
        *,
        client: str = "",
        user: str | None = "",
        linger: float = 0.0,
        approvals: Approvals | None = None,
        on_admitted: Callable[[], object] = lambda: None,
    ) -> ServedStream:
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
        unique = secrets.token_urlsafe(16)
        stream_id = unique + self.signatures.sign("stream", unique, user)
        stream = self._make(source, stream_id, linger, approvals or Approvals())
        with self._changed:
            self._refuse_too_many(client)
            self._open[stream_id] = (stream, client)
        try:
            stream.prepare()
            on_admitted()
            stream.start()
        except BaseException:
            stream.stop()
            raise
        return stream

    def get(self, id: str, user: str = "") -> ServedStream | None:  # noqa: A002 - the field's name
        """Return this user's stream with this id if it is under way or has ended lately, else None."""
        unique, signature = id[:_UNIQUE_CHARS], id[_UNIQUE_CHARS:]
        is_allowed = any(self.signatures.is_own(signature, "stream", unique, one) for one in (user, None))
        return self._find(id, user) if is_allowed else None

    def remember(self, user: str, name: str, chat: Chat) -> None:
        """Store which stream answers the conversation that this user's client calls `name`."""
        with self._changed:
            self._chats.put((user, name), chat, user)

    def chat(self, user: str, name: str) -> Chat | None:
        """Return what answers this user's conversation `name`, or answered it last; None if there is nothing."""
        with self._changed:
            return self._chats.get((user, name))

    def open_question(self, stream: str, call: str) -> None:
        """Store that `stream` asks about `call`: the answer may come with another request, once, within an hour."""
        with self._changed:
            if self._questions.get((stream, call)) is None:
                self._put_question(stream, call, None)

    def close_questions(self, stream: str, calls: Sequence[str], verdict: Verdict) -> bool:
        """Store how these questions are closed, all of them, or none if one may not be closed so; return whether.

        Args:
            stream: The id of the stream that asked.
            calls: The ids of the calls that it asked about.
            verdict: An answer may be given again, in case it did not reach the stream. "used" needs questions that
                `open_question` has stored within the hour, and that have no answer.
        """
        with self._changed:
            for call in calls:
                closed, until = self._questions.get((stream, call)) or (None, 0.0)
                if verdict == "used" and (closed is not None or until < time.monotonic()):
                    return False
                if closed not in (None, verdict):
                    return False
            for call in calls:
                self._put_question(stream, call, verdict)
        return True

    def drain(self, seconds: float = 10.0) -> bool:
        """Start no more streams; wait until all have ended and their watchers have left; return whether all ended.

        Streams without watchers are stopped at once, the others after `seconds`. Watchers have five seconds to leave.
        """
        with self._changed:
            self._draining = True
            streams = [stream for stream, _ in self._open.values()]
        self._stop_open(watched_too=False)
        with self._changed:
            whole = self._changed.wait_for(lambda: not self._open, seconds)
        self._stop_open(watched_too=True)
        last = time.monotonic() + _LEAVE_SECONDS
        while any(stream.is_watched for stream in streams) and time.monotonic() < last:
            time.sleep(0.01)
        return whole

    def _stop_open(self, *, watched_too: bool) -> None:
        with self._changed:
            streams = [stream for stream, _ in self._open.values() if watched_too or not stream.is_watched]
        for stream in streams:
            stream.stop()

    def _put_question(self, stream: str, call: str, closed: Verdict | None) -> None:
        """Store the state of a question. The caller must hold the lock."""
        owner = self._open[stream][1] if stream in self._open else self._ended.owner(stream)
        self._questions.put((stream, call), (closed, time.monotonic() + APPROVAL_SECONDS), owner)

    def _find(self, stream_id: str, user: str) -> ServedStream | None:
        with self._changed:  # a stream that ends is in neither for a moment
            found = self._open.get(stream_id)
            return self._ended.get(stream_id) if found is None else found[0]

    def _make(self, source: Observable[object], stream_id: str, linger: float, approvals: Approvals) -> ServedStream:
        """Return the stream for `open` to start."""
        return ServedStream(source, id=stream_id, linger=linger, on_end=self._on_end, approvals=approvals)

    def _refuse_too_many(self, client: str) -> None:
        """Raise if there may be no further stream. The caller must hold the lock."""
        if self._draining:
            raise OverloadedError("the server is shutting down", status_code=503, retry_after=5.0)
        if sum(owner == client for _, owner in self._open.values()) >= self._per_client:
            raise RateLimitError("too many streams at once for one client", status_code=429, retry_after=1.0)
        if len(self._open) >= self._limit:
            raise OverloadedError("the server runs as many streams as it may", status_code=503, retry_after=1.0)

    def _on_end(self, stream: ServedStream) -> None:
        """Count an ended stream no longer, and keep it for readers that come late."""
        if stream.error is not None and not isinstance(stream.error, LLMError):
            log.error("a stream that is served failed", exc_info=stream.error)
        with self._changed:
            _, client = self._open.pop(stream.id)
            self._ended.put(stream.id, stream, client)
            self._changed.notify_all()
