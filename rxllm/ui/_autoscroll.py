"""Whether a view follows the end of a text that grows, in toolkits whose layout lags behind the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_NEARLY_AT_END = 4


class Scrolled(NamedTuple):
    """What part of a whole is in view, in pixels or any other unit."""

    top: float
    page: float
    whole: float


class Following:
    """Follows until the user scrolls up, and again once the end is back in view.

    Text that was added is laid out later, when the loop is idle; and only then does the view reach the end to which it
    was sent. So that the end is out of view says nothing: that the view has moved up does.

    >>> place = Scrolled(60, 40, 100)
    >>> following = Following(lambda: place)
    >>> place = Scrolled(60, 40, 200)       # text was added; it is not in view yet
    >>> following.look()
    True
    >>> place = Scrolled(30, 40, 200)       # the user has scrolled up
    >>> following.look()
    False
    """

    def __init__(self, measure: Callable[[], Scrolled]) -> None:
        self._measure = measure
        self._top = 0.0
        self._follows = False
        self.look()

    def look(self) -> bool:
        """Whether to follow; to be asked before each addition."""
        top, page, whole = self._measure()
        if top + page >= whole - _NEARLY_AT_END:
            self._follows = True
        elif top < self._top:
            self._follows = False
        self._top = top
        return self._follows
