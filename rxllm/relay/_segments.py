"""Frames: what came within a moment, as one entry of the log, neighbouring deltas joined.

Numbers count the events as they came, so a joined delta stands for several. It remembers where
they ended: a reader may go on after any number, even one in the middle of what was joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from .._core.delta_merge import Delta, MergeKey, delta_text, make_delta, merge_deltas, merge_key
from .._core.error_format import ErrorRecord
from .._core.event_log import Entry, LogState
from ..events import TokenEvent
from .errors import StreamGoneError

E = TypeVar("E")


class Segment(NamedTuple):
    """An entry of the log as the producer keeps it: events `before` + 1 to `last`."""

    before: int
    last: int
    payload: bytes


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a stream has ended; `lost` where its producer was given up."""

    state: LogState
    error: ErrorRecord | None = None
    lost: bool = False


class NumberedEvents(msgspec.Struct, Generic[E], frozen=True, array_like=True, omit_defaults=True):
    """An event with its number; a joined delta with its last one's, and the length of each."""

    id: int
    event: E
    lengths: tuple[int, ...] = ()

    @property
    def before(self) -> int:
        return self.id - (len(self.lengths) or 1)


SegmentReader: TypeAlias = Callable[[bytes], tuple[NumberedEvents[TokenEvent], ...]]

_encode = msgspec.json.Encoder().encode
_ending_of = msgspec.json.Decoder(Ending).decode


def segment_of(events: Sequence[TokenEvent], before: int) -> Segment:
    """`events`, of which there is one at least, that follow the event `before`."""
    pieces: list[NumberedEvents[TokenEvent]] = []
    number = before
    for kind, group in groupby(events, merge_key):
        run = list(group)
        if kind is None or len(run) == 1:
            pieces.extend(NumberedEvents(number + n, event) for n, event in enumerate(run, 1))
        else:
            lengths = tuple(len(delta_text(cast(Delta, event))) for event in run)
            pieces.append(NumberedEvents(number + len(run), merge_deltas(run)[0], lengths))
        number += len(run)
    return Segment(before, number, _encode(pieces))


@cache
def segment_reader(events: object) -> SegmentReader:
    """What reads frames of events of this type, a union of structs: token events, or an assistant's too."""
    decoder = msgspec.json.Decoder(tuple[NumberedEvents[events], ...])  # type: ignore[valid-type]  # a type of the caller's
    return cast(SegmentReader, decoder.decode)


_token_events = segment_reader(TokenEvent)


def entries_in(
    payload: bytes, after: int, read: SegmentReader = _token_events, *, joined: bool = True
) -> Iterator[Entry[TokenEvent]]:
    """The frame's events that came after the number `after`; not `joined`, they are as they came.

    Raises `StreamGoneError` where others came between, which are no longer kept.
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
    """The pieces, each joined delta taken apart into those that came."""
    for piece in pieces:
        if not piece.lengths:
            yield piece
            continue
        kind, text = cast(MergeKey, merge_key(piece.event)), delta_text(cast(Delta, piece.event))
        begin = 0
        for number, length in enumerate(piece.lengths, piece.before + 1):
            yield NumberedEvents(number, make_delta(kind, text[begin : begin + length]))
            begin += length


def ending_to_json(ending: Ending) -> bytes:
    """An ending as it is written to the log."""
    return _encode(ending)


def ending_from_json(text: bytes) -> Ending:
    """The ending that `ending_to_json` wrote."""
    return _ending_of(text)
