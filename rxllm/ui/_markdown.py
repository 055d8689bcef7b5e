r"""Markdown as styled paragraphs, parsed while it is written; for any text widget.

Only the last paragraph may still change. Nothing in the result can load a resource: images become links, HTML is shown
as text, and a link is kept only for http, https and mailto.

>>> parser = MarkdownParser()
>>> parser.feed("- **Bold** `co"); parser.feed("de`\n")
>>> [run.text for run in parser.paragraphs[0].runs], [run.styles for run in parser.paragraphs[0].runs]
(['Bold', ' ', 'code'], [('bold',), (), ('code',)])
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..operators.text.code_blocks import Fence, opening_fence

Kind: TypeAlias = Literal["text", "heading", "item", "quote", "code", "rule", "table"]
Style: TypeAlias = Literal[
    "bold", "italic", "strike", "code", "faint", "error", "keyword", "string", "comment", "number", "name"
]

COLORS: dict[str, tuple[str, str]] = {
    "faint": ("#666666", "#a0a0a0"),
    "error": ("#c0392b", "#ff8a80"),
    "keyword": ("#8250df", "#d2a8ff"),
    "string": ("#0a6640", "#8fd19e"),
    "comment": ("#636c76", "#9da7b3"),
    "number": ("#0550ae", "#79c0ff"),
    "name": ("#953800", "#ffa657"),
}
"""The colours of styles on light and on dark paper."""

SAFE_LINK = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
"""The beginning of an address that a click may open."""


class Run(Struct, frozen=True, gc=False):
    """Text of one look. `link` is an address, or empty.

    A long answer has thousands, so the garbage collector does not look at them.
    """

    text: str
    styles: tuple[Style, ...] = ()
    link: str = ""


class Paragraph(Struct, frozen=True, gc=False):
    """A paragraph, heading, list item, line of code, or table (whose `rows` hold cells of runs).

    `level` is that of a heading (1 to 6) or the depth of an item (from 0), `marker` the bullet or number of an item.
    For code, `marker` is the language. A block of code and a long table are several paragraphs; the `level` of those
    after the first is 1, or 2 if a line of code goes on. A very long text is several paragraphs, too.
    """

    kind: Kind
    runs: tuple[Run, ...] = ()
    level: int = 0
    marker: str = ""
    rows: tuple[tuple[tuple[Run, ...], ...], ...] = ()


class _Open(Struct, frozen=True, gc=False):
    """The paragraph that may still grow."""

    kind: Kind
    lines: tuple[str, ...]
    level: int = 0
    marker: str = ""
    length: int = 0
    """Characters of the lines before the last one."""


LONGEST_PARAGRAPH = 16_000
"""Characters: a widget computes the layout of all of a paragraph again for each word, and the parser reads it again."""

_IMAGE_DATA = re.compile(r"(\]\(data:)[^\s)]+")

_TABLE_LINES = 30
"""In one paragraph of a widget, which computes the layout of all of a table again for each change."""

_MOST_COLUMNS = 30
"""A widget freezes over thousands. The rest of a row is in its last cell."""

_DEEPEST_ITEM = 9
"""Items below it are no deeper: there would be no room for their text."""

_HELD = re.compile(
    r"[ \t]*(?:#{1,6}|[-*+=]{1,3}|\d{1,9}[.)]?|`{1,2}|`{3}[^`]*|~{1,2}|~{3}.*|>"
    r"|\|?[ \t:|-]*|\[[^\]]{0,80}|\[[^\]]{1,80}\]:.*)"
)
"""The beginning of a line that does not yet show what it is."""

_HEADING = re.compile(r" {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*$")
_RULE = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*$")
_ITEM = re.compile(r"([ \t]*)(?:[-*+]|(\d{1,9}[.)]))\s+(.*)")
_TASK = re.compile(r"\[([ xX])\]\s+")
_QUOTE = re.compile(r" {0,3}> ?(.*)")
_TABLE_RULE = re.compile(r"\s*\|?(?:\s*:?-+:?\s*\|)+\s*(?::?-+:?)?\s*$")
_CELL_END = re.compile(r"(?<!\\)\|")
_DEFINITION = re.compile(r" {0,3}\[([^\]]{1,80})\]:\s*<?(\S+?)>?(?:\s+[\"'(].*)?$")
_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>[^`].{0,1000}?|)(?<!`)(?P=ticks)(?!`)"
    r"|!?\[(?P<label>(?:[^\[\]]|\[[^\[\]]{0,200}\]){0,500})\](?:\(\s*<?(?P<url>[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)?)>?[^()]{0,200}\)|\[(?P<ref>[^\]]{0,80})\])?"
    r"|<(?P<auto>(?:https?://|mailto:)[^\s<>]+)>"
    r"|(?P<bare>https?://[^\s<>\[\]`|\"]*[^\s<>\[\]`|\".,:;!?)*_~'])"
    r"|(?P<mark>\*{1,3}|~~|(?<!\w)_{1,3})(?=\S)(?P<body>.{0,500}?[^\s*_~])(?P=mark)(?!(?<=_)\w)",
    re.DOTALL,
)
_MARKS: dict[str, tuple[Style, ...]] = {"*": ("italic",), "**": ("bold",), "***": ("bold", "italic"), "~~": ("strike",)}


class MarkdownParser:
    """Parses Markdown that grows. `paragraphs` is what it has come to.

    A table of more than `table_lines` lines is several paragraphs, and so is a text of more than `longest` characters.
    """

    def __init__(self, table_lines: float = _TABLE_LINES, longest: float = LONGEST_PARAGRAPH) -> None:
        """Begin with an empty text."""
        self._table_lines = table_lines
        self._longest = longest
        self.paragraphs: list[Paragraph] = []
        self._sources: list[_Open] = []
        """Of the paragraphs that are whole."""
        self._open: _Open | None = None
        self._fence: Fence | None = None
        self._in_code = False
        """Whether a line of the block of code under way has been read."""
        self._indents: list[int] = []
        """The indents of the list items around this line."""
        self._tail = ""
        self._goes_on = False
        """Whether the beginning of the line under way has been read, as the line is very long."""
        self._definitions: dict[str, str] = {}

    def feed(self, text: str) -> None:
        """Add text. A line that does not show yet what it is waits for more of it, or for its end."""
        *lines, self._tail = (self._tail + text).split("\n")
        del self.paragraphs[len(self._sources) :]
        for line in lines:
            self._read_pieces(self._pieces(line))
            self._goes_on = False
        *whole, self._tail = self._pieces(self._tail)
        self._read_pieces(whole)
        self._show_tail()

    def _pieces(self, line: str) -> Iterator[str]:
        """Cut a very long line, without the images in it that some gateways send: no widget shows them."""
        if len(line) > self._longest and self._fence is None:
            line = _IMAGE_DATA.sub(r"\1", line)
        return pieces(line, self._longest)

    def _read_pieces(self, pieces_of_line: Iterable[str]) -> None:
        """Read pieces of one line, from its beginning or going on with it."""
        for piece in pieces_of_line:
            (self._read_more if self._goes_on else self._read)(piece)
            self._goes_on = True

    def _show_tail(self) -> None:
        """Show the line under way, and keep what will be parsed once it has ended."""
        whole, opened, fence, indents = len(self._sources), self._open, self._fence, list(self._indents)
        in_code = self._in_code
        if not self._tail:
            pass
        elif self._goes_on:
            self._read_more(self._tail)
        elif not (_HELD.fullmatch(self._tail) if fence is None else fence.maybe_closed_by(self._tail)):
            self._read(self._tail)
        if self._open is not None:
            self.paragraphs.append(self._render(self._open))
        del self._sources[whole:]
        self._open, self._fence, self._indents, self._in_code = opened, fence, indents, in_code

    def _read(self, line: str) -> None:
        """Read a line: of code, an empty one, a fence, the address of a link, or text."""
        if self._fence is not None:
            if self._fence.closed_by(line):
                self._fence = None
            else:
                self._add(_Open("code", (line,), int(self._in_code), self._fence.language))
                self._in_code = True
        elif not line.strip():
            self._close()
        elif (fence := opening_fence(line.lstrip())) is not None:
            self._close()
            self._fence, self._in_code = fence, False
        elif self._open is None and (found := _DEFINITION.match(line)):
            self._define(found[1].casefold(), found[2])
        else:
            self._read_text(line)

    def _read_more(self, piece: str) -> None:
        """Read more of a very long line, as a paragraph that looks like the one before it."""
        ended = self._open is None
        self._close()
        before = self._sources[-1] if self._sources else _Open("text", ())
        if self._fence is not None:
            self._add(_Open("code", (piece,), 2 * self._in_code, self._fence.language))
            self._in_code = True
        elif piece.strip():
            kind: Kind = "text" if before.kind == "rule" else before.kind
            levels: dict[Kind, int] = {"table": 1, "code": 2}
            self._open = _Open(kind, (piece,), levels.get(kind, before.level))
            if ended:
                self._close()

    def _read_text(self, line: str) -> None:
        """Read a line outside of fences: it opens a block of its kind, goes on with the open one, or underlines it."""
        opened = self._open
        if opened is not None and opened.kind == "text" and (found := _UNDERLINE.match(line)):
            self._open = replace(opened, kind="heading", level=1 if found[1][0] == "=" else 2)
            self._close()
        elif found := _HEADING.match(line):
            self._add(_Open("heading", (found[2] or "",), len(found[1])))
        elif _RULE.match(line):
            self._add(_Open("rule", ()))
        elif found := _ITEM.match(line):
            self._begin_item(found[1].expandtabs(4), found[2] or "•", found[3])
        elif found := _QUOTE.match(line):
            self._continue("quote", found[1])
        elif line.lstrip().startswith("|") or (opened and opened.kind == "table" and "|" in line):
            self._continue("table", line)
        elif opened is not None and _TABLE_RULE.match(line) and len(opened.lines) == 1 and "|" in opened.lines[0]:
            self._open = _Open("table", (*opened.lines, line))
        elif opened is None and self._indents and line[0] in " \t":
            self._open = _Open("item", (line.strip(),), min(len(self._indents) - 1, _DEEPEST_ITEM))
        elif opened is None and not self._indents and line.startswith("    "):
            goes_on = bool(self._sources) and self._sources[-1].kind == "code"
            self._add(_Open("code", (line[4:],), int(goes_on)))
        else:
            if opened is None:
                self._indents.clear()
            self._continue(opened.kind if opened is not None and opened.kind != "table" else "text", line)

    def _begin_item(self, indent: str, marker: str, text: str) -> None:
        """Open a list item; its level follows from the indents of the items before it."""
        self._close()
        width = len(indent)
        while self._indents and width < self._indents[-1]:
            self._indents.pop()
        if not self._indents or width >= self._indents[-1] + 2:
            self._indents.append(width)
        if task := _TASK.match(text):
            marker, text = "☐" if task[1] == " " else "☑", text[task.end() :]
        self._open = _Open("item", (text,), min(len(self._indents) - 1, _DEEPEST_ITEM), marker)

    def _continue(self, kind: Kind, line: str) -> None:
        """Add a line to the paragraph under way, or begin one if that is of another kind."""
        opened = self._open
        goes_on = opened is not None and opened.kind == kind
        has_room = opened is not None and opened.length + len(opened.lines[-1]) < self._longest
        if opened is not None and goes_on and has_room and (kind != "table" or len(opened.lines) < self._table_lines):
            length = opened.length + len(opened.lines[-1])
            self._open = replace(opened, lines=(*opened.lines, line), length=length)
        else:
            self._close()
            level = opened.level if opened is not None and kind == "item" else int(goes_on)
            self._open = _Open(kind, (line,), level)

    def _add(self, paragraph: _Open) -> None:
        """Add a whole paragraph."""
        self._close()
        self._open = paragraph
        self._close()
        if paragraph.kind != "code":
            self._indents.clear()

    def _close(self) -> None:
        if self._open is not None:
            self.paragraphs.append(self._render(self._open))
            self._sources.append(self._open)
            self._open = None

    def _define(self, name: str, address: str) -> None:
        """Define the address of a link, and render again the paragraphs that have such a link."""
        if name in self._definitions:
            return
        self._definitions[name] = address
        for index, source in enumerate(self._sources):
            if f"[{name}]" in _joined(source.lines).casefold():
                self.paragraphs[index] = self._render(source)

    def _render(self, source: _Open) -> Paragraph:
        """Return a block as it is shown."""
        if source.kind == "code":
            return Paragraph("code", (Run(source.lines[0]),) if source.lines[0] else (), source.level, source.marker)
        if source.kind == "table":
            # A table that has nothing but a rule shows that: a widget cannot make a table without rows.
            rows = [line for line in source.lines if not _TABLE_RULE.match(line)] or source.lines
            return Paragraph("table", level=source.level, rows=tuple(map(self._row, rows)))
        runs = merged(self._inline(_joined(source.lines)))
        return Paragraph(source.kind, runs, source.level, source.marker)

    def _row(self, line: str) -> tuple[tuple[Run, ...], ...]:
        cells = _CELL_END.split(line.strip().removeprefix("|").removesuffix("|"), _MOST_COLUMNS - 1)
        return tuple(merged(self._inline(cell.strip())) for cell in cells)

    def _inline(self, text: str, styles: tuple[Style, ...] = ()) -> Iterator[Run]:
        """Yield the runs of a text: marks may hold other marks, code and escapes hold nothing."""
        at = 0
        for found in _INLINE.finditer(text):
            if found.start() > at:
                yield Run(html.unescape(text[at : found.start()]), styles)
            at = found.end()
            kind = found.lastgroup
            if found["escaped"]:
                yield Run(found["escaped"], styles)
            elif found["ticks"]:
                yield Run(found["code"].strip() or found["code"], (*styles, "code"))
            elif found["mark"]:
                more = _MARKS[found["mark"].replace("_", "*")]
                yield from self._inline(found["body"], (*styles, *(s for s in more if s not in styles)))
            elif kind in ("auto", "bare"):
                yield Run(found[kind], styles, found[kind])
            else:
                yield from self._link(found, styles)
        if at < len(text):
            yield Run(html.unescape(text[at:]), styles)

    def _link(self, found: re.Match[str], styles: tuple[Style, ...]) -> Iterator[Run]:
        """Yield the runs of a link; one whose definition has not come stays as it is, until it comes."""
        label, address = found["label"], found["url"]
        if address is None:
            address = self._definitions.get((found["ref"] or label).casefold())
        if address is None:
            yield Run(found[0], styles)
            return
        address = html.unescape(address)
        link = address if SAFE_LINK.match(address) else ""
        for run in self._inline(label or address, styles):
            yield Run(run.text, run.styles, link)


class PlainParser:
    """Cuts plain text that grows into paragraphs of one kind, as a `MarkdownParser` does with Markdown."""

    def __init__(self, kind: Kind) -> None:
        """Begin with an empty text."""
        self._kind: Kind = kind
        self._tail = ""
        self.paragraphs: list[Paragraph] = []

    def feed(self, text: str) -> None:
        """Add text."""
        *whole, self._tail = pieces(self._tail + text)
        del self.paragraphs[-1:]
        for piece in (*(piece.removesuffix("\n") for piece in whole), self._tail):
            self.paragraphs.append(Paragraph(self._kind, (Run(piece),)))


def pieces(text: str, longest: float = LONGEST_PARAGRAPH) -> Iterator[str]:
    r"""Yield a text in pieces of at most `longest` characters, cut after a line end, else after a space.

    >>> list(pieces("one two threefour", 5)), list(pieces("a b\nc d", 5))
    (['one ', 'two ', 'three', 'four'], ['a b\n', 'c d'])
    """
    begin = 0
    while len(text) - begin > longest:
        limit = begin + int(longest)
        end = text.rfind("\n", begin, limit) + 1 or text.rfind(" ", begin, limit) + 1 or limit
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _joined(lines: Sequence[str]) -> str:
    """Join lines by spaces, or by a line end where two spaces or a backslash ask for one."""
    parts: list[str] = []
    for line in lines:
        text = line.strip()
        hard = line.endswith("  ") or text.endswith("\\")
        parts += [text.removesuffix("\\") if hard else text, "\n" if hard else " "]
    return "".join(parts[:-1])


def merged(runs: Iterator[Run]) -> tuple[Run, ...]:
    """Join neighbours of one look, and drop empty ones."""
    found: list[Run] = []
    for run in runs:
        if found and found[-1].styles == run.styles and found[-1].link == run.link:
            found[-1] = Run(found[-1].text + run.text, run.styles, run.link)
        elif run.text:
            found.append(run)
    return tuple(found)
