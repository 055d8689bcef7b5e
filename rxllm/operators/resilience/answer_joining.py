"""Joins an answer that was cut with its continuation, without a seam and without repetition. Pure.

A server that continues a text may repeat some of it: all of it (Mistral does), or its end. So the beginning of a
continuation is held back as long as it may be a repetition, and dropped if it was one. A repetition is

- the whole text, or
- an end of it with at least `MIN_LETTERS` letters. Shorter ones are more often meant ("really really", a row of equal
  numbers, closing braces). A letter of a script without spaces between words (Chinese, Japanese, Thai ...) counts as
  three: eight letters are one or two words in English, and a whole clause in Chinese.

An end that repeats itself ("ha ha ha ha"), or that stands twice in a row, is a pattern that continues, and no
repetition. White space at the end of the text is not sent (Anthropic refuses it), so the beginning of the
continuation is compared with it, character by character.
"""

from __future__ import annotations

import re

import msgspec

from ...events import Response, Timing
from ...messages import TextPart

MIN_LETTERS = 8
_DENSE = re.compile(
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts that say more per letter: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han, Hangul."""
_LONGEST_END = 4000
"""Characters at the end of the text in which a repetition is looked for."""


class OverlapRemover:
    """Removes what a continuation repeats of `shown`, the text so far. The continuation comes piece by piece.

    >>> seam = OverlapRemover("The quick brown fox")
    >>> seam.feed("brown f"), seam.feed("ox jumps")
    ('', ' jumps')
    """

    def __init__(self, shown: str) -> None:
        self.sent = shown.rstrip()
        """The text that the server is to continue."""
        self.dropped = 0
        """Characters of the continuation that were repetition."""
        self.open = True
        """The next text may still be repetition."""
        self._gap = shown[len(self.sent) :]
        self._held = ""
        self._ends = _ends(self.sent)
        """Where the ends of `sent` begin that the continuation may repeat, longest first."""

    def feed(self, piece: str) -> str:
        """Return what is new in `piece` and in the text held back before it."""
        if not self.open:
            return piece
        self._held += piece
        longer = (begin for begin in self._ends if len(self.sent) - begin > len(self._held))
        return "" if any(self.sent.startswith(self._held, begin) for begin in longer) else self.flush()

    def flush(self) -> str:
        """Return what was held back: no further text comes that could make it a repetition."""
        held, self._held = self._held, ""
        repeated = (self.sent[begin:] for begin in self._ends if held.startswith(self.sent[begin:]))
        dropped = len(next((end for end in repeated if not self._is_pattern(end)), ""))
        self.dropped += dropped
        self._ends = []
        return self._without_gap(held[dropped:])

    def count_as_repetition(self) -> None:
        """Count the held text as repetition: the continuation was cut too."""
        self.dropped += len(self._held)
        self._held, self.open = "", False

    def _without_gap(self, text: str) -> str:
        """Return `text` without the white space that it has in common with the end of the shown text."""
        same = 0
        while same < min(len(text), len(self._gap)) and text[same] == self._gap[same]:
            same += 1
        self.dropped += same
        self._gap = self._gap[same:] if same == len(text) else ""
        self.open = bool(self._gap)
        return text[same:]

    def _is_pattern(self, end: str) -> bool:
        before = self.sent[: len(self.sent) - len(end)]
        return before != "" and (before.rstrip().endswith(end.strip()) or _is_periodic(end))


def _is_periodic(text: str) -> bool:
    """Return whether `text` is one piece twice or more; the last character may be missing."""
    return any(text.startswith(text[period:]) for period in range(1, (len(text) + 1) // 2 + 1))


def _ends(text: str) -> list[int]:
    """Return where the ends of `text` begin that are too long to be chance, longest first."""
    letters = 0
    begins: list[int] = []
    for begin in range(len(text) - 1, max(-1, len(text) - 1 - _LONGEST_END), -1):
        letters += 3 if _DENSE.match(text[begin]) else text[begin].isalpha()
        if letters >= MIN_LETTERS:
            begins.append(begin)
    if begins[-1:] != [0] and any(map(str.isalpha, text)):
        begins.append(0)
    return begins[::-1]


def join_responses(earlier: Response, later: Response, dropped: int) -> Response:
    """Return `earlier` continued by `later`, whose first `dropped` characters of text are left out."""
    parts = [*earlier.parts]
    left = dropped
    for part in later.parts:
        if isinstance(part, TextPart) and left:
            cut = min(left, len(part.text))
            left -= cut
            part = TextPart(part.text[cut:], part.vendor)
        if not isinstance(part, TextPart):
            parts.append(part)
        elif parts and isinstance(before := parts[-1], TextPart):
            parts[-1] = TextPart(before.text + part.text, part.vendor or before.vendor)
        elif part.text or part.vendor:
            parts.append(part)
    return msgspec.structs.replace(
        later,
        text=earlier.text + later.text[dropped:],
        reasoning=earlier.reasoning + later.reasoning,
        tool_calls=(*earlier.tool_calls, *later.tool_calls),
        timing=_added(earlier.timing, later.timing),
        parts=tuple(parts),
        id=later.id or earlier.id,
        model=later.model or earlier.model,
        provider=later.provider or earlier.provider,
    )


def _added(first: Timing | None, second: Timing | None) -> Timing | None:
    if first is None or second is None:
        return first or second
    return Timing(first.first_token, first.total + second.total)
