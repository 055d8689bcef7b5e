"""Merge adjacent deltas of the same kind. Only the chunk boundaries are lost.

Deltas are `TextDelta`, `ReasoningDelta`, and the `ToolCallDelta`s of one call. Every other item stays
unchanged in its place, also items that are not token events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TypeAlias, TypeVar, cast

from ..events import ReasoningDelta, TextDelta, ToolCallDelta

T = TypeVar("T")

Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
"""The events that may be merged."""

MergeKey: TypeAlias = type[TextDelta] | type[ReasoningDelta] | int
"""Adjacent deltas with equal keys may be merged: the class, or the index of a tool call."""


def merge_deltas(items: Iterable[T]) -> list[T]:
    """Return `items` with adjacent deltas of the same kind merged.

    >>> merge_deltas([TextDelta("Hel"), TextDelta("lo"), ReasoningDelta("hm"), TextDelta("!")])
    [TextDelta(text='Hello'), ReasoningDelta(text='hm'), TextDelta(text='!')]
    """
    return [item for item, _ in merge_runs(items)]


def merge_runs(items: Iterable[T]) -> Iterator[tuple[T, tuple[int, ...]]]:
    """Yield `items` with adjacent deltas of the same kind merged, each with the lengths of the deltas in it.

    The lengths are empty for an item that was not merged.

    >>> list(merge_runs([TextDelta("Hel"), TextDelta("lo"), ReasoningDelta("hm")]))
    [(TextDelta(text='Hello'), (3, 2)), (ReasoningDelta(text='hm'), ())]
    """
    for key, group in groupby(items, merge_key):
        run = list(group)
        if key is None or len(run) == 1:
            for item in run:
                yield item, ()
        else:
            texts = [delta_text(cast(Delta, item)) for item in run]
            yield cast(T, make_delta(key, "".join(texts))), tuple(map(len, texts))


def merge_key(item: object) -> MergeKey | None:
    """Return what adjacent deltas must have in common with `item` to be merged; None if it is not a delta."""
    item_class = type(item)
    if item_class is TextDelta:
        return TextDelta
    if item_class is ReasoningDelta:
        return ReasoningDelta
    return cast(ToolCallDelta, item).index if item_class is ToolCallDelta else None


def delta_text(delta: Delta) -> str:
    """Return the text or the arguments in `delta`."""
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def make_delta(key: MergeKey, text: str) -> Delta:
    """Return the delta with the merge key `key` and `text`."""
    return ToolCallDelta(key, text) if isinstance(key, int) else key(text)


def append_merged(queue: deque[T], item: T) -> None:
    """Append `item`, or merge it into the last item of `queue` if both are deltas of the same kind.

    A `DeltaRun` then replaces the last item. Another thread may take items from the left of `queue` meanwhile.
    """
    if merge_key(item) is None or not _merge_into_last(queue, item):
        queue.append(item)


class DeltaRun:
    """Adjacent deltas of one kind, collected one by one; `merged` joins their text."""

    __slots__ = ("_key", "_texts")

    _MAX_TEXTS = 1024

    def __init__(self, first: Delta) -> None:
        self._key = merge_key(first)
        self._texts = [delta_text(first)]

    def add(self, item: object) -> bool:
        """Add `item` and return True, or return False if it is not of this run's kind."""
        if merge_key(item) != self._key:
            return False
        self._texts.append(delta_text(cast(Delta, item)))
        if len(self._texts) >= self._MAX_TEXTS:
            self._texts = ["".join(self._texts)]
        return True

    def merged(self) -> Delta:
        """Return the whole run as one delta."""
        return make_delta(cast(MergeKey, self._key), "".join(self._texts))


def _merge_into_last(queue: deque[T], item: T) -> bool:
    """Merge `item` into the last item of `queue`; return False if they are not deltas of the same kind."""
    try:
        last = queue.pop()
    except IndexError:
        return False
    run = last if merge_key(last) is None else DeltaRun(cast(Delta, last))
    is_merged = isinstance(run, DeltaRun) and run.add(item)
    queue.append(cast(T, run))
    return is_merged
