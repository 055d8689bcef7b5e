"""Short text that one stream adds to a label of any toolkit; a label is laid out as a whole each time."""

from __future__ import annotations

from collections.abc import Callable

from ._binding import error_line


class GrowingLabel:
    """The text that one stream adds to a label, read by `read` and written by `write`.

    >>> shown = ["Answer: "]
    >>> label = GrowingLabel(lambda: shown[-1], shown.append)
    >>> label.add("4"); label.add("2"); shown[-1]
    'Answer: 42'
    >>> label.reset(); shown[-1]
    'Answer: '
    """

    def __init__(self, read: Callable[[], str], write: Callable[[str], object]) -> None:
        self._read = read
        self._write = write
        self._before = read()

    def add(self, text: str) -> None:
        """Append."""
        self._write(self._read() + text)

    def reset(self) -> None:
        """Remove all that was added."""
        self._write(self._before)

    def fail(self, error: Exception) -> None:
        """Show an error on a line of its own."""
        self._write(f"{self._read()}\n{error_line(error)}".lstrip("\n"))
