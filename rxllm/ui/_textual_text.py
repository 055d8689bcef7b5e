"""Text that grows at the end of a Textual widget, of each kind that shows text.

The view follows the end while it is in view. Each `settle` calls back when what was added has been drawn.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Log, Markdown, Static, TextArea

from ._binding import error_line

W = TypeVar("W", bound=Widget)

_MOUNT_SECONDS = 0.01
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+.!|~-])")


class TextRegion(ABC, Generic[W]):
    """The text that one stream adds to a widget; what others add after it stays, and stays after it."""

    def __init__(self, widget: W) -> None:
        self.widget = widget
        self._before = self._read()
        self._own = ""
        self._others = ""
        """What follows the region."""
        self._known_end = self._end()

    def add(self, text: str) -> None:
        """Append."""
        rest = self._rest()
        self._own += text
        if rest:
            self._replace(self._before + self._own + rest)
        else:
            self._append(text)
        self._known_end = self._end()

    def reset(self) -> None:
        """Remove all that was added."""
        rest = self._rest()
        self._own = ""
        self._replace(self._before + rest)
        self._known_end = self._end()

    def fail(self, error: Exception) -> None:
        """Show an error on a line of its own."""
        own = self._own or self._before
        self.add("\n" * (own != "" and not own.endswith("\n")) + error_line(error))

    def settle(self, done: Callable[[], None]) -> None:
        """Call `done` after the next refresh."""
        self.widget.call_after_refresh(done)

    def _rest(self) -> str:
        """Return what others have added; if they have replaced the text, the region starts again at its end."""
        if self._end() != self._known_end:
            text = self._read()
            if text.startswith(self._before + self._own):
                self._others = text[len(self._before) + len(self._own) :]
            else:
                self._before, self._own, self._others = text, "", ""
        return self._others

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
    """What one stream adds to a Markdown. What comes before the widget is mounted waits for that."""

    def __init__(self, widget: Markdown) -> None:
        self._drawing: asyncio.Future[object] | None = None
        self._early: asyncio.Future[object] | None = None
        """The last change that waits for the widget to be mounted."""
        super().__init__(widget)
        self._following = Following(_scroller_of(widget))

    def fail(self, error: Exception) -> None:
        """Show an error in a paragraph of its own."""
        self.add("\n\n" + _PUNCTUATION.sub(r"\\\1", error_line(error)))

    def settle(self, done: Callable[[], None]) -> None:
        """Call `done` when the Markdown is parsed and its widgets are mounted."""

        def drawn(_: object = None) -> None:
            self._following.content_changed()
            done()

        if self._drawing is None or self._drawing.done():
            drawn()
        else:
            self._drawing.add_done_callback(drawn)

    def _read(self) -> str:
        return self.widget.source

    def _end(self) -> object:
        return len(self.widget.source) if self._early is None or self._early.done() else self._known_end

    def _append(self, text: str) -> None:
        self._draw(lambda: self.widget.append(text))

    def _replace(self, text: str) -> None:
        self._draw(lambda: self.widget.update(text))

    def _draw(self, change: Callable[[], Awaitable[object]]) -> None:
        if self._early is None and self.widget.is_mounted:
            self._drawing = asyncio.ensure_future(change())
        else:
            self._drawing = self._early = asyncio.ensure_future(self._when_mounted(self._early, change))

    async def _when_mounted(
        self, before: asyncio.Future[object] | None, change: Callable[[], Awaitable[object]]
    ) -> object:
        """Make a change as soon as the widget is mounted, after the change `before` it."""
        if before is not None:
            await before
        while not self.widget.is_mounted:  # mounting replaces what a Markdown holds
            await asyncio.sleep(_MOUNT_SECONDS)
        await change()
        self._known_end = len(self.widget.source)
        if self._drawing is self._early:
            self._early = None
        return None


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


class TextAreaText(TextRegion[TextArea]):
    """What one stream adds to a TextArea, which may be read-only; the user's cursor and selection stay."""

    def _read(self) -> str:
        return self.widget.text

    def _end(self) -> object:
        return self.widget.document.end

    def _append(self, text: str) -> None:
        self._change(lambda: self.widget.insert(text, self.widget.document.end))

    def _replace(self, text: str) -> None:
        self._change(lambda: self.widget.replace(text, (0, 0), self.widget.document.end))

    def _change(self, change: Callable[[], object]) -> None:
        """Change the text, then scroll to its end, or back to where the user was."""
        widget = self.widget
        follows, at = widget.is_vertical_scroll_end, widget.scroll_offset.y
        change()
        if follows:
            widget.scroll_end(animate=False)
        else:
            widget.scroll_to(y=at, animate=False)  # after a cursor at the end has been scrolled to


class StaticText(TextRegion[Static]):
    """What one stream adds to a Static, or a Label, as plain text; for short texts: all of it is drawn each time."""

    def __init__(self, widget: Static) -> None:
        super().__init__(widget)
        self._following = Following(_scroller_of(widget))

    def fail(self, error: Exception) -> None:
        """Show an error on a line of its own."""
        text = self._before + self._own
        line_end = "\n" if text else ""
        self.widget.update(Content(text) + Content.styled(line_end + error_line(error), "$text-error"))

    def _read(self) -> str:
        return str(self.widget.content)

    def _end(self) -> object:
        return self._read()

    def _append(self, text: str) -> None:
        self._replace(self._before + self._own)

    def _replace(self, text: str) -> None:
        self.widget.update(Content(text))
        self._following.content_changed()


class Following:
    """Makes a scrolling container follow the end of its content until the user scrolls, if the end is in view.

    Textual shows the content of an anchored container at its bottom, so it is anchored once the content is higher.
    """

    def __init__(self, box: Widget | None) -> None:
        self._box = box
        self._fits = box is not None and box.max_scroll_y == 0
        if box is not None and not self._fits and box.is_vertical_scroll_end:
            box.anchor()

    def content_changed(self) -> None:
        """Look at the height of the content, once that is laid out."""
        if self._box is not None:
            self._box.call_after_refresh(self._look)

    def _look(self) -> None:
        if self._box is None:
            return
        fits = self._box.max_scroll_y <= 0
        if fits != self._fits:
            self._box.anchor(not fits)
            if fits:
                self._box.scroll_home(animate=False)
        self._fits = fits


def _scroller_of(widget: Widget) -> Widget | None:
    """Return the container, or the widget itself, that scrolls it."""
    nodes = (node for node in widget.ancestors_with_self if isinstance(node, Widget))
    return next(filter(_scrolls, nodes), None)


def _scrolls(widget: Widget) -> bool:
    overflow = cast(str, widget.styles.overflow_y)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open
    return overflow in {"auto", "scroll"}
