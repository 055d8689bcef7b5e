"""Text that grows, with the whole text available after each piece, at a cost that is linear in its length.

A `str` cannot share its beginning with a longer one, so a snapshot per piece looks quadratic. But CPython appends in
place to a string with one reference (a `+=` on a local name). A consumer usually keeps the latest snapshot, so two
strings alternate: the piece is appended to the one before the latest. If the consumer keeps that one too (in a list
of all snapshots, for example), CPython copies, and the result is the same.
"""

from __future__ import annotations


class GrowingText:
    """A text that grows piece by piece."""

    __slots__ = ("_before", "_missed", "latest")

    def __init__(self) -> None:
        self.latest = ""
        """The whole text so far."""
        self._before = ""
        self._missed = ""

    def add(self, piece: str) -> str:
        """Append `piece`; return the whole text so far."""
        text = self._before
        self._before = self.latest  # moves the reference, so that `text` holds the only one to its string
        self.latest = ""
        text += self._missed
        text += piece
        self.latest = text
        self._missed = piece
        return text
