"""Markdown in blocks, to render it while it is written: only the last block changes.

A block is recognised by the first characters of its lines, so only the beginning of a line is held back (an indent,
the backticks of a fence, the digits of a list item). Blocks are cut where rendering them one by one gives the same as
rendering the whole (CommonMark): at blank lines outside of code, HTML and lists, after headings, before and after code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from ...events import TokenEvent
from .._operator import Operator
from .code_blocks import LONGEST, PIECE, Fence, maybe_opening_fence, opening_fence
from .growing_text import GrowingText
from .text_operator import split_text


class MarkdownBlock(msgspec.Struct, frozen=True):
    """A block as it is so far: the last one grows until it is `closed`.

    The texts of the closed blocks, joined, are the whole text without blank lines at its end. A block whose index has
    been emitted before replaces that block and removes those after it: so a `StreamReset` shows, and so do link
    definitions that come after the text that uses them.

    Args:
        index: The number of the block, from 0.
        text: Its Markdown, with the blank lines after it.
        closed: True if it does not change any more.
        definitions: The link definitions of the other blocks so far.
    """

    index: int
    text: str
    closed: bool
    definitions: str = ""

    @property
    def markdown(self) -> str:
        """The Markdown to render: `text`, after the link definitions that it may need."""
        return f"{self.definitions}\n{self.text}" if self.definitions and "[" in self.text else self.text


def markdown_blocks() -> Operator[TokenEvent | str, MarkdownBlock]:
    r"""Emit the blocks of the text: paragraphs, headings, lists, tables, code, each whenever it has grown.

    A renderer keeps one element per index and renders only the last one again:

    >>> import reactivex
    >>> source = reactivex.of("# Ti", "tle\nSome ", "text.\n\nMore")
    >>> source.pipe(markdown_blocks()).subscribe(lambda block: print(block.index, repr(block.text))).dispose()
    0 '# Ti'
    0 '# Title\n'
    1 'Some '
    1 'Some text.\n\n'
    2 'More'
    2 'More'
    """
    return split_text(_MarkdownBlocks)


_Kind: TypeAlias = Literal["text", "heading", "list", "code", "indented", "html"]

_MAYBE_MARKER = re.compile(r"[ \t]*(?:#{1,6}|[-*+]|\d{1,9}[.)]?)\Z| {0,3}<[!?a-zA-Z\[-]{0,9}\Z")
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])\s")
_FIRST_ITEM = re.compile(r" {0,3}(?:[-*+]|1[.)])\s")
_INDENTED = re.compile(r" {2}|\t")
_CODE_INDENT = re.compile(r" {4}| {0,3}\t")
_HTML = re.compile(
    r" {0,3}<(?:(?P<tag>script|pre|style|textarea)(?=[\s>])|(?P<comment>!--)|(?P<cdata>!\[CDATA\[)|(?P<code>\?)"
    r"|(?P<declaration>![a-zA-Z]))",
    re.IGNORECASE,
)
_HTML_ENDS = {"comment": "-->", "cdata": "]]>", "code": "?>", "declaration": ">"}
_CONTAINERS = re.compile(r"(?:[ \t]*(?:>|(?P<item>[-*+]|\d{1,9}[.)])(?=\s)))*[ \t]*")
"""The markers of quotes and list items at the beginning of a line."""
_DEFINITION = re.compile(
    r" {0,3}\[(?P<label>(?:[^\[\]\\]|\\.){1,999})\]:[ \t]*(?:<[^<>\n]*>|[^\s<]\S*)"
    r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*(?:\r?\n|\Z)"""
)


