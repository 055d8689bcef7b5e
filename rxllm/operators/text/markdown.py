"""Markdown in blocks, to render it while it is written: all is stable but the last block.

A block is told by the first characters of its lines, so only the beginning of a line that
cannot be told yet is held back (an indent, the backticks of a fence, the digits of a list item).
Blocks are cut where rendering them one by one gives what rendering the whole would: at blank
lines outside of code and lists, after headings, before and after code. (Link definitions at
the end of an answer do not reach back into earlier blocks.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from ...events import TokenEvent
from .._operator import Operator
from .fences import LONGEST, PIECE, Fence, maybe_opening_fence, opening_fence
from .growing_text import GrowingText
from .text_operator import split_text


class MarkdownBlock(msgspec.Struct, frozen=True):
    """A block as it is so far: the last one grows, until it is `closed` and stays as it is.

    The texts of the closed blocks, joined, are the text without blank lines at its end. A block
    with an index seen before replaces that block, and voids those after it: that is how a
    `StreamReset` shows.
    """

    index: int
    text: str
    closed: bool


def markdown_blocks() -> Operator[TokenEvent | str, MarkdownBlock]:
    r"""Emit the text's blocks: paragraphs, headings, lists, tables, code, each with what it has grown to.

    A renderer keeps one element per index, and redraws only the last:

    >>> import reactivex
    >>> source = reactivex.of("# Ti", "tle\nSome ", "text.\n\nMore")
    >>> source.pipe(markdown_blocks()).subscribe(print).dispose()
    MarkdownBlock(index=0, text='# Ti', closed=False)
    MarkdownBlock(index=0, text='# Title\n', closed=True)
    MarkdownBlock(index=1, text='Some ', closed=False)
    MarkdownBlock(index=1, text='Some text.\n\n', closed=True)
    MarkdownBlock(index=2, text='More', closed=False)
    MarkdownBlock(index=2, text='More', closed=True)
    """
    return split_text(_MarkdownBlocks)


_Kind: TypeAlias = Literal["text", "heading", "list", "code"]

_MAYBE_MARKER = re.compile(r"[ \t]*(?:#{1,6}|[-*+]|\d{1,9}[.)]?)\Z")
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])\s")
_FIRST_ITEM = re.compile(r" {0,3}(?:[-*+]|1[.)])\s")
_INDENTED = re.compile(r" {2}|\t")


class _MarkdownBlocks:
    def __init__(self) -> None:
        self._index = 0
        self._block: GrowingText | None = None
        self._kind: _Kind = "text"
        self._fence: Fence | None = None
        self._closes_fence = False  # by the line under way
        self._blank = False  # the line under way
        self._after_blank = False
        self._new: list[str] = []  # what the block has grown by since it was shown; before it, blank lines
        self._held: str | None = ""  # the beginning of a line that cannot be told yet; None: it was told

    def feed(self, text: str, /) -> Sequence[MarkdownBlock]:
        blocks: list[MarkdownBlock] = []
        for piece in PIECE.findall(text):
            line = piece if self._held is None else self._held + piece
            ended = line.endswith("\n")
            if self._held is not None and not ended and self._maybe_more(line):
                self._held = line
                continue
            if self._held is None:
                self._grow(piece)
            else:
                self._begin_line(line, blocks)
            self._held = None
            if ended:
                self._held = ""
                self._end_line(blocks)
        return blocks if not self._new else [*blocks, *self._shown(closed=False)]

    def close(self) -> Sequence[MarkdownBlock]:
        blocks: list[MarkdownBlock] = []
        if self._held:
            self._begin_line(self._held, blocks)
        self._end_block(blocks)
        self._held, self._fence = "", None
        self._new.clear()
        return blocks

    def _maybe_more(self, line: str) -> bool:
        """Whether more of this beginning of a line must come before it can be told."""
        if self._fence is not None:
            return self._fence.maybe_closed_by(line)
        return maybe_opening_fence(line) or (len(line) <= LONGEST and _MAYBE_MARKER.match(line) is not None)

    def _begin_line(self, line: str, blocks: list[MarkdownBlock]) -> None:
        self._blank = self._fence is None and line.isspace()
        self._closes_fence = self._fence is not None and self._fence.closed_by(line)
        if self._fence is None and not self._blank:
            self._fence = opening_fence(line)
            kind = self._new_kind(line)
            if kind is not None:
                self._end_block(blocks)
                self._kind = kind
        self._grow(line)

    def _end_line(self, blocks: list[MarkdownBlock]) -> None:
        if self._closes_fence:
            self._fence = None
        closes = {"text": self._blank, "heading": True, "list": False, "code": self._closes_fence}
        if closes[self._kind]:
            self._end_block(blocks)
        self._after_blank = self._blank

    def _new_kind(self, line: str) -> _Kind | None:
        """The kind of the block that begins with this line; None where the block under way goes on."""
        if self._block is not None and self._kind == "list" and (_INDENTED.match(line) or _ITEM.match(line)):
            return None
        if self._fence is not None:
            return "code"
        if _HEADING.match(line):
            return "heading"
        if _FIRST_ITEM.match(line) or (self._block is None and _ITEM.match(line)):
            return "list"
        return "text" if self._block is None or self._after_blank else None

    def _grow(self, piece: str) -> None:
        self._new.append(piece)
        if self._block is None and (self._fence is not None or not piece.isspace()):
            self._block = GrowingText()

    def _shown(self, *, closed: bool) -> Sequence[MarkdownBlock]:
        """The block under way, if there is one."""
        if self._block is None:
            return ()
        text = self._block.add("".join(self._new))
        self._new.clear()
        return (MarkdownBlock(self._index, text, closed),)

    def _end_block(self, blocks: list[MarkdownBlock]) -> None:
        blocks.extend(self._shown(closed=True))
        if self._block is not None:
            self._block = None
            self._index += 1
