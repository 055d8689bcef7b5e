"""Text in units: words, lines, paragraphs.

These operators take token events or strings, and emit each unit when it is certain to be complete; the last one comes
when the text ends. The units are the same however the text was cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    return split_text(_Words)


def lines() -> Operator[TokenEvent | str, str]:
    r"""Emit each line, without its end (`\n`, `\r\n` or `\r`); blank lines are empty text.

    >>> import reactivex
    >>> reactivex.of("one\r", "\n\ntw", "o").pipe(lines()).subscribe(lambda line: print(repr(line))).dispose()
    'one'
    ''
    'two'
    """
    return split_text(_Lines)


def paragraphs() -> Operator[TokenEvent | str, str]:
    r"""Emit each paragraph: the lines between blank ones, joined by `\n`.

    It does not know Markdown: for fenced code that holds blank lines use `markdown_blocks`.
    """
    return split_text(_Paragraphs)


_CJK = "\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_OPENS = "\u3008\u300a\u300c\u300e\u3010\u3014\u3016\uff08\uff3b\uff5b"
_CJK_CLOSES = "\u3001\u3002\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u301c\uff01-\uff0f\uff1a-\uff20\uff3d\uff5d\uff61"
_LINE_END = re.compile(r"\r\n|\n|\r")


@cache
def _word_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a word and of a border, compiled at the first use: classes of this size take long."""
    return (
        re.compile(rf"[{_CJK_OPENS}]*[{_CJK}][{_CJK_CLOSES}]*|[^\s{_CJK}{_CJK_OPENS}]+|[{_CJK_OPENS}]+"),
        re.compile(rf"[\s{_CJK}{_CJK_OPENS}]"),
    )


class _Words:
    def __init__(self) -> None:
        self._pattern, self._border = _word_patterns()
        self._held: list[str] = []  # the pieces of a word that may continue

    def feed(self, text: str, /) -> Sequence[str]:
        """Return the words that have ended; a word that may go on is held in pieces, so that the cost is linear."""
        if self._held and not self._border.search(text) and not self._border.match(self._held[0]):
            self._held.append(text)
            return ()
        joined = "".join(self._held) + text
        found: list[str] = self._pattern.findall(joined)
        self._held = [found.pop()] if found and not joined[-1].isspace() else []
        return found

    def close(self) -> Sequence[str]:
        held, self._held = self._held, []
        return ("".join(held),) if held else ()


class _Lines:
    def __init__(self) -> None:
        self._held: list[str] = []  # the pieces of a line that may continue
        self._carriage_return = ""  # a "\r" that may be half of an "\r\n"

    def feed(self, text: str, /) -> Sequence[str]:
        """Return the lines that have ended; a carriage return at the end waits for its line feed."""
        text = self._carriage_return + text
        self._carriage_return = "\r" if text.endswith("\r") else ""
        *ended, rest = _LINE_END.split(text[:-1] if self._carriage_return else text)
        if ended:
            ended[0] = "".join((*self._held, ended[0]))
            self._held = []
        if rest:
            self._held.append(rest)
        return ended

    def close(self) -> Sequence[str]:
        held, ended = "".join(self._held), self._carriage_return
        self._held, self._carriage_return = [], ""
        return (held,) if held or ended else ()


class _Paragraphs:
    def __init__(self) -> None:
        self._lines = _Lines()
        self._held: list[str] = []

    def feed(self, text: str, /) -> Sequence[str]:
        return [paragraph for line in self._lines.feed(text) for paragraph in self._add(line)]

    def close(self) -> Sequence[str]:
        ended = [paragraph for line in self._lines.close() for paragraph in self._add(line)]
        return [*ended, *self._add("")]

    def _add(self, line: str) -> Sequence[str]:
        if not line or line.isspace():
            held, self._held = self._held, []
            return ("\n".join(held),) if held else ()
        self._held.append(line)
        return ()
