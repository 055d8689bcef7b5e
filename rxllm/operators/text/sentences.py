"""Text in sentences, for speech and captions: each is emitted as soon as it is certain to be complete.

The rules are for prose as models write it, Markdown included. In doubt two sentences stay together: a missing pause
is heard less than the one in "Dr. | Smith". A few characters of look-ahead are enough for a decision: the next word,
mostly. Every wait is bounded, so the cost is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from ..._json import table
from ...events import TokenEvent
from .._operator import Operator, check_number
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
    check_number("sentences(longest=...)", longest, 20)
    return split_text(lambda: _Sentences(longest))


class LanguageData(NamedTuple):
    """The stops and words of all languages. To add a word, write it into `languages.json`.

    The file has lists by language: full stops, and words in lower case without the last full stop.
    """

    strong_stops: frozenset[str]
    """Full stops that end a sentence whatever follows."""
    never_last: frozenset[str]
    """Abbreviations that are always followed by something: titles, places, "for example"."""
    before_number: frozenset[str]
    """Abbreviations only if a digit follows."""
    maybe_last: frozenset[str]
    """Abbreviations that may end a sentence, like acronyms and initials."""
    title_parts: frozenset[str]
    """Abbreviations only after another one: "Dr. med. Meyer"."""
    ordinal_followers: frozenset[str]
    """Words after an ordinal number, which some languages write with a full stop."""
    beginnings: frozenset[str]
    """Words that, after an abbreviation that may end a sentence, begin one and do not continue a name."""


_BY_KIND = table("rxllm.operators.text", "languages.json", dict[str, dict[str, list[str]]])

KNOWN: Final = LanguageData(
    **{kind: frozenset(chain.from_iterable(by_language.values())) for kind, by_language in _BY_KIND.items()}
)

_STRONG_STOPS = "".join(sorted(KNOWN.strong_stops))
_CLOSERS = "\"'”“’‘»›)\\]}」』】）》〉*_`"  # noqa: RUF001  all kinds of quotes are meant
_EMOJI = "\u2600-\u27bf\u2b50\u200d\ufe0f\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff"
_MARK = re.compile(
    rf"(?P<stop>[.!?…](?:[ \u00a0]\.){{1,16}}|[.!?…{_STRONG_STOPS}]{{1,64}}"
    r"|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e]|(?<=[\u0531-\u0587]):)"
    rf"(?P<closers>(?:[{_CLOSERS}{_EMOJI}]|\[[\d,\u2013-]{{1,12}}\]|【\d[\d:]{{0,7}}†[^】\n]{{0,60}}】"
    r"|[ \u00a0\u202f]»(?![^\s.,;:!?)\]])){0,16})|\n"
)
"""A run of stops with the quotes, brackets, emoji and citations that close after it; spaced ellipses; the question mark
of Greek and the full stop of Armenian on ordinary keyboards; or the end of a line."""

_CANDIDATE = re.compile(rf"[.!?…;:\u037e\n{_STRONG_STOPS}]")
"""The first character of a mark."""

_MAYBE_CITATION = re.compile(r"(?:\[[\d,\u2013-]{0,12}|【(?:\d[\d:]{0,7}(?:†[^】\n]{0,60})?)?)\Z")
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
_OPENERS_AND_SPACE = _OPENERS + " \n\t\u00a0\u202f"
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
        """Return the sentences that are certain. A mark at the very end is decided by the text that follows."""
        pending, at = self._pending, self._scanned
        self._pending = ""  # `pending` is the only reference now: CPython appends in place
        is_scanned = 0 < at == len(pending)
        pending += text
        length = len(pending)
        if is_scanned and length <= self._longest and _CANDIDATE.search(text) is None:
            self._pending, self._scanned = pending, length
            return ()
        found: list[str] = []
        start, scanned = 0, -1
        while True:
            if at == start:
                start = at = _end_of(_SPACES, pending, start)
            if scanned < at:
                candidate = _CANDIDATE.search(pending, at)  # faster than a search for the whole mark
                scanned = length if candidate is None else candidate.start()
            if scanned - start > self._longest:
                end = _last_break(pending, start, start + self._longest)
            elif scanned + 1 >= length:
                break
            elif (mark := _MARK.match(pending, scanned)) is None:
                at = scanned + 1
                continue
            else:
                at = mark.end()
                end = _LATER if at == length else _verdict(pending, start, mark)
                if end == _LATER:
                    break
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


def _last_break(text: str, start: int, limit: int) -> int:
    """Return where to cut a text that is too long: after a comma in its second half, else at a space, else anywhere."""
    breaks = [match.end() for match in _BREAK.finditer(text, (start + limit) // 2, limit)]
    commas = [end for end in breaks if not text[end - 2 : end].isspace() and text[end - 2] in ",;:—–،、，；"]  # noqa: RUF001
    return (commas or breaks or [limit])[-1]


def _verdict(text: str, start: int, mark: re.Match[str]) -> int:
    """Return where the sentence that began at `start` ends, by `mark`, after which there is more text."""
    stop, closers = mark.groups()
    if stop is None:
        return _at_line_end(text, start, mark)
    end = mark.end()
    if text[end] in "[【" and _MAYBE_CITATION.match(text, end):
        return _LATER
    if stop[-1] in _STRONG_STOPS:
        return _at_strong_stop(text, start, mark)
    following = _end_of(_SPACE, text, end)
    if following == end or text[mark.start() - 1 : mark.start()] == "[":  # "[...]"
        return _NO
    if following > end + 1 and (following - end == _MAX_SPACE or _BLANK_LINE.search(text, end, following)):
        return end
    if following == len(text):
        return _LATER
    first = text[following]
    if first in "&+=/,;%" or (first.islower() and not _GEORGIAN.match(first)):  # Georgian has no capital letters
        return _NO
    if stop == ".":
        if not closers:
            return _at_full_stop(text, start, mark.start(), end, following)
        is_item = closers == ")" and text[start : mark.start()].lstrip(_OPENERS).isdigit()  # "1.) Item"
        return _NO if is_item else end
    in_the_middle = " " in stop and stop.count(".") == 3  # a spaced ellipsis
    return _NO if in_the_middle else end


def _at_line_end(text: str, start: int, mark: re.Match[str]) -> int:
    """Return where the sentence ends at a line end: before a blank line, a heading or a list item; else not."""
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


def _at_full_stop(text: str, start: int, stop: int, end: int, following: int) -> int:
    """Decide by the words before the full stop at `stop`, and by the word that begins at `following`."""
    words = text[max(start, stop - _MAX_ABBREVIATION) : stop].rsplit(None, 3)
    word = words[-1].lstrip(_OPENERS) if words else ""
    key, begins_with_digit, is_number = word.lower(), text[following].isdigit(), word.isdigit()
    is_near_start = stop - start <= _MAX_ABBREVIATION
    if key in KNOWN.never_last:  # "Dr. Who"
        return _NO
    if (is_number or len(word) == 1) and is_near_start and not "".join(words[:-1]).strip(_OPENERS_AND_SPACE):
        return _NO  # "1. Item"
    if key in KNOWN.title_parts and len(words) > 1 and words[-2].endswith("."):  # "Dr. med. Meyer"
        return _NO
    if begins_with_digit and (key in KNOWN.before_number or (word[:1].isupper() and len(word) <= 4 and word.isalpha())):
        return _NO
    if not is_number and key not in KNOWN.maybe_last and not _ACRONYM.fullmatch(word):
        return end
    is_time = key in ("a.m", "p.m")
    if not text[following].isupper():
        return end if is_number or (is_time and not begins_with_digit) else _NO
    if is_time:
        return _NO if is_near_start and len(words) <= 3 else end  # "At 5 a.m. Mr. Smith"
    if word == "I" and len(words) > 1 and words[-2].islower():  # "you and I."
        return end
    word_end = _end_of(_WORD, text, following)
    if word_end == len(text) and word_end - following < _MAX_BEGINNING:
        return _LATER
    next_word = text[following:word_end].lower()
    if is_number:
        return _NO if next_word in KNOWN.ordinal_followers else end  # "12. Juni"
    return end if next_word in KNOWN.beginnings else _NO


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where the match of `pattern` at `at` ends; it always matches."""
    match = pattern.match(text, at)
    return match.end() if match else at
