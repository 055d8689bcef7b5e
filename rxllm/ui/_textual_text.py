"""Text that grows at the end of a Textual widget, of each kind that shows text.

The view follows the end while it is in view.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import cast
from weakref import WeakSet

from markdown_it import MarkdownIt
from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Log, Markdown, Static, TextArea

from ._binding import error_line
from ._markdown import SAFE_LINK
from ._text_region import TextRegion

_FOLLOWED: WeakSet[Widget] = WeakSet()
"""What scrolls, and whose end is kept in view."""

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+.!|~-])")


def safe_parser() -> MarkdownIt:
    """Return a parser for which only http, https and mailto addresses are links, and HTML is text.

    Textual opens what its own parser takes for a link, with other programs too, and shows nothing of HTML.
    """
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.validateLink = lambda url: bool(SAFE_LINK.match(url))  # type: ignore[method-assign] # as it is meant
    return parser


class MarkdownText(TextRegion):
    """What one stream adds to a Markdown."""

    def __init__(self, widget: Markdown) -> None:
        if widget._open_links and widget._parser_factory is None:  # pyright: ignore[reportPrivateUsage] - see below
            widget._parser_factory = safe_parser  # pyright: ignore[reportPrivateUsage] - it cannot be set otherwise
        replace, append = partial(self._draw, widget.update), partial(self._draw, widget.append)
        super().__init__(lambda: widget.source, replace, append, lambda: len(widget.source))
        self._widget = widget
        self._drawing: asyncio.Future[object] | None = None

    def fail(self, error: Exception) -> None:
        """Show an error in a paragraph of its own."""
        self.add("\n\n" + _PUNCTUATION.sub(r"\\\1", error_line(error)))

    def settle(self, done: Callable[..., None]) -> None:
        """Call `done` once the Markdown is mounted and parsed, and its widgets are mounted."""
        if self._drawing is None:
            self._widget.call_after_refresh(done)
        else:
            self._drawing.add_done_callback(done)

    def _draw(self, change: Callable[[str], AwaitComplete], text: str) -> None:
        follow_end(self._widget)
        self._drawing = asyncio.ensure_future(change(text))


def log_text(widget: Log) -> TextRegion:
    """Return what one stream adds to a Log."""

    def append(text: str) -> None:
        widget.write(text, scroll_end=widget.is_vertical_scroll_end)

    def replace(text: str) -> None:
        widget.clear()
        append(text)

    def end() -> object:
        return len(widget.lines), len(widget.lines[-1]) if widget.lines else 0

    return TextRegion(lambda: "\n".join(widget.lines), replace, append, end)


def static_text(widget: Static) -> TextRegion:
    """Return what one stream adds to a Static, or a Label, as plain text."""

    def replace(text: str) -> None:
        follow_end(widget)
        widget.update(Content(text))

    return TextRegion(lambda: str(widget.content), replace)


def text_area_text(widget: TextArea) -> TextRegion:
    """Return what one stream adds to a TextArea, which may be read-only; the user's cursor and selection stay."""

    def write(start: tuple[int, int], text: str) -> None:
        """Replace the text from a position on, then scroll to its end, or back to where the user was."""
        follows, at = widget.is_vertical_scroll_end, widget.scroll_offset.y
        widget.replace(text, start, widget.document.end)
        if follows:
            widget.scroll_end(animate=False)
        else:
            widget.scroll_to(y=at, animate=False)  # after a cursor at the end has been scrolled to

    def append(text: str) -> None:
        write(widget.document.end, text)

    return TextRegion(lambda: widget.text, partial(write, (0, 0)), append, lambda: widget.document.end)


def follow_end(widget: Widget) -> None:
    """Keep the end of what scrolls a widget in view from now on, while it is in view.

    Textual shows the content of an anchored container at its bottom, so the container is anchored once the content is
    higher; then Textual follows the end by itself, until the user scrolls.
    """
    box = _scrolled(widget)
    if box is None or box in _FOLLOWED:
        return
    _FOLLOWED.add(box)

    def look(target: float | None) -> None:
        """Anchor the box if it overflows and its end was in view, unless it has been scrolled since."""
        if box.max_scroll_y == 0:
            if box.is_anchored:
                box.anchor(False)
                box.scroll_home(animate=False)
        elif target == box.scroll_target_y and not box.is_vertical_scrollbar_grabbed:
            if not box.is_anchored:
                box.anchor()
            box.scroll_end(animate=False, immediate=True, x_axis=False)  # any other scrolling lets the anchor go

    def laid_out(before: Size, _: Size) -> None:
        """Look once the layout is complete: a refresh of the screen may come before it."""
        end = before.height - box.container_size.height
        if end > 0:  # else the horizontal bar may have come with the text that is higher
            end += box.scrollbar_size_horizontal
        at_end = min(box.scroll_offset.y, box.scroll_target_y) >= end
        box.call_later(look, box.scroll_target_y if at_end else None)

    box.watch(box, "virtual_size", laid_out, init=False)
    if box.is_vertical_scroll_end:
        look(box.scroll_target_y)


def _scrolled(widget: Widget) -> Widget | None:
    """Return the closest one of the widget and those around it that scrolls and is not as high as its content."""
    boxes = [node for node in widget.ancestors_with_self if isinstance(node, Widget) and _scrolls(node)]
    lower = (box for box in boxes if not box.styles.is_auto_height or box.styles.max_height is not None)
    return next(lower, boxes[-1] if boxes else None)


def _scrolls(widget: Widget) -> bool:
    overflow = cast(str, widget.styles.overflow_y)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open
    return overflow in {"auto", "scroll"}
