"""The streams of a server that is several processes: each finds those of the others, by way of one Redis.

What may be resumed is published through `rxllm.relay`; whoever is asked for a stream of another
process follows it there. So a page that is reloaded, a stop and an approval may reach any of them.
Needs the extra `relay`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING

import msgspec
from reactivex import Observable

from ...assistant.events import AssistantEvent
from ...errors import APIConnectionError, OverloadedError
from ...relay import PublishOptions, RedisLog
from ..approvals import Approvals
from ..served_stream import ServedStream
from ..streams import Chat, Streams
from .follower import FollowedStream
from .publisher import PublishedStream
from .redis_notes import RedisNotes

if TYPE_CHECKING:
    from ...relay._redis import RedisAddress

log = logging.getLogger("rxllm")

KEEP_SECONDS = 3600.0
WATCHED_SECONDS = 15.0
"""How long a process is believed to watch a stream after it has said so."""

_ID = re.compile(r"[\w-]{1,64}")


class RelayedStreams(Streams[object]):
    """`Streams` for a `Service` in each of several processes; `redis` is a `redis.Redis` or a URL.

    Connects when it is made: raises `APIConnectionError` where Redis is not to be reached. A stream
    is given up after `lease` seconds without a word from its process; one that has ended is kept for
    `keep_seconds` there. All else is as in `Streams`.
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
    ) -> None:
        super().__init__(limit=limit, per_client=per_client, keep=keep)
        self._redis = redis
        self._prefix = prefix
        self._options = PublishOptions(lease=lease, keep=keep_seconds)
        self._keep_seconds = keep_seconds
        self._limit_of_mirrors = limit
        self._mirrors: dict[str, FollowedStream] = {}
        self._mirroring = threading.Condition()
        self._notes = RedisNotes(redis, prefix)
        self.secret = self._notes.once("secret", self.secret)

    def open(
        self, source: Observable[object], *, client: str = "", linger: float = 0.0, approvals: Approvals | None = None
    ) -> ServedStream[object]:
        """As in `Streams`; raises `OverloadedError` (503) too where Redis is not to be reached."""
        with _reaching_redis():
            return super().open(source, client=client, linger=linger, approvals=approvals)

    def get(self, id: str) -> ServedStream[object] | None:  # noqa: A002 - the field's name
        """The stream of this id, of whichever process."""
        own = super().get(id)
        if own is not None or _ID.fullmatch(id) is None:
            return own
        published = self._log(id)
        with _reaching_redis():
            found = published.look()
        if found is None:
            return None
        with self._mirroring:
            mirror = self._mirrors.get(id)
            if mirror is None and len(self._mirrors) >= self._limit_of_mirrors:
                raise OverloadedError("the server watches as many streams as it can", status_code=503, retry_after=1.0)
        if mirror is None:
            mirror = FollowedStream(published, self._notes, self._enter, self._leave, self._keep_seconds)
        mirror.told = found
        return mirror

    def remember(self, name: str, chat: Chat) -> None:
        """Note what answers a conversation, for all processes."""
        super().remember(name, chat)
        with _reaching_redis():
            self._notes.put(f"chat:{name}", msgspec.json.encode(chat), self._keep_seconds)

    def chat(self, name: str) -> Chat | None:
        """What answers this conversation, whichever process said so last."""
        with _reaching_redis():
            note = self._notes.get(f"chat:{name}") if name else None
        return None if note is None else msgspec.json.decode(note, type=Chat)

    def drain(self, seconds: float = 10.0) -> bool:
        """As in `Streams`; who watches streams of other processes here is sent away, to go on elsewhere."""
        with self._mirroring:
            mirrors = list(self._mirrors.values())
        for mirror in mirrors:
            mirror.release()
        return super().drain(seconds)

    def _make(self, source: Observable[object], linger: float, approvals: Approvals | None) -> ServedStream[object]:
        if linger <= 0:
            return super()._make(source, linger, approvals)
        return PublishedStream(
            source,
            self._notes,
            self._log,
            self._options,
            linger=linger,
            on_end=self._on_end,
            approvals=approvals,
        )

    def _log(self, id: str) -> RedisLog:  # noqa: A002 - the field's name
        return RedisLog(id, self._redis, prefix=self._prefix, events=AssistantEvent)

    def _enter(self, mirror: FollowedStream) -> None:
        """A stream of another process is watched here from now on."""
        with self._mirroring:
            self._mirrors[mirror.id] = mirror
            if len(self._mirrors) == 1:
                threading.Thread(target=self._say_what_is_watched, name="rxllm-relay-watched", daemon=True).start()
            else:
                self._mirroring.notify_all()

    def _leave(self, mirror: FollowedStream) -> None:
        with self._mirroring:
            if self._mirrors.get(mirror.id) is mirror:
                del self._mirrors[mirror.id]
                self._mirroring.notify_all()

    def _say_what_is_watched(self) -> None:
        """Tell their own processes, for as long as there is any: else they would stop what they see nobody watch."""
        while True:
            with self._mirroring:
                if not self._mirrors:
                    return
                watched = list(self._mirrors)
            for id in watched:  # noqa: A001 - the field's name
                try:
                    self._notes.put(f"{id}:watched", b"1", WATCHED_SECONDS)
                except APIConnectionError:
                    break  # its own process does not reach Redis either, and waits
            with self._mirroring:
                self._mirroring.wait_for(lambda: list(self._mirrors) != watched, WATCHED_SECONDS / 3)  # noqa: B023 - called before the next turn


@contextlib.contextmanager
def _reaching_redis() -> Generator[None]:
    """Tell clients no more than that it is not to be reached; the rest is for the log."""
    try:
        yield
    except APIConnectionError as error:
        log.error("the streams of this server are shared through Redis, and: %s", error)
        raise OverloadedError(
            "this server does not reach the others that it serves with", status_code=503, retry_after=1.0
        ) from error
