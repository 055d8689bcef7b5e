"""The streams of a server that consists of several processes, which share a Redis.

Streams that can be resumed are published through `rxllm.relay`. A process that receives a request for another
process's stream follows it there. So a page that reloads, a stop and an approval may reach any process. Needs the extra
`relay`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from reactivex import Observable

from ..._schema import decoder
from ...assistant.events import AssistantEvent
from ...errors import OverloadedError
from ...relay import PublishOptions, RedisLog
from ..approvals import Approvals
from ..served_stream import ServedStream
from ..stream_registry import Chat, Streams, Verdict
from .follower import FollowedStream
from .publisher import PublishedStream
from .redis_notes import RedisNotes, reaching_redis

if TYPE_CHECKING:
    from ...relay._deployment import RedisAddress

__all__ = ["RelayedStreams"]

log = logging.getLogger("rxllm")

KEEP_SECONDS = 3600.0


class RelayedStreams(Streams):
    """`Streams` for a `Service` in each of several processes. Connects when it is made.

    Args:
        redis: A `redis.Redis`, or a URL.
        limit: As in `Streams`, for this process.
        per_client: As in `Streams`, for this process.
        keep: As in `Streams`, for this process.
        prefix: What the keys in Redis begin with.
        lease: Seconds of silence after which a stream counts as lost with its process.
        keep_seconds: Seconds that a stream is kept in Redis after its end.
        max_frames: About how many entries a stream has in Redis at most; it writes 60 per second.

    Raises:
        APIConnectionError: Redis is unreachable.
    """

    def __init__(
        self,
        redis: RedisAddress,
        *,
        limit: int = 256,
        per_client: int = 32,
        keep: int = 64,
        prefix: str = "rxllm",
        lease: float = 5.0,
        keep_seconds: float = KEEP_SECONDS,
        max_frames: int = 200_000,
    ) -> None:
        self._options = PublishOptions(lease=lease, keep=keep_seconds, max_frames=max_frames)
        self._notes = RedisNotes(redis, prefix, keep_seconds)
        secret = self._notes.once("secret", secrets.token_bytes(32))
        super().__init__(limit=limit, per_client=per_client, keep=keep, secret=secret)
        self._log = partial(RedisLog, redis=redis, prefix=prefix, events=AssistantEvent)
        self._followed: dict[str, FollowedStream] = {}
        self._following = threading.Lock()

    def _keep_secret(self) -> None:
        """Store the secret again if Redis has lost it, so that processes that start later use the same one."""
        with reaching_redis():
            if self._notes.once("secret", self.secret) != self.secret:
                log.warning("Redis has another server's secret: approvals that one process signed fail in the other")

    def remember(self, user: str, name: str, chat: Chat) -> None:
        """Store which stream answers a conversation, for all processes."""
        self._notes.put(_chat_key(user, name), msgspec.json.encode(chat))

    def chat(self, user: str, name: str) -> Chat | None:
        """Return what answers this conversation, whichever process noted it last."""
        self._keep_secret()
        note = self._notes.get(_chat_key(user, name))
        return None if note is None else decoder(Chat).decode(note)

    def open_question(self, stream: str, call: str) -> None:
        """Note, for all processes, that `stream` asks about `call`."""
        self._keep_secret()
        self._notes.open_question(f"questions:{stream}", call)

    def close_questions(self, stream: str, calls: Sequence[str], verdict: Verdict) -> bool:
        """Store, for all processes, how these questions are closed; return whether they may be."""
        self._keep_secret()
        return self._notes.close_questions(f"questions:{stream}", calls, verdict)

    def drain(self, seconds: float = 10.0) -> bool:
        """Close as `Streams` does. Watchers of other processes' streams get no end, so that they continue elsewhere."""
        with self._changed:
            self._draining = True  # first: from now on, `_enter` releases a stream
        with self._following:
            streams = list(self._followed.values())
        for stream in streams:
            stream.release()
        return super().drain(seconds)

    def _find(self, stream_id: str, user: str) -> ServedStream | None:
        """Return a stream of this process, or one that follows another process's; None if there is none."""
        own = super()._find(stream_id, user)
        if own is not None:
            return own
        self._keep_secret()
        published = self._log(stream_id)
        with reaching_redis():
            found = published.look()
        if found is None:
            return None
        with self._following:
            followed = self._followed.get(stream_id)
            users = sum(bool(user) and one.user == user for one in self._followed.values())
            if followed is None and (len(self._followed) >= self._limit or users >= self._per_client):
                raise OverloadedError("the server watches as many streams as it can", status_code=503, retry_after=1.0)
        if followed is None:
            followed = FollowedStream(published, self._notes, user, self._enter, self._leave)
        followed.known = found
        return followed

    def _make(self, source: Observable[object], stream_id: str, linger: float, approvals: Approvals) -> ServedStream:
        """Create a stream that is published in Redis, unless it ends with its client."""
        if linger <= 0:
            return super()._make(source, stream_id, linger, approvals)
        self._keep_secret()
        return PublishedStream(
            source,
            self._log(stream_id),
            self._options,
            self._notes,
            linger=linger,
            on_end=self._on_end,
            approvals=approvals,
        )

    def _enter(self, followed: FollowedStream) -> None:
        """Register a stream of another process that is watched here from now on."""
        with self._following:
            self._followed[followed.id] = followed
        if self._draining:
            followed.release()

    def _leave(self, followed: ServedStream) -> None:
        with self._following:
            if self._followed.get(followed.id) is followed:
                del self._followed[followed.id]


def _chat_key(user: str, name: str) -> str:
    return f"chat:{len(user)}:{user}:{name}"
