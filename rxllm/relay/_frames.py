"""Frames: what came within a moment, as one entry of the log, neighbouring deltas joined.

Numbers count the events as they came, so a joined delta stands for several. It remembers where
they ended: a reader may go on after any number, even one in the middle of what was joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, cast

import msgspec

from .._coalesce import Delta, Kind, coalesced, delta_of, kind_of, piece_of
from .._log import Entry, LogState
from .._recording import Failure
from ..events import TokenEvent
from .errors import StreamGoneError


class Frame(NamedTuple):
    """An entry of the log as the producer keeps it: events `before` + 1 to `last`."""

    before: int
    last: int
    payload: bytes


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a stream has ended; `lost` where its producer was given up."""

    state: LogState
    error: Failure | None = None
    lost: bool = False


class _Piece(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An event with its number; a joined delta with its last one's, and the length of each."""

    id: int
    event: TokenEvent
    lengths: tuple[int, ...] = ()

    @property
    def before(self) -> int:
        return self.id - (len(self.lengths) or 1)


_encode = msgspec.json.Encoder().encode
_pieces_of = msgspec.json.Decoder(tuple[_Piece, ...]).decode
_ending_of = msgspec.json.Decoder(Ending).decode


def frame_of(events: Sequence[TokenEvent], before: int) -> Frame:
    """`events`, of which there is one at least, that follow the event `before`."""
    pieces: list[_Piece] = []
    number = before
    for kind, group in groupby(events, kind_of):
        run = list(group)
        if kind is None or len(run) == 1:
            pieces.extend(_Piece(number + n, event) for n, event in enumerate(run, 1))
        else:
            lengths = tuple(len(piece_of(cast(Delta, event))) for event in run)
            pieces.append(_Piece(number + len(run), coalesced(run)[0], lengths))
        number += len(run)
    return Frame(before, number, _encode(pieces))


def entries_in(payload: bytes, after: int) -> Iterator[Entry[TokenEvent]]:
    """The frame's events that came after the number `after`.

    Raises `StreamGoneError` where others came between, which are no longer kept.
    """
    pieces = _pieces_of(payload)
    if pieces[0].before > after:
        raise StreamGoneError(f"events {after + 1} to {pieces[0].before} are no longer kept")
    for piece in pieces:
        if piece.before >= after:
            yield Entry(piece.id, piece.event)
        elif piece.id > after:
            seen = sum(piece.lengths[: after - piece.before])
            kind, delta = cast(Kind, kind_of(piece.event)), cast(Delta, piece.event)
            yield Entry(piece.id, delta_of(kind, piece_of(delta)[seen:]))


def ending_to_json(ending: Ending) -> bytes:
    """An ending as it is written to the log."""
    return _encode(ending)


def ending_from_json(text: bytes) -> Ending:
    """The ending that `ending_to_json` wrote."""
    return _ending_of(text)