class _MarkdownBlocks:
    """The splitter of `markdown_blocks`."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        """The closed blocks."""
        self._block: GrowingText | None = None
        self._kind: _Kind = "text"
        self._fence: Fence | None = None
        self._html_end = ""
        """The text that ends the open HTML block."""
        self._line: list[str] = []
        """The pieces of the current line, in an HTML block."""
        self._closes_fence = False  # the current line does
        self._blank = False  # the current line is
        self._after_blank = False
        self._new: list[str] = []
        """The text by which the block has grown since it was emitted; before a block, blank lines."""
        self._held: str | None = ""
        """The beginning of a line that is not recognised yet; None: it is."""
        self._definitions: dict[str, str] = {}
        """The link definitions of the closed blocks, by label."""
        self._all_definitions = ""
        self._outdated = False
        """A definition came after closed blocks that may use it."""

    def feed(self, text: str, /) -> Sequence[MarkdownBlock]:
        """Return the changed blocks. The beginning of a line is held back until its kind is certain."""
        if self._held is None and text and "\n" not in text:  # most text is: within a line, and recognised
            self._grow(text)
            return self._grown(closed=False)
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
        return blocks if not self._new else [*blocks, *self._grown(closed=False)]

    def close(self) -> Sequence[MarkdownBlock]:
        """Close the last block; return it, and earlier blocks that a later link definition has changed."""
        blocks: list[MarkdownBlock] = []
        if self._held:
            self._begin_line(self._held, blocks)
        self._end_block(blocks)
        self._held, self._fence, self._html_end = "", None, ""
        self._new.clear()
        return [*blocks, *self._updated()]

    def _maybe_more(self, line: str) -> bool:
        """Return whether more of this beginning of a line is needed to recognise it."""
        if self._fence is not None:
            return self._fence.maybe_closed_by(line)
        if maybe_opening_fence(line):
            return True
        return len(line) <= LONGEST and (_is_blank(line) or _MAYBE_MARKER.match(line) is not None)

    def _begin_line(self, line: str, blocks: list[MarkdownBlock]) -> None:
        """Add the recognised beginning of a line: to the open block, or to a new one of its kind."""
        self._blank = self._fence is None and _is_blank(line)
        self._closes_fence = self._fence is not None and self._fence.closed_by(line)
        if self._fence is None and not self._html_end and not self._blank:
            kind = self._new_kind(line)
            if kind is not None:
                self._end_block(blocks)
                self._kind = kind
        self._grow(line)

    def _end_line(self, blocks: list[MarkdownBlock]) -> None:
        """End the line, and the block that it closes: a blank line ends text, a heading is one line."""
        if self._closes_fence:
            self._fence = None
        if self._html_end and self._html_end in "".join(self._line).lower():
            self._html_end = ""
            self._end_block(blocks)
        self._line.clear()
        closes = {"text": self._blank, "heading": True, "code": self._closes_fence}
        if closes.get(self._kind, False):
            self._end_block(blocks)
        self._after_blank = self._blank

    def _new_kind(self, line: str) -> _Kind | None:
        """Return the kind of the block that begins with this line; None if the current block continues."""
        begins = self._block is None or self._after_blank or self._kind == "indented"
        if self._kind == "list" and self._block is not None and (_INDENTED.match(line) or _ITEM.match(line)):
            self._fence = opening_fence(line)
            return None
        if _CODE_INDENT.match(line) and self._kind == "indented" and self._block is not None:
            return None
        self._fence = opening_fence(line)
        if self._fence is not None:
            return "code"
        if begins and _CODE_INDENT.match(line):
            return "indented"
        if _HEADING.match(line):
            return "heading"
        html = _HTML.match(line)
        if html is not None:
            self._html_end = f"</{html['tag'].lower()}>" if html["tag"] else _HTML_ENDS[html.lastgroup or ""]
            return "html"
        if _FIRST_ITEM.match(line) or (self._block is None and _ITEM.match(line)):
            return "list"
        return "text" if begins else None

    def _grow(self, piece: str) -> None:
        self._new.append(piece)
        if self._html_end:
            self._line.append(piece)
        if self._block is None and (self._fence is not None or not _is_blank(piece)):
            self._block = GrowingText()

    def _grown(self, *, closed: bool) -> Sequence[MarkdownBlock]:
        """Return the current block, if there is one."""
        if self._block is None:
            return ()
        text = self._block.add("".join(self._new))
        self._new.clear()
        return (MarkdownBlock(len(self._texts), text, closed, self._all_definitions),)

    def _end_block(self, blocks: list[MarkdownBlock]) -> None:
        """Close the current block, if there is one, and keep its link definitions."""
        for block in self._grown(closed=True):
            blocks.append(block)
            self._block = None
            if self._kind in ("text", "list") and "]:" in block.text:
                for paragraph in _paragraphs(block.text):
                    self._add_definitions(paragraph)
            self._texts.append(block.text)

    def _add_definitions(self, text: str) -> None:
        """Keep the link definitions at the beginning of a block; earlier blocks that may use one are outdated."""
        at = 0
        while (match := _DEFINITION.match(text, at)) is not None:
            label = " ".join(match["label"].split()).casefold()
            if label not in self._definitions:
                self._definitions[label] = match[0].rstrip("\r\n") + "\n"
                self._all_definitions += self._definitions[label]
                self._outdated = self._outdated or any("[" in earlier for earlier in self._texts)
            at = match.end()

    def _updated(self) -> Sequence[MarkdownBlock]:
        """Return the closed blocks again, from the first on that may use a definition that came later."""
        if not self._outdated:
            return ()
        self._outdated = False
        first = next(n for n, text in enumerate(self._texts) if "[" in text)
        return [
            MarkdownBlock(first + n, text, True, self._all_definitions) for n, text in enumerate(self._texts[first:])
        ]


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a block, without the markers of quotes and lists; without code."""
    paragraph, fence = "", None
    for line in text.splitlines(keepends=True):
        markers = _CONTAINERS.match(line)
        content = line[markers.end() :] if markers else line
        if fence is not None:
            fence = None if fence.closed_by(content) else fence
            continue
        fence = opening_fence(content)
        if fence is not None or _is_blank(content) or (markers and markers["item"]):
            yield paragraph
            paragraph = ""
        if fence is None and not _is_blank(content):
            paragraph += content
    yield paragraph


def _is_blank(line: str) -> bool:
    """Return whether `line` is blank in the sense of CommonMark: other white space of Unicode is text."""
    return not line.strip(" \t\r\n")
