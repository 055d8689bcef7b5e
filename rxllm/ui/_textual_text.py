"""Text that grows at the end of a Textual widget, of each kind that shows text.

The view follows the end only if it was there. Each `settle` calls back when what was added has been drawn.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Log, Markdown, Static, TextArea

from ._bind import TextView, error_line

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+.!|~-])")


class SettlingView(TextView, Protocol):
    """A view that says when it has drawn."""

    def settle(self, done: Callable[[], None], /) -> object:
        """Call `done` when what was added has been drawn."""


class MarkdownText:
    """What one stream adds to a Markdown."""

    def __init__(self, widget: Markdown) -> None:
        self._widget = widget
        self._before = widget.source
        self._drawing: asyncio.Future[None] | None = None
        _anchor(widget)

    def add(self, text: str) -> None:
        """Append."""
        self._drawing = asyncio.ensure_future(self._widget.append(text))

    def reset(self) -> None:
        """Take back all that was added."""
        self._drawing = asyncio.ensure_future(self._widget.update(self._before))

    def fail(self, error: Exception) -> None:
        """Say what went wrong, in a paragraph of its own."""
        self.add("\n\n" + _PUNCTUATION.sub(r"\\\1", error_line(error)))

    def settle(self, done: Callable[[], None]) -> None:
        """When the Markdown is parsed and its widgets are mounted."""
        if self._drawing is None or self._drawing.done():
            done()
        else:
            self._drawing.add_done_callback(lambda _: done())


class StaticText:
    """What one stream adds to a Static, or a Label, as plain text; for short texts: all of it is drawn each time."""

    def __init__(self, widget: Static) -> None:
        self._widget = widget
        self._before = self._text = Content(str(widget.content))
        _anchor(widget)

    def add(self, text: str) -> None:
        """Append."""
        self._update(self._text + text)

    def reset(self) -> None:
        """Take back all that was added."""
        self._update(self._before)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on a line of its own."""
        line_end = "\n" if self._text else ""
        self._update(self._text + Content.styled(line_end + error_line(error), "$text-error"))

    def settle(self, done: Callable[[], None]) -> None:
        """After the next refresh."""
        self._widget.call_after_refresh(done)

    def _update(self, text: Content) -> None:
        self._text = text
        self._widget.update(text)


class LogText:
    """What one stream adds to a Log."""

    def __init__(self, widget: Log) -> None:
        self._widget = widget
        self._before = "\n".join(widget.lines)

    def add(self, text: str) -> None:
        """Append."""
        self._widget.write(text, scroll_end=self._widget.is_vertical_scroll_end)

    def reset(self) -> None:
        """Take back all that was added."""
        self._widget.clear()
        self.add(self._before)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on a line of its own."""
        last = self._widget.lines[-1:]
        self.add("\n" * bool(last and last[0]) + error_line(error))

    def settle(self, done: Callable[[], None]) -> None:
        """After the next refresh."""
        self._widget.call_after_refresh(done)


class TextAreaText:
    """What one stream adds to a TextArea, which may be read-only; the user's cursor and selection stay."""

    def __init__(self, widget: TextArea) -> None:
        self._widget = widget
        self._start = widget.document.end

    def add(self, text: str) -> None:
        """Append."""
        widget = self._widget
        follows, at = widget.is_vertical_scroll_end, widget.scroll_offset.y
        widget.insert(text, widget.document.end)
        if follows:
            widget.scroll_end(animate=False)
        else:
            widget.scroll_to(y=at, animate=False)  # after a cursor at the end has been scrolled to

    def reset(self) -> None:
        """Take back all that was added."""
        self._widget.delete(self._start, self._widget.document.end)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on a line of its own."""
        self.add("\n" * bool(self._widget.document.end[1]) + error_line(error))

    def settle(self, done: Callable[[], None]) -> None:
        """After the next refresh."""
        self._widget.call_after_refresh(done)


def _anchor(widget: Widget) -> None:
    """Have what scrolls the widget follow its end until the user scrolls, if the end is in view."""
    for node in widget.ancestors_with_self:
        if isinstance(node, Widget) and _scrolls(node):
            if node.is_vertical_scroll_end:
                node.anchor()
            return


def _scrolls(widget: Widget) -> bool:
    overflow = cast(str, widget.styles.overflow_y)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open
    return overflow in {"auto", "scroll"}
