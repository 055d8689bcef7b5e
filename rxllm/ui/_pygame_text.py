"""Text in lines that fit a width, drawn by a pygame program."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from ._bind import ERROR_COLOR, error_line

Color: TypeAlias = str | tuple[int, int, int]


class Font(Protocol):
    """What is asked of a pygame.font.Font."""

    def size(self, text: str, /) -> tuple[int, int]:
        """Width and height of the text, in pixels."""
        ...

    def get_linesize(self) -> int:
        """Pixels from line to line."""
        ...


class TextPane:
    """Text that grows, wrapped to `width` pixels; as many lines of it as fit into `height` are drawn.

    It follows the end while the end is in view. Adding costs what is added: lines above the last one never change.
    """

    def __init__(self, font: Font, width: int, height: int, *, color: Color = "black") -> None:
        self._font: Any = font
        self._width = width
        self._rows = max(1, height // font.get_linesize())
        self._color: Color = color
        self._text: list[str] = []
        self._lines: list[tuple[str, Color]] = [("", color)]
        self._below = 0
        """Lines between what is in view and the end."""

    @property
    def text(self) -> str:
        """All of it."""
        self._text = ["".join(self._text)]
        return self._text[0]

    @property
    def at_end(self) -> bool:
        """Whether the end is in view."""
        return self._below == 0

    def scroll(self, lines: int) -> None:
        """Move down by so many lines, or up (below 0), as far as there is text."""
        self._below = max(0, min(len(self._lines) - self._rows, self._below - lines))

    def add(self, text: str, *, color: Color | None = None) -> None:
        """Append."""
        before = len(self._lines)
        self._text.append(text)
        start, its_color = self._lines.pop()
        shown = text.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\t", "    ")
        for paragraph in (start + shown).split("\n"):
            self._lines += [(line, its_color) for line in self._wrapped(paragraph)]
            its_color = color or self._color
        if self._below:
            self._below += len(self._lines) - before

    def cut(self, length: int) -> None:
        """Take back all but the first `length` characters."""
        kept = self.text[:length]
        self._text.clear()
        self._lines = [("", self._color)]
        self.add(kept)
        self.scroll(0)

    def draw(self, surface: Any, position: tuple[int, int] = (0, 0)) -> None:
        """Draw what is in view onto a pygame.Surface."""
        left, top = position
        end = len(self._lines) - self._below
        for line, color in self._lines[max(0, end - self._rows) : end]:
            surface.blit(self._font.render(line, True, color), (left, top))
            top += self._font.get_linesize()

    def _wrapped(self, paragraph: str) -> list[str]:
        lines: list[str] = []
        while (fitting := self._fitting(paragraph)) < len(paragraph):
            cut = paragraph.rfind(" ", 0, fitting + 1) + 1 or fitting
            lines.append(paragraph[:cut])
            paragraph = paragraph[cut:]
        return [*lines, paragraph]

    def _fitting(self, text: str) -> int:
        """How many characters fit into a line; one at least."""
        fits, too_many = 1, min(len(text), self._width) + 1
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self._font.size(text[:middle])[0] <= self._width:
                fits = middle
            else:
                too_many = middle
        return fits


class GrowingPane:
    """What one stream adds to the end of a TextPane."""

    def __init__(self, pane: TextPane) -> None:
        self._pane = pane
        self._start = len(pane.text)

    def add(self, text: str) -> None:
        """Append."""
        self._pane.add(text)

    def reset(self) -> None:
        """Take back all that was added."""
        self._pane.cut(self._start)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, in red, on a line of its own."""
        fresh = not self._pane.text or self._pane.text.endswith("\n")
        self._pane.add(("" if fresh else "\n") + error_line(error), color=ERROR_COLOR)
