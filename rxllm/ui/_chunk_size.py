"""How much text one update of a widget shows."""

from __future__ import annotations

_SMALLEST, _FIRST, _LARGEST = 256, 512, 1 << 20
"""Characters."""


class ChunkSize:
    """The number of characters that a widget can show in `seconds`, learned from each update.

    If an update costs much however small it is (a label draws all of its text again for each word), a larger
    chunk costs hardly more: then the chunk grows while that shows more text per second, and shrinks if it costs little.

    >>> def turns(chunk, each, any_at_all):
    ...     for _ in range(40): chunk.learn(chunk.size, any_at_all + each * chunk.size)
    ...     return chunk.size
    >>> chunk = ChunkSize(0.005)
    >>> turns(chunk, each=2e-6, any_at_all=0)
    2048
    >>> turns(chunk, each=2e-6, any_at_all=0.1) > 30_000
    True
    >>> turns(chunk, each=2e-6, any_at_all=0)
    4096
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pace = 0.0
        self._factor = 1.0
        self.size = _FIRST

    def learn(self, shown: int, took: float) -> None:
        """Adapt the size: `shown` characters took `took` seconds. Less than a whole chunk is ignored."""
        if shown < self.size:
            return
        pace = shown / max(took, 1e-9)
        if took < self._seconds / 2:
            factor = 2.0
        elif took < 2 * self._seconds:
            factor = 1.0
        elif self._factor < 1:
            factor = 2.0 if pace < 0.7 * self._pace else 0.5
        else:
            factor = 2.0 if pace > 1.4 * self._pace else 0.5
        self._pace, self._factor = pace, factor
        self.size = min(max(int(self.size * factor), _SMALLEST), _LARGEST)
