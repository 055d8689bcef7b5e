"""Text that grows at the end of a GTK text view, of GTK 4 or 3.

The view follows the end only if it was at the end; the user's cursor and selection are not touched.
"""

from __future__ import annotations

from typing import Any

from ._autoscroll import Following, Scrolled
from ._bind import ERROR_COLOR, error_line

_ERROR = "rxllm-error"


class GrowingText:
    """What one stream adds to the end of a TextView."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        self._buffer = widget.get_buffer()
        self._start = self._buffer.create_mark(None, self._buffer.get_end_iter(), True)
        self._end = self._buffer.create_mark(None, self._buffer.get_end_iter(), False)
        self._following = Following(self._scrolled)
        if self._buffer.get_tag_table().lookup(_ERROR) is None:
            self._buffer.create_tag(_ERROR, foreground=ERROR_COLOR)
        if not widget.get_editable() and hasattr(self._buffer, "set_enable_undo"):  # GTK 4
            self._buffer.set_enable_undo(False)  # nobody undoes here, and the steps would fill memory

    def add(self, text: str) -> None:
        """Append."""
        follows = self._following.look()
        self._buffer.insert(self._buffer.get_end_iter(), text)
        if follows:
            self._widget.scroll_to_mark(self._end, 0.0, True, 0.0, 1.0)

    def reset(self) -> None:
        """Take back all that was added."""
        self._buffer.delete(self._buffer.get_iter_at_mark(self._start), self._buffer.get_end_iter())

    def fail(self, error: Exception) -> None:
        """Say what went wrong, in red, on a line of its own."""
        fresh = self._buffer.get_end_iter().starts_line()
        length = self._buffer.get_char_count()
        self.add(error_line(error) if fresh else "\n" + error_line(error))
        self._buffer.apply_tag_by_name(_ERROR, self._buffer.get_iter_at_offset(length), self._buffer.get_end_iter())

    def _scrolled(self) -> Scrolled:
        bar = self._widget.get_vadjustment()
        return Scrolled(bar.get_value(), bar.get_page_size(), bar.get_upper())
