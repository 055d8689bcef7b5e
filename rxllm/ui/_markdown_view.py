"""Markdown in a region of any text widget: what is shown already is kept, and only what has changed is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from operator import eq

from msgspec.structs import replace

from ._binding import error_line
from ._markdown import MarkdownParser, Paragraph, Run

_LONG_LINE, _LONGEST_LINE = 60_000, 64_000
"""Characters of plain text, after which a line ends at a space, or anywhere. Shorter lines are shown as they come."""


class MarkdownRegion(ABC):
    """The range of a widget's text that one stream owns; called on the UI thread only.

    It begins at the end of what is in the widget, and moves with the text around it.
    """

    written = 0
    """A position: the units written so far, less those removed."""
    counts_utf16 = True
    """Whether a character beyond U+FFFF is two units."""
    after_marker = "\t"
    """What follows the bullet or number of an item."""
    _column = 0
    """Characters of plain text on the last line."""

    def fail(self, error: Exception) -> None:
        """Show an error in red, on a line of its own."""
        paragraph = Paragraph("text", (Run(error_line(error), ("error",)),))
        with self.change():
            self.begin(paragraph, None)
            self.insert(paragraph.runs[0], paragraph)

    def wrapped(self, text: str) -> str:
        """Return plain text to append, with line ends in very long lines: a widget lays out all of a line again."""
        lines: list[str] = []
        for line in ("x" * self._column + text).split("\n"):
            begin = 0
            while len(line) - begin > _LONG_LINE:
                limit = begin + _LONGEST_LINE
                end = line.find(" ", begin + _LONG_LINE, limit) + 1 or limit
                if end >= len(line):
                    break
                lines.append(line[begin:end])
                begin = end
            lines.append(line[begin:])
        added = "\n".join(lines)[self._column :]
        self._column = len(lines[-1])
        return added

    def units(self, text: str) -> int:
        """Return how much `written` grows by a text."""
        if text.isascii() or not self.counts_utf16:
            return len(text)
        return len(text.encode("utf-16-le", "surrogatepass")) // 2

    @abstractmethod
    def change(self) -> AbstractContextManager[object]:
        """Return the context in which the region may be changed: scrolling and read-only state are kept."""

    @abstractmethod
    def add(self, text: str) -> None:
        """Append plain text."""

    @abstractmethod
    def reset(self) -> None:
        """Remove all of the region's text."""

    @abstractmethod
    def begin(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Begin a paragraph on a line of its own, below the `previous` one."""

    @abstractmethod
    def insert(self, run: Run, paragraph: Paragraph) -> None:
        """Append text to the last paragraph."""

    @abstractmethod
    def table(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Append a table."""

    @abstractmethod
    def remove_last(self, units: int) -> None:
        """Remove so much from the end of the region, or all that is left of it."""


class ParagraphView:
    """Shows paragraphs in a region, and changes only what has changed in them."""

    def __init__(self, region: MarkdownRegion) -> None:
        self._region = region
        self._begins: list[int] = []
        """Where each paragraph begins."""
        self._shown: list[Paragraph] = []

    def show(self, paragraphs: Sequence[Paragraph]) -> None:
        """Show these paragraphs in place of those that are shown."""
        first = common_length(self._shown, paragraphs)
        if first == len(self._shown) == len(paragraphs):
            return
        with self._region.change():
            if first == len(self._shown) - 1 and first < len(paragraphs):
                first += self._extend(self._shown[first], paragraphs[first])
            if first < len(self._begins):
                self._region.remove_last(self._region.written - self._begins[first])
                del self._begins[first:]
            for at in range(first, len(paragraphs)):
                self._append(paragraphs[at], paragraphs[at - 1] if at else None)
        self._shown = list(paragraphs)

    def clear(self) -> None:
        """Remove all that is shown."""
        self._begins.clear()
        self._shown.clear()
        self._region.reset()

    def _extend(self, old: Paragraph, new: Paragraph) -> bool:
        """Change the end of the last paragraph, if that is enough; return whether it is."""
        if new.rows or replace(old, runs=()) != replace(new, runs=()):
            return False
        removed, added = _difference(old.runs, new.runs)
        if removed:
            self._region.remove_last(sum(self._region.units(run.text) for run in removed))
        for run in added:
            self._region.insert(run, new)
        return True

    def _append(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Append a paragraph, with its bullet, number or line."""
        region = self._region
        self._begins.append(region.written)
        if paragraph.kind == "table":
            region.table(paragraph, previous)
            return
        region.begin(paragraph, previous)
        if paragraph.kind == "rule":
            region.insert(Run("─" * 24), paragraph)
        elif paragraph.kind == "item" and paragraph.marker:
            region.insert(Run(paragraph.marker + region.after_marker), paragraph)
        for run in paragraph.runs:
            region.insert(run, paragraph)


class MarkdownView:
    """Shows the Markdown of one stream in a region."""

    def __init__(self, region: MarkdownRegion) -> None:
        self._region = region
        self._view = ParagraphView(region)
        self._parser = MarkdownParser()

    def add(self, text: str) -> None:
        """Append Markdown."""
        self._parser.feed(text)
        self._view.show(self._parser.paragraphs)

    def finish(self) -> None:
        """Show the end of the last line, which may have been held back."""
        self.add("\n")

    def reset(self) -> None:
        """Remove all that was added."""
        self._parser = MarkdownParser()
        self._view.clear()

    def fail(self, error: Exception) -> None:
        """Show an error below the text."""
        self.finish()
        self._region.fail(error)


def _difference(old: Sequence[Run], new: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return what to remove from the end of `old` and what to append then, to get `new`.

    A run that has only grown is not removed. Of what is removed only the length counts, so it has no styles.

    >>> _difference([Run("a "), Run("b", ("bold",))], [Run("a "), Run("bc", ("bold",)), Run("d")])
    ([], [Run(text='c', styles=('bold',), link=''), Run(text='d', styles=(), link='')])
    """
    at = common_length(old, new)
    removed, added = list(old[at:]), list(new[at:])
    if removed and added and (removed[0].styles, removed[0].link) == (added[0].styles, added[0].link):
        length = common_length(removed[0].text, added[0].text)
        removed[0] = Run(removed[0].text[length:])
        added[0] = replace(added[0], text=added[0].text[length:])
    return [run for run in removed if run.text], [run for run in added if run.text]


def common_length(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the length of the common beginning of two sequences.

    >>> common_length("abc", "abd"), common_length("ab", "abc")
    (2, 2)
    """
    if one == other[: len(one)]:  # the usual case: it has grown
        return len(one)
    same = list(map(eq, one, other))
    return len(same) if all(same) else same.index(False)


def table_lines(table: Paragraph, previous: Paragraph | None = None) -> Iterator[Run]:
    """Yield a table as lines of fixed-width text, for widgets without tables.

    The first row is in bold. A table that continues the `previous` paragraph has columns at least as wide as there.
    """
    above = previous.rows if previous is not None and table.level else ()
    widths = [max(map(_width, column)) for column in zip_longest(*above, *table.rows, fillvalue=())]
    for number, row in enumerate(table.rows):
        header = number == 0 and not table.level
        if number:
            yield Run("\n")
        for at, width in enumerate(widths):
            cell = row[at] if at < len(row) else ()
            yield from (Run(run.text, (*run.styles, "bold"), run.link) if header else run for run in cell)
            if at < len(widths) - 1:
                yield Run(" " * (width - _width(cell)) + " │ ")
        if header:
            yield Run("\n" + "─┼─".join("─" * width for width in widths))


def _width(cell: Sequence[Run]) -> int:
    return sum(len(run.text) for run in cell)
