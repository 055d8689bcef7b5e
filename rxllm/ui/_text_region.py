"""Text that grows at the end of a widget whose text can only be read and replaced as a whole: labels, and Textual's."""

from __future__ import annotations

from collections.abc import Callable

from ._binding import error_line


class TextRegion:
    """The text that one stream adds to a widget; what others add after it stays, and stays after it.

    `read` returns all of the widget's text and `replace` replaces it. A widget for long texts has two more: `append`
    appends, and `end` returns a cheap marker that differs if the text has changed.

    >>> shown = ["Answer: "]
    >>> region = TextRegion(lambda: shown[-1], shown.append)
    >>> region.add("4"); region.add("2"); shown[-1]
    'Answer: 42'
    >>> shown.append("Answer: 42 (of others)"); region.reset(); shown[-1]
    'Answer:  (of others)'
    """

    def __init__(
        self,
        read: Callable[[], str],
        replace: Callable[[str], object],
        append: Callable[[str], object] | None = None,
        end: Callable[[], object] | None = None,
    ) -> None:
        self._read = read
        self._replace = replace
        self._append = append
        self._end = end or read
        self._before = self._own = self._others = ""
        """What precedes the region, the region, and what follows it."""
        self._known_end: object = None

    def add(self, text: str) -> None:
        """Append."""
        self._look_for_others()
        self._own += text
        if self._append is None or self._others:
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
        self._look_for_others()
        above = self._own or self._before
        self.add("\n" * (above != "" and not above.endswith("\n")) + error_line(error))

    def _look_for_others(self) -> None:
        """Find what others have added; if they have replaced the text, the region starts again at its end."""
        if self._end() == self._known_end:
            return
        text = self._read()
        if self._own and text.startswith(self._before + self._own):
            self._others = text[len(self._before) + len(self._own) :]
        else:
            self._before, self._own, self._others = text, "", ""
