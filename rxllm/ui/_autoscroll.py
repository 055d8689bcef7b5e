"""Whether a view follows the end of a text that grows; the same rule for all toolkits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

ViewPosition: TypeAlias = tuple[float, bool]
"""Where the view begins, in the unit that the toolkit keeps when the layout changes; and whether the end is in view."""


class Autoscroll:
    """Follows the end while it was in view before a change, until the user scrolls up.

    The end may leave the view without scrolling: the text is laid out later, the window or the font changes, a
    line is inserted. So an end out of view does not stop it; only a view that has moved up does.

    >>> at = 60, True
    >>> autoscroll = Autoscroll(lambda: at, lambda: print("to the end"))
    >>> at = 60, False        # the window became narrower
    >>> autoscroll.layout_changed()
    to the end
    >>> at = 30, False        # the user has scrolled up
    >>> autoscroll.layout_changed()
    """

    def __init__(self, measure: Callable[[], ViewPosition | None], to_end: Callable[[], object]) -> None:
        """Follow at first if the end is in view; `measure` returns None while the view is too small to show a line."""
        self._measure = measure
        self._to_end = to_end
        self._top, self._follows = measure() or (0.0, True)

    def follows(self) -> bool:
        """Return whether the view follows the end; to be called before each change."""
        if (position := self._measure()) is not None:
            top, end_in_view = position
            if end_in_view:
                self._follows = True
            elif top < self._top:
                self._follows = False
            self._top = top
        return self._follows

    def layout_changed(self) -> None:
        """Scroll to the end if the view follows it; to be called after each change of text, size or font."""
        if self.follows():
            self._to_end()
            self._top, _ = self._measure() or (self._top, False)
