"""Text in sentences, for speech and captions: each one emitted as soon as it is certain to be whole.

The rules are for prose as models write it, Markdown included, in languages that end sentences
with . ! ? … or the CJK full stops. In doubt two sentences stay together: a pause too few is
heard less than one in "Dr. | Smith". What is seen of the text is enough to decide with a few
characters of look-ahead: the first of the next word, as a rule. Every wait is bounded, so the
cost is linear in the text, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...events import TokenEvent
from .._operator import Operator
from .text_operator import split_text


def sentences() -> Operator[TokenEvent | str, str]:
    """Emit each sentence, without the space around it.

    Known: abbreviations and initials ("Dr.", "e.g.", "J. S. Bach"), decimals and dotted names,
    ellipses, closing quotes and brackets, CJK full stops. A blank line, and the line of a heading
    or a list item, end a sentence without a full stop. The last one comes when the text ends.

    >>> import reactivex
    >>> source = reactivex.of("Dr. Who paid $3", ".50. “Really", "?” she asked. 是的。好")
    >>> source.pipe(sentences()).subscribe(print).dispose()
    Dr. Who paid $3.50.
    “Really?” she asked.
    是的。
    好
    """
    return split_text(_Sentences)


_CJK_STOPS = "。！？｡．"  # noqa: RUF001  full-width ones are meant
_CLOSERS = "\"'”’»›)\\]}」』】）》〉*_`"  # noqa: RUF001  all kinds of quotes are meant
_MARK = re.compile(rf"(?P<stop>[.!?…{_CJK_STOPS}]{{1,64}})(?P<closers>[{_CLOSERS}]{{0,16}})|\n")
_MOST_SPACE = 64
_LONGEST_ABBREVIATION = 40
_LONGEST_BEGINNING = 20
_SPACES = re.compile(r"\s*")
_SPACE = re.compile(rf"\s{{0,{_MOST_SPACE}}}")
_INDENT = re.compile(rf"[^\S\n]{{0,{_MOST_SPACE}}}")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_BLOCK = re.compile(r"[-*+•]\s|#{1,6}\s|>|\||```|~~~|\d{1,9}[.)]\s")
_MAYBE_BLOCK = re.compile(r"(?:[-*+•]|#{1,6}|`{1,2}|~{1,2}|\d{1,9}[.)]?)\Z")
_WORD = re.compile(rf"[^\W\d_]{{0,{_LONGEST_BEGINNING}}}")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_OPENERS = "([{“‘«\"'*_"  # noqa: RUF001  all kinds of quotes are meant


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER_LAST = _listed(
    "mr mrs ms mx dr prof rev hon gen col lt sgt capt gov sen rep st mt ft vs cf viz approx ca resp "
    "dept est al eds bzw z.b d.h u.a vgl mme mlle sra e.g i.e"
)
"""Abbreviations that something follows."""

_BEFORE_NUMBER = _listed(
    "no nos nr fig figs eq eqs sec ch vol p pp art jan feb mar apr jun jul aug sep sept oct nov dec"
)
"""Abbreviations only before a digit."""

_MAYBE_LAST = _listed("inc ltd co corp jr sr bros ph.d")
"""Abbreviations, like acronyms and initials, that a sentence may end with."""

_BEGINNINGS = _listed(
    "a an the this that these those you he she it we they my your his her its our their there here but and or so "
    "yet if when while what where who why how in on at for as after before since however then now not"
)
"""Words that, after such an abbreviation, begin a sentence rather than go on with a name."""


_NO = 0
_LATER = -1
"""Verdicts on a mark, beside the place where the sentence ends: it does not; what follows will tell."""


class _Sentences:
    def __init__(self) -> None:
        self._pending: str = ""  # what has not been emitted
        self._scanned = 0  # the part of it in which no sentence ends

    def feed(self, text: str, /) -> Sequence[str]:
        pending = self._pending
        self._pending = ""  # `pending` is the only reference now: CPython appends in place
        pending += text
        found: list[str] = []
        start, at = 0, self._scanned
        while True:
            if at == start:
                start = at = _end_of(_SPACES, pending, start)
            mark = _MARK.search(pending, at)
            end = _LATER if mark is None or mark.end() == len(pending) else _verdict(pending, start, mark)
            if mark is None or end == _LATER:
                break
            at = mark.end()
            if end != _NO:
                found.append(pending[start:end].rstrip())
                start = at = end
        self._scanned = (len(pending) if mark is None else mark.start()) - start
        self._pending = pending[start:] if start else pending
        return found

    def close(self) -> Sequence[str]:
        found = self.feed("\n\n")  # a blank line ends every doubt
        self._pending, self._scanned = "", 0
        return found


def _verdict(text: str, start: int, mark: re.Match[str]) -> int:
    """Where the sentence that began at `start` ends, by `mark`, which is not the last of `text`."""
    if mark["stop"] is None:
        return _at_line_end(text, start, mark)
    if mark["stop"][-1] in _CJK_STOPS:
        return _at_cjk_stop(text, mark)
    following = _end_of(_SPACE, text, mark.end())
    if following == mark.end():
        return _NO
    if _BLANK_LINE.search(text, mark.end(), following) or following - mark.end() == _MOST_SPACE:
        return mark.end()
    if following == len(text):
        return _LATER
    if mark["stop"] == "." and not mark["closers"]:
        return _at_full_stop(text, start, mark, following)
    goes_on = text[following].islower() and (mark["closers"] or mark["stop"][-1] in ".…")
    return _NO if goes_on else mark.end()


def _at_line_end(text: str, start: int, mark: re.Match[str]) -> int:
    line = _end_of(_INDENT, text, mark.end())
    if line - mark.end() == _MOST_SPACE:
        return _NO
    if line == len(text):
        return _LATER
    last_line = max(start, text.rfind("\n", start, mark.start()) + 1)
    if text[line] == "\n" or text.startswith("#", last_line) or _BLOCK.match(text, line):
        return mark.start()
    return _LATER if _MAYBE_BLOCK.match(text, line) else _NO


def _at_cjk_stop(text: str, mark: re.Match[str]) -> int:
    after = text[mark.end()]
    decimal = mark["stop"] == "．" and after.isdigit()  # noqa: RUF001  the full-width one is meant
    quoted = mark["closers"] and after in "とっ"  # 「はい。」と言った
    return _NO if decimal or quoted else mark.end()


def _at_full_stop(text: str, start: int, mark: re.Match[str], following: int) -> int:
    """By the word before a single full stop, and by what begins at `following`."""
    words = text[max(start, mark.start() - _LONGEST_ABBREVIATION) : mark.start()].split()
    word = words[-1].lstrip(_OPENERS) if words else ""
    first = len(words) == 1 and mark.start() - start <= _LONGEST_ABBREVIATION
    key = word.lower()
    if (first and (word.isdigit() or len(word) == 1)) or key in _NEVER_LAST:  # "1. Item", "Dr. Who"
        return _NO
    if key in _BEFORE_NUMBER:
        return _NO if text[following].isdigit() else mark.end()
    if key not in _MAYBE_LAST and not _ACRONYM.fullmatch(word):
        return mark.end()
    if not text[following].isupper():
        return _NO
    end = _end_of(_WORD, text, following)
    if end == len(text) and end - following < _LONGEST_BEGINNING:
        return _LATER
    return mark.end() if text[following:end].lower() in _BEGINNINGS else _NO


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of `pattern` at `at` ends; it always matches."""
    match = pattern.match(text, at)
    return match.end() if match else at
