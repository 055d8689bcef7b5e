"""Text and Markdown that grow at the end of a Qt text widget, of PySide6 or PyQt6.

Appending costs what is appended, not what is there already. The view follows the end only if it was at the end; the
user's cursor and selection are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..operators.text.markdown import MarkdownBlock
from ._bind import ERROR_COLOR, error_line

_NEARLY_AT_END = 4
"""Pixels."""

_MARGIN = 8
"""Of code, in pixels."""


class GrowingText:
    """What one stream adds to the end of a QPlainTextEdit or a QTextEdit."""

    def __init__(self, gui: Any, widget: Any) -> None:
        self._gui = gui
        self._widget = widget
        self._document = widget.document()
        self._start = self._end().position()
        if widget.isReadOnly():
            self._document.setUndoRedoEnabled(False)  # nobody undoes here, and the steps would fill memory

    def add(self, text: str) -> None:
        """Append."""
        self._following(lambda: self._end().insertText(text, self._gui.QTextCharFormat()))

    def reset(self) -> None:
        """Take back all that was added."""
        self._following(lambda: self._remove_from(self._start))

    def fail(self, error: Exception) -> None:
        """Say what went wrong, in red, on a line of its own."""
        red = self._gui.QTextCharFormat()
        red.setForeground(self._gui.QColor(ERROR_COLOR))

        def say() -> None:
            cursor = self._end()
            if cursor.positionInBlock() > 0:
                cursor.insertBlock(self._gui.QTextBlockFormat())
            cursor.insertText(error_line(error), red)

        self._following(say)

    def _following(self, change: Callable[[], object]) -> None:
        bar = self._widget.verticalScrollBar()
        follows = bar.value() >= bar.maximum() - _NEARLY_AT_END
        change()
        if follows:
            bar.setValue(bar.maximum())

    def _end(self) -> Any:
        cursor = self._gui.QTextCursor(self._document)
        cursor.movePosition(cursor.MoveOperation.End)
        return cursor

    def _remove_from(self, position: int) -> None:
        cursor = self._end()
        cursor.setPosition(position, cursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()


class GrowingMarkdown(GrowingText):
    """Markdown that one stream adds to the end of a QTextEdit; only its last block is ever rendered anew."""

    def __init__(self, gui: Any, widget: Any) -> None:
        super().__init__(gui, widget)
        features = gui.QTextDocument.MarkdownFeature
        self._features = features.MarkdownDialectGitHub | features.MarkdownNoHTML
        self._starts: list[int] = []
        """Where each block begins."""

    def show(self, block: MarkdownBlock) -> None:
        """Show the block in place of the one with its index, and of those after that."""
        self._following(lambda: self._show(block))

    def _show(self, block: MarkdownBlock) -> None:
        # Not as one edit block: Qt (6.12) then lays out tables at the wrong place.
        if block.index < len(self._starts):
            self._remove_from(self._starts[block.index])
            del self._starts[block.index :]
            self._plain_if_empty()
        cursor = self._end()
        self._starts.append(cursor.position())
        if cursor.position() > 0:
            cursor.insertBlock(self._gui.QTextBlockFormat(), self._gui.QTextCharFormat())
        begin = cursor.position()
        # Qt merges the first inserted paragraph into the one at the cursor, whose format wins: so that is a dummy.
        cursor.insertMarkdown(f".\n\n{block.text}", self._features)
        self._remove_dummy(begin)
        self._mark_code(begin)

    def _plain_if_empty(self) -> None:
        """The paragraph that Qt keeps below a table has taken on the looks of what was removed."""
        cursor = self._end()
        if cursor.block().length() == 1:
            cursor.setBlockFormat(self._gui.QTextBlockFormat())

    def _remove_dummy(self, begin: int) -> None:
        cursor = self._gui.QTextCursor(self._document)
        cursor.setPosition(begin)
        after = cursor.block().next()
        table = after.isValid() and self._gui.QTextCursor(after).currentTable() is not None
        cursor.movePosition(
            cursor.MoveOperation.NextCharacter if table else cursor.MoveOperation.NextBlock, cursor.MoveMode.KeepAnchor
        )
        cursor.removeSelectedText()

    def _mark_code(self, begin: int) -> None:
        paper = self._widget.palette().alternateBase()
        block = self._document.findBlock(begin)
        while block.isValid():
            looks = block.blockFormat()
            if looks.nonBreakableLines():
                looks.setBackground(paper)
                looks.setLeftMargin(_MARGIN)
                self._gui.QTextCursor(block).setBlockFormat(looks)
            block = block.next()
