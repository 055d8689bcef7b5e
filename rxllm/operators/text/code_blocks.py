"""The code in Markdown while it is written: fenced blocks open, grow and close.

Only the beginning of a line that may be a fence is held back, up to a bound, so the cost is linear in the text. All
other code is emitted at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from ...events import TokenEvent
from .._operator import Operator
from .text_operator import split_text

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
        """Return whether `line`, which has not ended, may become the closing fence."""
        return len(line) <= LONGEST and self._only_marks(line)

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


class CodeBlockStart(msgspec.Struct, frozen=True):
    """A fenced block opens.

    Args:
        index: The number of the block, from 0.
        language: The first word after the fence; "" if there is none.
    """

    index: int
    language: str


class CodeBlockDelta(msgspec.Struct, frozen=True):
    """A piece of a block's code.

    Args:
        index: The number of the block, from 0.
        text: The piece.
    """

    index: int
    text: str


class CodeBlockEnd(msgspec.Struct, frozen=True):
    """A block ends.

    Args:
        index: The number of the block, from 0.
        language: As in `CodeBlockStart`.
        code: The whole code.
        closed: False if the text ended before the closing fence.
    """

    index: int
    language: str
    code: str
    closed: bool


CodeBlockEvent: TypeAlias = CodeBlockStart | CodeBlockDelta | CodeBlockEnd


def code_blocks() -> Operator[TokenEvent | str, CodeBlockEvent]:
    r"""Emit the fenced code blocks of the text as they open, grow and close.

    Fences are those of CommonMark, at any indent (models indent them in lists); that indent is removed from the code.
    After a `StreamReset` the indexes start at 0 again.

    >>> import reactivex
    >>> source = reactivex.of("Try:\n``", "`python\nprint", "(1)\n```\nDone.")
    >>> source.pipe(code_blocks()).subscribe(print).dispose()
    CodeBlockStart(index=0, language='python')
    CodeBlockDelta(index=0, text='print')
    CodeBlockDelta(index=0, text='(1)\n')
    CodeBlockEnd(index=0, language='python', code='print(1)\n', closed=True)
    """
    return split_text(CodeBlocks)


class CodeBlocks:
    """The splitter of `code_blocks`."""

    def __init__(self) -> None:
        self._index = 0
        self._fence: Fence | None = None
        self._code: list[str] = []
        self._shown = 0  # pieces of the code that have been emitted
        self._held: str | None = ""  # the beginning of a line that is not recognised yet; None: it is

    def feed(self, text: str, /) -> Sequence[CodeBlockEvent]:
        """Return the events that follow from `text`."""
        events: list[CodeBlockEvent] = []
        for piece in PIECE.findall(text):
            is_end = piece.endswith("\n")
            if self._held is not None:
                line = self._held + piece
                self._held = None if self._recognise(line, events, is_whole=is_end) else line
            elif self._fence:
                self._code.append(piece)
            if is_end:
                self._held = ""
        self._show(events)
        return events

    def close(self) -> Sequence[CodeBlockEvent]:
        """Return the end of a block that is not closed."""
        events: list[CodeBlockEvent] = []
        if self._held:
            self._recognise(self._held, events, is_whole=True)
        self._end(events, closed=False)
        self._held = ""
        return events

    def _recognise(self, line: str, events: list[CodeBlockEvent], *, is_whole: bool) -> bool:
        """Recognise a line by its beginning; return False if more of it is needed."""
        if self._fence is None:
            if not is_whole and maybe_opening_fence(line):
                return False
            self._fence = opening_fence(line)
            if self._fence is not None:
                events.append(CodeBlockStart(self._index, self._fence.language))
        elif not is_whole and self._fence.maybe_closed_by(line):
            return False
        elif is_whole and self._fence.closed_by(line):
            self._end(events, closed=True)
        else:
            self._code.append(self._fence.unindented(line))
        return True

    def _show(self, events: list[CodeBlockEvent]) -> None:
        new = "".join(self._code[self._shown :])
        self._shown = len(self._code)
        if new:
            events.append(CodeBlockDelta(self._index, new))

    def _end(self, events: list[CodeBlockEvent], *, closed: bool) -> None:
        if self._fence is None:
            return
        self._show(events)
        events.append(CodeBlockEnd(self._index, self._fence.language, "".join(self._code), closed))
        self._index += 1
        self._fence, self._code, self._shown = None, [], 0
