"""Text that grows at the end of a wxPython text control.

The view follows the end only if it was at the end; the user's cursor and selection stay where they are.
"""

from __future__ import annotations

from typing import Any

from ._autoscroll import Following, Scrolled
from ._bind import ERROR_COLOR, error_line


class GrowingText:
    """What one stream adds to the end of a wx.TextCtrl."""

    def __init__(self, wx: Any, widget: Any) -> None:
        self._wx = wx
        self._widget = widget
        self._start = widget.GetLastPosition()
        self._following = Following(self._scrolled)

    def add(self, text: str) -> None:
        """Append."""
        widget = self._widget
        follows = self._following.look()
        begin, end = widget.GetSelection()
        widget.SetInsertionPointEnd()
        widget.WriteText(text)
        if begin == end:
            widget.SetInsertionPoint(begin)
        else:
            widget.SetSelection(begin, end)
        if follows:
            widget.ShowPosition(widget.GetLastPosition())

    def reset(self) -> None:
        """Take back all that was added."""
        self._widget.Remove(self._start, self._widget.GetLastPosition())

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on a line of its own; in red, where the control has styles (TE_RICH2)."""
        widget = self._widget
        begin = widget.GetLastPosition()
        line = error_line(error)
        self.add(line if begin == 0 or widget.GetRange(begin - 1, begin) == "\n" else f"\n{line}")
        widget.SetStyle(begin, widget.GetLastPosition(), self._wx.TextAttr(self._wx.Colour(ERROR_COLOR)))

    def _scrolled(self) -> Scrolled:
        down = self._wx.VERTICAL
        widget = self._widget
        return Scrolled(widget.GetScrollPos(down), widget.GetScrollThumb(down), widget.GetScrollRange(down))
