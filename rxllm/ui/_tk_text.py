"""Text and Markdown that grow at the end of a Tk text widget.

The view follows the end only if the end was in view; the user's selection and insertion cursor are not touched, and a
disabled (read-only) widget stays so.
"""

from __future__ import annotations

import itertools
import tkinter
from collections.abc import Callable
from tkinter.font import Font

from ..operators.text.markdown import MarkdownBlock
from ._bind import ERROR_COLOR, error_line
from ._tk_markdown import looks, styled

_ERROR = "rxllm-error"
_numbers = itertools.count()


class GrowingText:
    """What one stream adds to the end of a Text."""

    def __init__(self, widget: tkinter.Text) -> None:
        self._widget = widget
        self._mark = f"rxllm-{next(_numbers)}"
        self._set_mark(self._mark)
        widget.tag_configure(_ERROR, foreground=ERROR_COLOR)

    def add(self, text: str) -> None:
        """Append."""
        self._change(lambda: self._widget.insert("end", text))

    def reset(self) -> None:
        """Take back all that was added."""
        self._change(lambda: self._widget.delete(self._mark, "end-1c"))

    def fail(self, error: Exception) -> None:
        """Say what went wrong, in red, on a line of its own."""
        fresh = self._widget.compare("end-1c", "==", "end-1c linestart")
        self._change(
            lambda: self._widget.insert("end", error_line(error) if fresh else "\n" + error_line(error), _ERROR)
        )

    def _change(self, change: Callable[[], object]) -> None:
        widget = self._widget
        follows = not widget.winfo_viewable() or widget.dlineinfo("end-1c") is not None
        state = str(widget["state"])
        widget["state"] = "normal"
        change()
        widget["state"] = state
        if follows:
            widget.see("end")

    def _set_mark(self, mark: str) -> None:
        self._widget.mark_set(mark, "end-1c")
        self._widget.mark_gravity(mark, "left")


class GrowingMarkdown(GrowingText):
    """Markdown that one stream adds to the end of a Text; only its last block is ever written anew."""

    def __init__(self, widget: tkinter.Text) -> None:
        super().__init__(widget)
        self._ends: list[tuple[str, ...]] = []
        """The tag in which each block ends."""
        font = Font(widget, font=widget["font"]).actual()
        mono = Font(widget, font="TkFixedFont").actual()["family"]
        for tag, look in looks(font["family"], font["size"], mono):
            widget.tag_configure(tag, look)

    def show(self, block: MarkdownBlock) -> None:
        """Show the block in place of the one with its index, and of those after that."""
        self._change(lambda: self._show(block))

    def _show(self, block: MarkdownBlock) -> None:
        widget = self._widget
        if block.index < len(self._ends):
            widget.delete(f"{self._mark}-{block.index}", "end-1c")
            del self._ends[block.index :]
        self._set_mark(f"{self._mark}-{block.index}")
        if widget.compare("end-1c", "!=", "end-1c linestart"):
            widget.insert("end", "\n", self._ends[-1] if self._ends else ())
        pieces = styled(block.text)
        for text, tags in pieces:
            widget.insert("end", text, tags)
        self._ends.append(pieces[-1][1][:1] if pieces else ())
