"""Joining an answer that was cut with its continuation, without a seam and without repetition. Pure.

A server that is asked to go on from a text may say some of it again: all of it (Mistral does), or
the end of it. So the beginning of a continuation is held back for as long as it may be such a
repetition, and dropped when it was one. A repetition is

- the whole text, or
- an end of it with at least `MIN_LETTERS` letters: shorter ones are more often meant ("really
  really", a row of equal numbers, closing braces).

An end that repeats itself ("ha ha ha ha"), or stands twice in a row, is a pattern that goes on, and
no repetition. White space at the end of the text is not sent (Anthropic refuses it), so what the
continuation begins with is compared with it, character by character.
"""

from __future__ import annotations

import msgspec

from ...events import Response, Timing
from ...messages import TextPart

MIN_LETTERS = 8
_LONGEST_END = 4000
"""Characters of the text's end among which a repetition is looked for."""


class OverlapRemover:
    """Between `shown`, the text so far, and the continuation that comes piece by piece.

    >>> seam = OverlapRemover("The quick brown fox")
    >>> seam.feed("brown f"), seam.feed("ox jumps")
    ('', ' jumps')
    """

    def __init__(self, shown: str) -> None:
        self.sent = shown.rstrip()
        """The text to go on from."""
        self.dropped = 0
        """How many characters of the continuation were repetition."""
        self.open = True
        """What comes may still be repetition."""
        self._gap = shown[len(self.sent) :]
        self._held = ""
        self._ends = _ends(self.sent)
        """Where in `sent` the ends begin that the continuation may be repeating, longest first."""
        self._repeated = 0

    def feed(self, piece: str) -> str:
        """What is new in `piece` and what was held back before it."""
        if not self.open:
            return piece
        self._held += piece
        undecided: list[int] = []
        for begin in self._ends:
            length = len(self.sent) - begin
            if length > len(self._held):
                if self.sent.startswith(self._held, begin):
                    undecided.append(begin)
            elif length > self._repeated and self._held.startswith(self.sent[begin:]) and not self._is_pattern(begin):
                self._repeated = length
        self._ends = [begin for begin in undecided if len(self.sent) - begin > self._repeated]
        return "" if self._ends else self.flush()

    def flush(self) -> str:
        """What was held back, now that no more comes that could make a repetition of it."""
        new, self._held = self._held[self._repeated :], ""
        self.dropped += self._repeated
        self._ends, self._repeated = [], 0
        return self._without_gap(new)

    def give_up(self) -> None:
        """The continuation was cut as well: what is held back counts as repetition."""
        self.dropped += len(self._held)
        self._held, self.open = "", False

    def _without_gap(self, text: str) -> str:
        """`text` without the white space that it has in common with the end of what was shown."""
        same = 0
        while same < min(len(text), len(self._gap)) and text[same] == self._gap[same]:
            same += 1
        self.dropped += same
        self._gap = self._gap[same:] if same == len(text) else ""
        self.open = bool(self._gap)
        return text[same:]

    def _is_pattern(self, begin: int) -> bool:
        end = self.sent[begin:]
        return begin > 0 and (self.sent[:begin].rstrip().endswith(end.strip()) or _is_periodic(end))


def _is_periodic(text: str) -> bool:
    """Whether `text` is one piece twice or more, but for a last character perhaps."""
    return any(text.startswith(text[period:]) for period in range(1, (len(text) + 1) // 2 + 1))


def _ends(text: str) -> list[int]:
    """Where the ends of `text` begin that are long enough to be told from chance, longest first."""
    letters = 0
    begins: list[int] = []
    for begin in range(len(text) - 1, max(-1, len(text) - 1 - _LONGEST_END), -1):
        letters += text[begin].isalpha()
        if letters >= MIN_LETTERS:
            begins.append(begin)
    if begins[-1:] != [0] and any(map(str.isalpha, text)):
        begins.append(0)
    return begins[::-1]


def join_responses(earlier: Response, later: Response, dropped: int) -> Response:
    """`later` as the continuation of `earlier`, without its first `dropped` characters of text; its usage as it is."""
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
