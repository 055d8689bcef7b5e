"""Text in sentences, for speech and captions: each is emitted as soon as it is certain to be complete.

The rules are for prose as models write it, Markdown included. In doubt two sentences stay together: a missing pause
is heard less than the one in "Dr. | Smith". A few characters of look-ahead are enough for a decision: the next word,
mostly. Every wait is bounded, so the cost is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import ConfigurationError
from ...events import TokenEvent
from .._operator import Operator
from .abbreviations import BEFORE_NUMBER, BEGINNINGS, MAYBE_LAST, NEVER_LAST, ORDINAL_FOLLOWERS, TITLE_PARTS
from .text_operator import split_text


def sentences(*, longest: int = 600) -> Operator[TokenEvent | str, str]:
    """Emit each sentence, without the space around it.

    Known are abbreviations and initials ("Dr.", "e.g.", "J. S. Bach"), decimals and dotted names, ellipses, closing
    quotes and brackets, and the full stops of Arabic, Armenian, Bengali, Burmese, Chinese, Ethiopic, Greek, Hindi,
    Japanese, Khmer, Tibetan and Urdu. After ". ! ?" a lower-case letter begins no sentence. A blank line, and the line
    of a heading or a list item, end a sentence without a full stop. The last sentence comes when the text ends.

    Args:
        longest: Characters after which text without an end of a sentence is cut, at a comma or a space; 20 or more.

    Raises:
        ConfigurationError: `longest` is below 20.

    >>> import reactivex
    >>> source = reactivex.of("Dr. Who paid $3", ".50. “Really", "?” she asked. 是的。好")
    >>> source.pipe(sentences()).subscribe(print).dispose()
    Dr. Who paid $3.50.
    “Really?” she asked.
    是的。
    好
    """
    if longest < 20:
        raise ConfigurationError(f"sentences(longest=...) takes 20 or more; got {longest!r}")
    return split_text(lambda: _Sentences(longest))


_STRONG_STOPS = "。！？｡．।॥؟۔։።፧፨။។៕།༎"  # noqa: RUF001  full-width ones are meant
"""Full stops that end a sentence whatever follows: Chinese and Japanese, Hindi and Bengali, Arabic and Urdu,
Armenian, Ethiopic, Burmese, Khmer, Tibetan."""

_CLOSERS = "\"'”“’‘»›)\\]}」』】）》〉*_`"  # noqa: RUF001  all kinds of quotes are meant
_MARK = re.compile(
    rf"(?P<stop>[.!?…](?:[ \u00a0]\.){{1,16}}|[.!?…{_STRONG_STOPS}]{{1,64}}"
    r"|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e]|(?<=[\u0531-\u0587]):)"
    rf"(?P<closers>(?:[{_CLOSERS}]|\[[\d,\u2013-]{{1,12}}\]|[ \u00a0\u202f]»(?![^\s.,;:!?)\]])){{0,16}})|\n"
)
"""A run of stops with the quotes, brackets and citations that close after it; spaced ellipses; the question mark of
Greek and the full stop of Armenian on ordinary keyboards; or the end of a line."""

_CANDIDATE = re.compile(rf"[.!?…;:\u037e\n{_STRONG_STOPS}]")
"""The first character of a mark."""

_MAYBE_CITATION = re.compile(r"\[[\d,\u2013-]{0,12}\Z")
_MAX_SPACE = 64
_MAX_ABBREVIATION = 40
_MAX_BEGINNING = 20
_SPACES = re.compile(r"\s*")
_SPACE = re.compile(rf"\s{{0,{_MAX_SPACE}}}")
_INDENT = re.compile(rf"[^\S\n]{{0,{_MAX_SPACE}}}")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_BLOCK = re.compile(r"[-*+•]\s|#{1,6}\s|>|\||```|~~~|\d{1,9}[.)]\s")
_MAYBE_BLOCK = re.compile(r"(?:[-*+•]|#{1,6}|`{1,2}|~{1,2}|\d{1,9}[.)]?)\Z")
_WORD = re.compile(rf"[^\W\d_]{{0,{_MAX_BEGINNING}}}")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_OPENERS = "([{“„‘‚«»\"'*_•⁃"  # noqa: RUF001  all kinds of quotes and bullets are meant
_GEORGIAN = re.compile(r"[\u10d0-\u10ff]")
_BREAK = re.compile(r"(?:[,;:—–،、，；](?:\s|(?<=[、，；]))|\s)(?=\S)")  # noqa: RUF001  full-width ones are meant

_NO = 0
_LATER = -1
"""Verdicts on a mark, beside the place where the sentence ends: it does not end; more text is needed."""


class _Sentences:
    """The splitter of `sentences`."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._pending: str = ""
        """Text that has not been emitted."""
        self._scanned = 0
        """The length of its beginning that holds no end of a sentence."""

    def feed(self, text: str, /) -> Sequence[str]:
        pending = self._pending
        self._pending = ""  # `pending` is the only reference now: CPython appends in place
        pending += text
        found: list[str] = []
        start, at = 0, self._scanned
        while True:
            if at == start:
                start = at = _end_of(_SPACES, pending, start)
            mark = _next_mark(pending, at)
            scanned = len(pending) if mark is None else mark.start()
            if scanned - start > self._longest:
                end = _last_break(pending, start, start + self._longest)
            elif mark is None:
                break
            else:
                end = _LATER if mark.end() == len(pending) else _verdict(pending, start, mark)
                if end == _LATER:
                    break
                at = mark.end()
            if end != _NO:
                found.append(pending[start:end].rstrip())
                start = at = end
        self._scanned = scanned - start
        self._pending = pending[start:] if start else pending
        return found

    def close(self) -> Sequence[str]:
        found = self.feed("\n\n")  # a blank line ends every doubt
        self._pending, self._scanned = "", 0
        return found


