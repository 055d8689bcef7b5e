"""Text that grows at the end of a Textual widget, of each kind that shows text.

The view follows the end while it is in view.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Log, Markdown, Static, TextArea

from ._binding import error_line

W = TypeVar("W", bound=Widget)

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+.!|~-])")


class TextRegion(ABC, Generic[W]):
    """The text that one stream adds to a mounted widget; what others add after it stays, and stays after it."""

    def __init__(self, widget: W) -> None:
        self.widget = widget
        self._before = self._own = self._others = ""
        """What precedes the region, the region, and what follows it."""
        self._known_end: object = None

    def add(self, text: str) -> None:
        """Append."""
        self._look_for_others()
        self._own += text
        if self._others:
            self._replace(self._before + self._own + self._others)
        else:
            self._append(text)
        self._known_end = self._end()

    def reset(self) -> None:
        """Remove all that was added."""
        self._look_for_others()
        self._own = ""
        self._replace(self._before + self._others)
        self._known_end = self._end()

    def fail(self, error: Exception) -> None:
        """Show an error on a line of its own."""
        own = self._own or self._before
        self.add("\n" * (own != "" and not own.endswith("\n")) + error_line(error))

    def settle(self, done: Callable[..., None]) -> None:
        """Call `done` once the widget is mounted, and what was added is drawn."""
        self.widget.call_after_refresh(done)

    def _look_for_others(self) -> None:
        """Find what others have added; if they have replaced the text, the region starts again at its end."""
        if self._end() == self._known_end:
            return
        text = self._read()
        if self._own and text.startswith(self._before + self._own):
            self._others = text[len(self._before) + len(self._own) :]
        else:
            self._before, self._own, self._others = text, "", ""

    @abstractmethod
    def _read(self) -> str: ...

    @abstractmethod
    def _end(self) -> object:
        """Return a cheap marker that differs if the text has changed."""

    @abstractmethod
    def _append(self, text: str) -> None: ...

    @abstractmethod
    def _replace(self, text: str) -> None: ...


class MarkdownText(TextRegion[Markdown]):
    """What one stream adds to a Markdown."""

    _drawing: asyncio.Future[object] | None = None

    def fail(self, error: Exception) -> None:
        """Show an error in a paragraph of its own."""
        self.add("\n\n" + _PUNCTUATION.sub(r"\\\1", error_line(error)))

    def settle(self, done: Callable[..., None]) -> None:
        """Call `done` once the Markdown is parsed and its widgets are mounted."""
        if self._drawing is None:
            super().settle(done)
        else:
            self._drawing.add_done_callback(done)

    def _read(self) -> str:
        return self.widget.source

    def _end(self) -> object:
        return len(self.widget.source)

    def _append(self, text: str) -> None:
        self._draw(self.widget.append, text)

    def _replace(self, text: str) -> None:
        self._draw(self.widget.update, text)

    def _draw(self, change: Callable[[str], AwaitComplete], text: str) -> None:
        followed = follow_end(self.widget)
        self._drawing = asyncio.ensure_future(change(text))
        self._drawing.add_done_callback(followed)


class LogText(TextRegion[Log]):
    """What one stream adds to a Log."""

    def _read(self) -> str:
        return "\n".join(self.widget.lines)

    def _end(self) -> object:
        lines = self.widget.lines
        return len(lines), len(lines[-1]) if lines else 0

    def _append(self, text: str) -> None:
        self.widget.write(text, scroll_end=self.widget.is_vertical_scroll_end)

    def _replace(self, text: str) -> None:
        self.widget.clear()
        self._append(text)


class StaticText(TextRegion[Static]):
    """What one stream adds to a Static, or a Label, as plain text; for short texts: all of it is drawn each time."""

    def _read(self) -> str:
        return str(self.widget.content)

    def _end(self) -> object:
        return self._read()

    def _append(self, text: str) -> None:
        self._replace(self._before + self._own)

    def _replace(self, text: str) -> None:
        followed = follow_end(self.widget)
        self.widget.update(Content(text))
        followed()


class TextAreaText(TextRegion[TextArea]):
    """What one stream adds to a TextArea, which may be read-only; the user's cursor and selection stay."""

    def _read(self) -> str:
        return self.widget.text

    def _end(self) -> object:
        return self.widget.document.end

    def _append(self, text: str) -> None:
        self._write(text, self.widget.document.end)

    def _replace(self, text: str) -> None:
        self._write(text, (0, 0))

    def _write(self, text: str, start: tuple[int, int]) -> None:
        """Replace the text from a position on, then scroll to its end, or back to where the user was."""
        widget = self.widget
        follows, at = widget.is_vertical_scroll_end, widget.scroll_offset.y
        widget.replace(text, start, widget.document.end)
        if follows:
            widget.scroll_end(animate=False)
        else:
            widget.scroll_to(y=at, animate=False)  # after a cursor at the end has been scrolled to


def follow_end(widget: Widget) -> Callable[..., None]:
    """Return what is to be called after a change of a widget: it keeps the end in view, if that is in view now.

    Textual shows the content of an anchored container at its bottom, so the container is anchored once the content is
    higher; then Textual follows the end by itself, until the user scrolls.
    """
    nodes = (node for node in widget.ancestors_with_self if isinstance(node, Widget))
    box = next(filter(_scrolls, nodes), None)
    follows = box is not None and box.is_vertical_scroll_end

    def look() -> None:
        if box is not None and box.is_anchored != (overflows := box.max_scroll_y > 0):
            box.anchor(overflows)
            if not overflows:
                box.scroll_home(animate=False)

    def changed(_: object = None) -> None:
        if follows:
            widget.call_after_refresh(look)

    return changed


def _scrolls(widget: Widget) -> bool:
    overflow = cast(str, widget.styles.overflow_y)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open
    return overflow in {"auto", "scroll"}
