"""A stream of this process that the others find in Redis: all its events are written there too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import cast, get_args

import msgspec
from reactivex import Observable

from ..._json import is_object
from ..._json_values import json_data, type_name
from ...assistant.events import AssistantEvent, with_json_value
from ...errors import LLMError, NotFoundError, OverloadedError, StreamError
from ...events import TokenEvent, VendorEvent
from ...relay import PublishOptions, RedisLog
from ..approvals import Approvals
from ..formats.errors import INTERNAL
from ..served_stream import ServedStream
from .redis_notes import RedisNotes, reaching_redis

_KNOWN = frozenset(get_args(AssistantEvent))


class PublishedStream(ServedStream):
    """A `ServedStream` that is published. Here it is watched as any other; elsewhere, as a `FollowedStream`."""

    def __init__(
        self,
        source: Observable[object],
        published: RedisLog,
        options: PublishOptions,
        notes: RedisNotes,
        *,
        linger: float,
        on_end: Callable[[ServedStream], None],
        approvals: Approvals,
    ) -> None:
        super().__init__(source, id=published.id, linger=linger, on_end=on_end, approvals=approvals)
        self._notes = notes
        self._published = published
        self._options = options
        self._stop_hearing: Callable[[], None] = lambda: None
        """Ends the calls of `_answered`."""

    def prepare(self) -> None:
        """Claim the id. Raises `OverloadedError` if Redis is unreachable."""
        with reaching_redis():
            self._writer = self._published.claim(self._cut, self._options)
            self._stop_hearing = self._notes.hear(f"{self.id}:answers", self._answered)

    def stop(self) -> None:
        """Dispose the stream for all watchers in all processes."""
        super().stop()
        self._published.abandon()

    def _append(self, event: object) -> None:
        super()._append(event)
        self._published.append(cast(TokenEvent, _as_published(event)))

    def _close(self, error: Exception | None = None) -> None:
        super()._close(error)
        self._published.close(error if error is None or isinstance(error, LLMError) else StreamError(INTERNAL))

    def _ended(self) -> None:
        super()._ended()
        self._stop_hearing()

    def _cut(self) -> None:
        """End the stream here after it ended in Redis: a client stopped it, or publishing failed (`writer.error`)."""
        if self._writer.error is None:
            self.stop()
        else:
            super()._close(self._writer.error)
            self._upstream.dispose()

    def _abandon(self, *_: object) -> None:
        """Dispose the stream, unless another process's clients watch it: then check again later."""
        try:
            is_watched = self._notes.get(f"{self.id}:watched") is not None
        except OverloadedError:
            is_watched = True  # perhaps: the next timer checks again
        if is_watched:
            self._abandon_after(self._linger)
        else:
            super()._abandon()

    def _answered(self, call_id: str, answer: bytes) -> None:
        approved, reason = msgspec.json.decode(answer, type=tuple[bool, str])
        with contextlib.suppress(NotFoundError):  # Redis delivers an answer once or more
            self.approvals.answer(call_id, approved, reason)


def _as_published(event: object) -> object:
    """Return the event in a form that other processes can read: values as JSON, other structs as `VendorEvent`."""
    if type(event) not in _KNOWN:
        data = json_data(event, type_name)
        return VendorEvent(type(event).__name__, data if is_object(data) else {"value": data})
    return with_json_value(event)