def _next_mark(text: str, at: int) -> re.Match[str] | None:
    """Return the next mark. The class alone is searched faster than the whole pattern."""
    while (candidate := _CANDIDATE.search(text, at)) is not None:
        mark = _MARK.match(text, candidate.start())
        if mark is not None:
            return mark
        at = candidate.end()
    return None


def _last_break(text: str, start: int, limit: int) -> int:
    """Return where to cut a text that is too long: after a comma in its second half, else at a space, else anywhere."""
    breaks = [match.end() for match in _BREAK.finditer(text, (start + limit) // 2, limit)]
    commas = [end for end in breaks if not text[end - 2 : end].isspace() and text[end - 2] in ",;:—–،、，；"]  # noqa: RUF001
    return (commas or breaks or [limit])[-1]


def _verdict(text: str, start: int, mark: re.Match[str]) -> int:
    """Return where the sentence that began at `start` ends, by `mark`, after which there is more text."""
    if mark["stop"] is None:
        return _at_line_end(text, start, mark)
    if mark["stop"][-1] in _STRONG_STOPS:
        return _at_strong_stop(text, start, mark)
    if _MAYBE_CITATION.match(text, mark.end()):
        return _LATER
    following = _end_of(_SPACE, text, mark.end())
    if following == mark.end() or text[mark.start() - 1 : mark.start()] == "[":  # "[...]"
        return _NO
    if _BLANK_LINE.search(text, mark.end(), following) or following - mark.end() == _MAX_SPACE:
        return mark.end()
    if following == len(text):
        return _LATER
    if _is_lower(text[following]) or text[following] in "&+=/,;%":
        return _NO
    if mark["stop"].count(".") == 3 and " " in mark["stop"]:  # an ellipsis in the middle of a sentence
        return _NO
    if mark["closers"]:
        is_item = mark["closers"] == ")" and text[start : mark.start()].lstrip(_OPENERS).isdigit()  # "1.) Item"
        return _NO if is_item else mark.end()
    return _at_full_stop(text, start, mark, following) if mark["stop"] == "." else mark.end()


def _is_lower(character: str) -> bool:
    """Return whether no sentence begins with `character`: Georgian has no other letters."""
    return character.islower() and not _GEORGIAN.match(character)


def _at_line_end(text: str, start: int, mark: re.Match[str]) -> int:
    line = _end_of(_INDENT, text, mark.end())
    if line - mark.end() == _MAX_SPACE:
        return _NO
    if line == len(text):
        return _LATER
    last_line = max(start, text.rfind("\n", start, mark.start()) + 1)
    if text[line] == "\n" or text.startswith("#", last_line) or _BLOCK.match(text, line):
        return mark.start()
    return _LATER if _MAYBE_BLOCK.match(text, line) else _NO


def _at_strong_stop(text: str, start: int, mark: re.Match[str]) -> int:
    after = text[mark.end()]
    decimal = mark["stop"] == "．" and after.isdigit()  # noqa: RUF001  the full-width one is meant
    quoted = mark["closers"] and after in "とっ"  # 「はい。」と言った
    title = max(start, mark.start() - _MAX_ABBREVIATION)
    in_title = text.rfind("《", title, mark.start()) > text.rfind("》", title, mark.start())
    return _NO if decimal or quoted or in_title else mark.end()


def _at_full_stop(text: str, start: int, mark: re.Match[str], following: int) -> int:
    """Decide by the words before a single full stop, and by the word that begins at `following`."""
    words = text[max(start, mark.start() - _MAX_ABBREVIATION) : mark.start()].split()
    word = words[-1].lstrip(_OPENERS) if words else ""
    key, begins_with_digit = word.lower(), text[following].isdigit()
    is_near_start = mark.start() - start <= _MAX_ABBREVIATION
    is_first = is_near_start and not any(each.strip(_OPENERS) for each in words[:-1])
    if (is_first and (word.isdigit() or len(word) == 1)) or key in NEVER_LAST:  # "1. Item", "Dr. Who"
        return _NO
    if key in TITLE_PARTS and len(words) > 1 and words[-2].endswith("."):  # "Dr. med. Meyer"
        return _NO
    if begins_with_digit and (key in BEFORE_NUMBER or (word[:1].isupper() and len(word) <= 4 and word.isalpha())):
        return _NO
    is_time = key in ("a.m", "p.m")
    if key not in MAYBE_LAST and not word.isdigit() and not _ACRONYM.fullmatch(word):
        return mark.end()
    if not text[following].isupper():
        return mark.end() if word.isdigit() or (is_time and not begins_with_digit) else _NO
    if is_time:
        return _NO if is_near_start and len(words) <= 3 else mark.end()  # "At 5 a.m. Mr. Smith"
    if word == "I" and len(words) > 1 and words[-2].islower():  # "you and I."
        return mark.end()
    end = _end_of(_WORD, text, following)
    if end == len(text) and end - following < _MAX_BEGINNING:
        return _LATER
    next_word = text[following:end].lower()
    if word.isdigit():
        return _NO if next_word in ORDINAL_FOLLOWERS else mark.end()  # "12. Juni"
    return mark.end() if next_word in BEGINNINGS else _NO


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where the match of `pattern` at `at` ends; it always matches."""
    match = pattern.match(text, at)
    return match.end() if match else at
