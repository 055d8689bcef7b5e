"""Text in units: words, lines, paragraphs.

These operators take token events or strings, and emit each unit when it is certain to be complete; the last one comes
when the text ends. The units are the same however the text was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from ...events import TokenEvent
from .._operator import Operator
from .text_operator import split_text


def words() -> Operator[TokenEvent | str, str]:
    """Emit each word, with its punctuation and without the space around it.

    Each Han character and kana, which are written without spaces, is a word.

    >>> import reactivex
    >>> reactivex.of("Hel", "lo, wor", "ld! 你好。").pipe(words()).subscribe(print).dispose()
    Hello,
    world!
    你
    好。
    """
    word, border = _word_patterns()

    def cut(text: str) -> tuple[list[str], str]:
        """Return the words that have ended, and the one that may continue."""
        found: list[str] = word.findall(text)
        return found, found.pop() if found and not text[-1].isspace() else ""

    return split_text(lambda: _Units(cut, border))


def lines() -> Operator[TokenEvent | str, str]:
    r"""Emit each line, without its end (`\n`, `\r\n` or `\r`); blank lines are empty text.

    >>> import reactivex
    >>> reactivex.of("one\r", "\n\ntw", "o").pipe(lines()).subscribe(lambda line: print(repr(line))).dispose()
    'one'
    ''
    'two'
    """
    return split_text(lambda: _Units(_cut_lines, _LINE_BREAK))


def paragraphs() -> Operator[TokenEvent | str, str]:
    r"""Emit each paragraph: the lines between blank ones, joined by `\n`.

    It does not know Markdown: for fenced code that holds blank lines use `markdown_blocks`.
    """
    return split_text(_Paragraphs)


_CJK = "\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_OPENS = "\u3008\u300a\u300c\u300e\u3010\u3014\u3016\uff08\uff3b\uff5b"
_CJK_CLOSES = "\u3001\u3002\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u301c\uff01-\uff0f\uff1a-\uff20\uff3d\uff5d\uff61"
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")
_LINE_BREAK = re.compile(r"[\r\n]")


@cache
def _word_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a word and of a border, compiled at the first use: classes of this size take long."""
    return (
        re.compile(rf"[{_CJK_OPENS}]*[{_CJK}][{_CJK_CLOSES}]*|[^\s{_CJK}{_CJK_OPENS}]+|[{_CJK_OPENS}]+"),
        re.compile(rf"[\s{_CJK}{_CJK_OPENS}]"),
    )


def _cut_lines(text: str) -> tuple[list[str], str]:
    r"""Return the lines that have ended, and the one that may continue; `\r` at its end may be half of a line end."""
    *ended, rest = _LINE_END.split(text)
    return ended, rest


class _Units:
    """Cuts text into words or lines. A unit that may continue is held in pieces, so that the cost is linear."""

    def __init__(self, cut: Callable[[str], tuple[list[str], str]], border: re.Pattern[str]) -> None:
        self._cut = cut
        self._border = border
        self._held: list[str] = []

    def feed(self, text: str, /) -> Sequence[str]:
        """Return the units that have ended."""
        held = self._held
        if held and self._border.search(text) is None and self._border.search(held[0]) is None:
            held.append(text)
            return ()
        units, rest = self._cut("".join(held) + text)
        self._held = [rest] if rest else []
        return units

    def close(self) -> Sequence[str]:
        rest = "".join(self._held)
        self._held = []
        return (rest.removesuffix("\r"),) if rest else ()


class _Paragraphs:
    def __init__(self) -> None:
        self._lines = _Units(_cut_lines, _LINE_BREAK)
        self._held: list[str] = []

    def feed(self, text: str, /) -> Sequence[str]:
        return [paragraph for line in self._lines.feed(text) for paragraph in self._add(line)]

    def close(self) -> Sequence[str]:
        return [paragraph for line in (*self._lines.close(), "") for paragraph in self._add(line)]

    def _add(self, line: str) -> Sequence[str]:
        if line and not line.isspace():
            self._held.append(line)
            return ()
        held, self._held = self._held, []
        return ("\n".join(held),) if held else ()
