"""The region of a Qt text widget that one stream owns, of PySide6 or PyQt6.

Appending costs what is appended, not what is there already. Text of others, the user's cursor, selection and scroll
position are not touched.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from ._markdown import COLORS, Paragraph, Run
from ._markdown_view import MarkdownRegion
from ._qt_widget import WidgetRef

_MARGIN = 8
"""Beside code and below paragraphs, in pixels."""

_INDENT = 24
"""Of an item in a list, in pixels."""

_PAPER = (128, 128, 128, 40)
"""Behind code; it lets a light and a dark palette through, and a palette that changes later."""

_PADDING = 4
"""Around the text in a cell, in pixels."""

_LINE = (128, 128, 128, 160)
"""Around the cells of tables."""

_ABOVE = {"heading": 14, "item": 3, "code": 0}
"""Pixels above a paragraph that follows one of its own kind; 8 above all others."""


class QtRegion(MarkdownRegion):
    """A range of the document of a QTextEdit or QPlainTextEdit, between two cursors that move with the text."""

    def __init__(self, gui: Any, ref: WidgetRef) -> None:
        """Begin an empty region at the end of the document."""
        self._gui = gui
        self._ref = ref
        self._autoscroll = ref.autoscroll
        widget = ref()
        document = widget.document()
        self._start = gui.QTextCursor(document)
        self._start.movePosition(self._start.MoveOperation.End)
        self._end = gui.QTextCursor(self._start)
        self._formats: dict[object, Any] = {}
        self._dark = is_dark(widget)
        self._plain, self._plain_block = gui.QTextCharFormat(), gui.QTextBlockFormat()
        if widget.isReadOnly():
            document.setUndoRedoEnabled(False)  # the user cannot undo here, and the steps would fill memory

    @contextmanager
    def change(self) -> Generator[None]:
        """Keep the view at the end, or where the user has scrolled to."""
        if (widget := self._ref()) is not None and self._dark != is_dark(widget):
            self._dark = not self._dark
            self._formats.clear()
        bar = self._ref.call("verticalScrollBar")
        follows, at = self._autoscroll.follows(), 0 if bar is None else bar.value()
        self._begin_writing()
        edit = self._gui.QTextCursor(self._start)
        edit.beginEditBlock()
        try:
            yield
        finally:
            edit.endEditBlock()
            self._end_writing()
        if follows:
            self._autoscroll.layout_changed()
        elif bar is not None and bar.value() != at:
            bar.setValue(at)

    def add(self, text: str) -> None:
        """Append plain text."""
        with self.change():
            self._write(self.wrapped(text), self._plain)

    def reset(self) -> None:
        """Remove all of the region's text."""
        with self.change():
            self.remove_last(self._end.position() - self._start.position())
            self.written = self._column = 0
            if self._end.block().length() == 1:
                self._end.setBlockFormat(self._plain_block)

    def begin(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Begin a paragraph, on a new line unless the region ends at the start of a line that it has nothing on."""
        key = paragraph.kind, paragraph.level, paragraph.marker, previous and previous.kind, self._start.position() > 0
        if key not in self._formats:
            self._formats[key] = self._block_format(paragraph, previous)
        looks = self._formats[key]
        on_a_line_of_others = previous is None or previous.kind == "table"
        if on_a_line_of_others and self._end.block().length() == 1:
            self._end.setBlockFormat(looks)
        elif on_a_line_of_others and self._end.positionInBlock() == 0:
            self._push_down_text_of_others(looks)
        else:
            self._end.insertBlock(looks, self._plain)
            self.written += 1

    def insert(self, run: Run, paragraph: Paragraph) -> None:
        """Append text to the last paragraph."""
        text = run.text if paragraph.kind == "code" else run.text.replace("\n", "\u2028")
        self._write(text, self._char_format(run, paragraph))

    def table(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Append a table. The next rows of a long one (`level` 1) become a table with the same columns, close below."""
        if self._end.positionInBlock() == 0 and self._end.block().length() > 1:
            self._push_down_text_of_others(self._plain_block)
        begin, columns = self._end.position(), max(map(len, paragraph.rows))
        looks = self._gui.QTextTableFormat()
        looks.setBorderCollapse(True)
        looks.setBorder(1)
        looks.setBorderBrush(self._gui.QBrush(self._gui.QColor(*_LINE)))
        looks.setCellPadding(_PADDING)
        looks.setTopMargin(_MARGIN)
        if paragraph.level and previous is not None and (above := self._last_table()) is not None:
            looks = above.format()
            looks.setBottomMargin(0)
            looks.setColumnWidthConstraints(looks.columnWidthConstraints() or self._column_widths(previous.rows))
            above.setFormat(looks)
            looks.setTopMargin(0)
            columns = above.columns()
        looks.setBottomMargin(_MARGIN)  # Qt leaves out the margin of a paragraph below a table
        cursor = self._gui.QTextCursor(self._end)
        cursor.endEditBlock()  # that of `change`: in an edit block, Qt (6.12) lays out tables at the wrong place
        table = cursor.insertTable(len(paragraph.rows), columns, looks)
        self._gui.QTextCursor(self._start).beginEditBlock()
        self._fill(table, paragraph)
        self.written += self._end.position() - begin

    def _last_table(self) -> Any:
        """Return the table that the region ends with; None if others have changed it."""
        cursor = self._gui.QTextCursor(self._end)
        cursor.setPosition(max(self._end.position() - 1, 0))
        table = cursor.currentTable()
        return table if table is not None and table.lastPosition() + 1 == self._end.position() else None

    def _fill(self, table: Any, paragraph: Paragraph) -> None:
        """Write the cells of a new table, its header in bold, and set the region's end behind it."""
        for number, row in enumerate(paragraph.rows):
            is_header = number == 0 and not paragraph.level
            for column, runs in enumerate(row[: table.columns()]):
                cursor = table.cellAt(number, column).firstCursorPosition()
                for run in runs:
                    styles = (*run.styles, "bold") if is_header else run.styles
                    cursor.insertText(run.text, self._char_format(Run(run.text, styles, run.link), paragraph))
        self._end.setPosition(table.lastPosition() + 1)

    def _column_widths(self, rows: Sequence[Sequence[Sequence[Run]]]) -> list[Any]:
        """Return the widths that the columns of these rows need, in percent of the page's width.

        If they need more than the page has, the widest columns become narrower, at most to about `_INDENT`.
        """
        font = self._ref().font()
        font.setBold(True)  # cells may be bold, and bold text is wider
        advance = self._gui.QFontMetrics(font).horizontalAdvance
        needed = [
            max(advance("".join(run.text for run in cell)) for cell in column) + 2 * _PADDING + _MARGIN
            for column in zip_longest(*rows, fillvalue=())
        ]
        page, widest = self._ref().viewport().width(), max(needed)
        while sum(min(width, widest) for width in needed) > 0.96 * page and widest > _INDENT:
            widest -= _MARGIN
        kind = self._gui.QTextLength.Type.PercentageLength
        return [self._gui.QTextLength(kind, 100 * min(width, widest) / max(page, 1)) for width in needed]

    def remove_last(self, units: int) -> None:
        """Remove characters from the end, or all that is left of the region."""
        self.written -= units
        end = self._end.position()
        begin = max(end - units, self._start.position())
        if begin < end:
            cursor = self._gui.QTextCursor(self._end)
            cursor.setPosition(begin, cursor.MoveMode.KeepAnchor)
            cursor.removeSelectedText()

    def _write(self, text: str, looks: Any) -> None:
        self._end.insertText(text, looks)
        self.written += self.units(text)

    def _begin_writing(self) -> None:
        """Make text that is inserted at an end of the region part of it."""
        if self._start.position() > self._end.position():  # an empty region, and others have inserted text here
            self._end.setPosition(self._start.position())
        self._end.setPosition(self._end.position())  # its anchor has moved with the text of others
        self._start.setKeepPositionOnInsert(True)
        self._end.setKeepPositionOnInsert(False)

    def _end_writing(self) -> None:
        """Keep text that others insert at an end of the region outside of it."""
        self._start.setKeepPositionOnInsert(False)
        self._end.setKeepPositionOnInsert(self._end.position() > self._start.position())

    def _push_down_text_of_others(self, looks: Any) -> None:
        """Move the text that follows on this line to a line of its own."""
        self._end.setKeepPositionOnInsert(True)
        self._gui.QTextCursor(self._end).insertBlock()
        self._end.setPosition(self._end.position())
        self._end.setKeepPositionOnInsert(False)
        self._end.setBlockFormat(looks)

    def _block_format(self, paragraph: Paragraph, previous: Paragraph | None) -> Any:
        """Return the margins and the background of a paragraph below the `previous` one."""
        looks = self._gui.QTextBlockFormat()
        kind = paragraph.kind
        begins_code = kind == "code" and not paragraph.level
        if previous is not None:
            same = previous.kind == kind and not begins_code
            looks.setTopMargin(_ABOVE.get(kind, _MARGIN) if same or kind == "heading" else _MARGIN)
        elif self._start.position() > 0:
            looks.setTopMargin(_ABOVE.get(kind, _MARGIN))
        if kind == "heading":
            looks.setHeadingLevel(paragraph.level)
        elif kind == "code":
            looks.setNonBreakableLines(True)
            looks.setBackground(self._gui.QBrush(self._gui.QColor(*_PAPER)))
            looks.setLeftMargin(_MARGIN)
        elif kind == "quote":
            looks.setLeftMargin(_INDENT)
        elif kind == "item":
            looks.setLeftMargin(_INDENT * (paragraph.level + 1))
            if paragraph.marker:
                width = float(max(_INDENT - 4, self._ref().fontMetrics().horizontalAdvance(paragraph.marker + " ")))
                looks.setTextIndent(-width)
                looks.setTabPositions([self._gui.QTextOption.Tab(width, self._gui.QTextOption.TabType.LeftTab)])
        return looks

    def _char_format(self, run: Run, paragraph: Paragraph) -> Any:
        key = run.styles, run.link, paragraph.kind, paragraph.level
        if key not in self._formats:
            self._formats[key] = self._new_char_format(run, paragraph)
        return self._formats[key]

    def _new_char_format(self, run: Run, paragraph: Paragraph) -> Any:
        """Return the font and the colours of a run in such a paragraph."""
        gui, looks, kind = self._gui, self._gui.QTextCharFormat(), paragraph.kind
        if kind == "heading":
            # The difference to the widget's own size, so that zooming changes headings, too.
            looks.setProperty(gui.QTextFormat.Property.FontSizeAdjustment, max(4 - paragraph.level, 0))
        if kind == "heading" or "bold" in run.styles:
            looks.setFontWeight(gui.QFont.Weight.Bold)
        if kind == "code" or "code" in run.styles:
            looks.setFontFamilies([gui.QFontDatabase.systemFont(gui.QFontDatabase.SystemFont.FixedFont).family()])
            looks.setFontFixedPitch(True)
            if kind != "code":
                looks.setBackground(self._gui.QBrush(self._gui.QColor(*_PAPER)))
        if "italic" in run.styles:
            looks.setFontItalic(True)
        if "strike" in run.styles:
            looks.setFontStrikeOut(True)
        for style in run.styles:
            if style in COLORS:
                looks.setForeground(gui.QColor(COLORS[style][self._dark]))
        if run.link:
            looks.setAnchor(True)
            looks.setAnchorHref(run.link)
            looks.setFontUnderline(True)
        return looks


def is_dark(widget: Any) -> bool:
    """Return whether a widget has light text on dark paper."""
    return bool(widget.palette().base().color().lightness() < 128)
