"""Segments: the events of a short time as one entry of the log, adjacent deltas merged.

Numbers count the events before merging, so a merged delta stands for several. It keeps the length of each, so a reader
may continue after any number, even in the middle of a merged delta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from .._core.delta_merge import Delta, MergeKey, delta_text, make_delta, merge_key, merge_runs
from .._core.error_format import ErrorRecord
from .._core.event_log import Entry, LogState
from .._schema import decoder
from ..events import TokenEvent
from .errors import StreamGoneError

E = TypeVar("E")


class Segment(NamedTuple):
    """An entry of the log as the producer keeps it: the events `before` + 1 to `last`."""

    before: int
    last: int
    payload: bytes


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a stream ended; `lost` if its producer's lease expired."""

    state: LogState
    error: ErrorRecord | None = None
    lost: bool = False


class NumberedEvents(msgspec.Struct, Generic[E], frozen=True, array_like=True, omit_defaults=True):
    """An event and its number; a merged delta with the number of its last one, and the length of each."""

    id: int
    event: E
    lengths: tuple[int, ...] = ()

    @property
    def before(self) -> int:
        return self.id - (len(self.lengths) or 1)


SegmentReader: TypeAlias = Callable[[bytes], tuple[NumberedEvents[TokenEvent], ...]]

_encode = msgspec.json.Encoder().encode
ending_to_json: Callable[[Ending], bytes] = _encode
ending_from_json = decoder(Ending).decode


def segment_of(events: Sequence[TokenEvent], before: int) -> Segment:
    """Return the segment of `events`, at least one, that follow the event `before`."""
    pieces: list[NumberedEvents[TokenEvent]] = []
    number = before
    for event, lengths in merge_runs(events):
        number += len(lengths) or 1
        pieces.append(NumberedEvents(number, event, lengths))
    return Segment(before, number, _encode(pieces))


@cache
def segment_reader(events: object) -> SegmentReader:
    """Return a decoder for segments of events of this type: a union of structs, such as `AssistantEvent`."""
    segments = decoder(tuple[NumberedEvents[events], ...])  # type: ignore[valid-type]  # a type of the caller's
    return cast(SegmentReader, segments.decode)


_token_events = segment_reader(TokenEvent)


def entries_in(
    payload: bytes, after: int, read: SegmentReader = _token_events, *, joined: bool = True
) -> Iterator[Entry[TokenEvent]]:
    """Yield the segment's events after the number `after`; merged, or with `joined=False` as they were appended.

    Raises:
        StreamGoneError: Events between `after` and this segment are no longer kept.
    """
    pieces = read(payload) if joined else tuple(_apart(read(payload)))
    if pieces[0].before > after:
        raise StreamGoneError(f"events {after + 1} to {pieces[0].before} are no longer kept")
    for piece in pieces:
        if piece.before >= after:
            yield Entry(piece.id, piece.event)
        elif piece.id > after:
            seen = sum(piece.lengths[: after - piece.before])
            kind, delta = cast(MergeKey, merge_key(piece.event)), cast(Delta, piece.event)
            yield Entry(piece.id, make_delta(kind, delta_text(delta)[seen:]))


def _apart(pieces: Sequence[NumberedEvents[TokenEvent]]) -> Iterator[NumberedEvents[TokenEvent]]:
    """Yield the pieces, each merged delta split into the original ones."""
    for piece in pieces:
        if not piece.lengths:
            yield piece
            continue
        kind, text = cast(MergeKey, merge_key(piece.event)), delta_text(cast(Delta, piece.event))
        begin = 0
        for number, length in enumerate(piece.lengths, piece.before + 1):
            yield NumberedEvents(number, make_delta(kind, text[begin : begin + length]))
            begin += length
