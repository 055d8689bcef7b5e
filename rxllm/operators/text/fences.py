"""Fences of code blocks in Markdown, recognised from the beginning of a line as it comes.

A line is recognised as soon as possible. The caller holds back a beginning that may still become a fence, up to a
bound, so the cost is linear in the text.
"""

from __future__ import annotations

import re

LONGEST = 1000
"""The most characters of a line's beginning that are held back."""

PIECE = re.compile(r"[^\n]*\n|[^\n]+")
"""A line with its end, or the beginning of one."""

_OPENING = re.compile(r"(?P<indent>[ \t]*)(?P<mark>`{3,}(?=[^`]*\Z)|~{3,})(?P<info>[^\n]*)\n?")
_MAYBE_OPENING = re.compile(r"[ \t]*(?:`{0,2}|`{3,}[^`\n]*|~{0,2}|~{3,}[^\n]*)\Z")


class Fence:
    """An open fence, made of the line that opened it."""

    def __init__(self, opening: re.Match[str]) -> None:
        self._mark = opening["mark"]
        self._indent = len(opening["indent"])
        self.language = (opening["info"].split() or [""])[0]

    def closed_by(self, line: str) -> bool:
        """Return whether `line`, a whole line, is the closing fence."""
        return len(line.strip()) >= len(self._mark) and self._only_marks(line)

    def maybe_closed_by(self, line: str) -> bool:
        """Return whether `line` may become the closing fence."""
        return not line.endswith("\n") and len(line) <= LONGEST and self._only_marks(line)

    def unindented(self, line: str) -> str:
        """Return a line of code without the indent of the fence."""
        indent = len(line) - len(line.lstrip(" \t"))
        return line[min(indent, self._indent) :]

    def _only_marks(self, line: str) -> bool:
        return not line.strip().strip(self._mark[0])


def opening_fence(line: str) -> Fence | None:
    """Return the fence that the whole line opens: CommonMark's, at any indent, as models indent them in lists."""
    opening = _OPENING.fullmatch(line)
    return None if opening is None else Fence(opening)


def maybe_opening_fence(line: str) -> bool:
    """Return whether `line`, which has not ended, may become the opening of a fence."""
    return len(line) <= LONGEST and _MAYBE_OPENING.match(line) is not None
