"""Text that grows, shown whole after each piece, at a cost that is linear in its length.

A `str` cannot share its beginning with a longer one, so a snapshot per piece looks quadratic.
CPython, though, appends in place to a string that nobody else holds (a `+=` on a local name).
A consumer usually holds the latest snapshot, so two strings take turns: the piece goes to the
one that was shown before the last. Where a consumer holds that one too (a list of all
snapshots, say), CPython copies, and the result is the same.
"""

from __future__ import annotations


class GrowingText:
    """A text that grows piece by piece."""

    __slots__ = ("_before", "_missed", "latest")

    def __init__(self) -> None:
        self.latest = ""
        """The whole text so far. Do not keep it beside this object: see above."""
        self._before = ""
        self._missed = ""

    def add(self, piece: str) -> str:
        """The whole text so far, `piece` included."""
        text = self._before
        self._before = self.latest  # moves the reference, so that `text` is the only one to its string
        self.latest = ""
        text += self._missed
        text += piece
        self.latest = text
        self._missed = piece
        return text
