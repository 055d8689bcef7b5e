"""Short text that one stream adds to a label, of whatever toolkit; a label is laid out as a whole each time."""

from __future__ import annotations

from collections.abc import Callable

from ._bind import error_line


class GrowingLabel:
    """What one stream adds to a label whose text is got by `read` and set by `write`.

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
        """Take back all that was added."""
        self._write(self._before)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on a line of its own."""
        self._write(f"{self._read()}\n{error_line(error)}".lstrip("\n"))
