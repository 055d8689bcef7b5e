"""Joining neighbouring deltas of one kind: what is lost is only where the wire happened to cut.

Deltas are `TextDelta`, `ReasoningDelta`, and the `ToolCallDelta`s of one call. Everything else
stays as it is and where it is: tool calls, usage, vendor events, resets and ends, and items
that are no token events at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import groupby
from typing import TypeAlias, TypeVar, cast

from ..events import ReasoningDelta, TextDelta, ToolCallDelta

T = TypeVar("T")

Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
Kind: TypeAlias = type[TextDelta] | type[ReasoningDelta] | int
"""What neighbours must share to be joined; a tool call's is its index."""


def coalesced(items: Iterable[T]) -> list[T]:
    """`items` with neighbouring deltas of a kind joined.

    >>> coalesced([TextDelta("Hel"), TextDelta("lo"), ReasoningDelta("hm"), TextDelta("!")])
    [TextDelta(text='Hello'), ReasoningDelta(text='hm'), TextDelta(text='!')]
    """
    joined: list[T] = []
    for kind, group in groupby(items, kind_of):
        if kind is None:
            joined.extend(group)
        else:
            joined.append(cast(T, delta_of(kind, "".join(map(piece_of, cast("Iterable[Delta]", group))))))
    return joined


def kind_of(item: object) -> Kind | None:
    """What `item` is a piece of; None where it is no delta."""
    kind = type(item)
    if kind is TextDelta:
        return TextDelta
    if kind is ReasoningDelta:
        return ReasoningDelta
    return cast(ToolCallDelta, item).index if kind is ToolCallDelta else None


def piece_of(delta: Delta) -> str:
    """The text that `delta` brings."""
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def delta_of(kind: Kind, piece: str) -> Delta:
    """The delta of `kind` that brings `piece`."""
    return ToolCallDelta(kind, piece) if isinstance(kind, int) else kind(piece)


def append_joined(queue: deque[T], item: T) -> None:
    """Append `item`, as part of the last in `queue` where both are deltas of a kind.

    A `Run` then stands in for the last. Another thread may take from the left of `queue` meanwhile.
    """
    if kind_of(item) is None or not _joined_to_last(queue, item):
        queue.append(item)


class Run:
    """Neighbouring deltas of one kind, collected as they come and joined when they are wanted."""

    __slots__ = ("_kind", "_pieces")

    _LONGEST = 1024

    def __init__(self, first: Delta) -> None:
        self._kind = kind_of(first)
        self._pieces = [piece_of(first)]

    def add(self, item: object) -> bool:
        """Take in `item`; False, and nothing done, where it is not of this run's kind."""
        if kind_of(item) != self._kind:
            return False
        self._pieces.append(piece_of(cast(Delta, item)))
        if len(self._pieces) >= self._LONGEST:
            self._pieces = ["".join(self._pieces)]
        return True

    def joined(self) -> Delta:
        """All of the run as one delta."""
        return delta_of(cast(Kind, self._kind), "".join(self._pieces))


def _joined_to_last(queue: deque[T], item: T) -> bool:
    try:
        last = queue.pop()
    except IndexError:
        return False
    run = last if kind_of(last) is None else Run(cast(Delta, last))
    joined = isinstance(run, Run) and run.add(item)
    queue.append(cast(T, run))
    return joined
