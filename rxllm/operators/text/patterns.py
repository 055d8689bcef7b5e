"""Filters that need partial matches of patterns, or Unicode's rules: the extra `rxllm[text]` (package `regex`).

Like those in `filters` they take and emit token events, and change the responses to agree.
Each raises `ConfigurationError` at once where the package is missing or the pattern is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ...errors import ConfigurationError
from ...events import TextDelta, TokenEvent
from .._operator import Operator
from .text_operator import filter_text

if TYPE_CHECKING:
    import regex

    Pattern = regex.Pattern[str]

LONGEST = 1000
"""Characters that are held back at most, as a rule, for one match or one grapheme cluster."""

_CONTEXT = 100  # characters of the text that was passed on, kept for look-behind


class Match(Protocol):
    """What a replacement function is given: a match, as in `re`."""

    def __getitem__(self, group: int | str, /) -> str:
        """The text of a group; 0 is the whole match."""
        ...

    def expand(self, template: str, /) -> str:
        r"""`template` with its `\1` and `\g<name>` filled in."""
        ...


def replace(
    pattern: str | re.Pattern[str], replacement: str | Callable[[Match], str], *, longest: int = LONGEST
) -> Operator[TokenEvent, TokenEvent]:
    r"""Replace every match of `pattern` in the text, matches cut across deltas too.

    `replacement` is a template as in `re.sub` (`\1`, `\g<name>`), or a function of the match: a pure
    one, as it is called once more for the response in `StreamEnd`; what it raises goes to on_error.
    Text is held back while it may belong to a match: with `\w+@\w+`, the word under way. After
    `longest` characters a decision is made with what is there. Matches of no text are left alone.
    """
    compiled = _compiled(pattern)

    def expanded(match: Match) -> str:
        return match.expand(replacement) if isinstance(replacement, str) else replacement(match)

    return filter_text(lambda: _Replacing(compiled, expanded, longest))


def redact(
    pattern: str | re.Pattern[str], mask: str = "[redacted]", *, longest: int = LONGEST
) -> Operator[TokenEvent, TokenEvent]:
    r"""Put `mask` in place of every match of `pattern` in the text: no part of a match is emitted before.

    Only text is searched, not reasoning or tool calls. A match of more than `longest` characters is
    masked as far as it had come when they were reached.
    """
    return replace(pattern, lambda _: mask, longest=longest)


def grapheme_safe() -> Operator[TokenEvent, TokenEvent]:
    """Never split what a reader sees as one character: an emoji family, a flag, a letter and its accents.

    Each delta ends at a border of grapheme clusters (Unicode Annex 29), so the last character of
    the text so far is held back until the next one has begun.
    """
    clusters = _compiled(r"\X")
    return filter_text(lambda: _Clusters(clusters))


class _Replacing:
    def __init__(self, pattern: Pattern, expanded: Callable[[Match], str], longest: int) -> None:
        self._pattern = pattern
        self._expanded = expanded
        self._longest = longest
        self._text: str = ""  # some text that was passed on, and the text that is held back
        self._at: int = 0  # where the latter begins

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        self._text += text
        return self._passed(closing=False)

    def close(self) -> Sequence[TextDelta]:
        passed = self._passed(closing=True)
        self._text, self._at = "", 0
        return passed

    def _passed(self, *, closing: bool) -> Sequence[TextDelta]:
        out: list[str] = []
        while self._at < len(self._text):
            match = self._pattern.search(self._text, self._at, partial=not closing)
            if match is None:
                self._pass(out, len(self._text))
            elif match.partial and len(self._text) - match.start() > self._longest:
                self._pass(out, len(self._text) - self._longest)  # waited for long enough: no match begins there
            elif not closing and (border := self._open_at(match)) is not None:
                self._pass(out, border)
                break
            elif match.end() == match.start():
                self._pass(out, min(match.end() + 1, len(self._text)))
            else:
                self._pass(out, match.start())
                out.append(self._expanded(match))
                self._at = match.end()
        self._forget()
        return (TextDelta(text),) if (text := "".join(out)) else ()

    def _open_at(self, match: regex.Match[str]) -> int | None:
        """Where the first match begins that later text may yet complete, lengthen or forbid."""
        if match.partial:
            return match.start()
        first = max(self._at, len(self._text) - self._longest)
        places = range(first, match.start() + 1)
        return next((at for at in places if self._pattern.fullmatch(self._text, at, partial=True)), None)

    def _pass(self, out: list[str], end: int) -> None:
        out.append(self._text[self._at : end])
        self._at = end

    def _forget(self) -> None:
        if self._at > 2 * _CONTEXT:
            self._text = self._text[self._at - _CONTEXT :]
            self._at = _CONTEXT


class _Clusters:
    def __init__(self, clusters: Pattern, longest: int = LONGEST) -> None:
        self._clusters = clusters
        self._longest = longest
        self._held: str = ""

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        text = self._held + text
        safe = self._last_border(text)
        self._held = text[safe:]
        return (TextDelta(text[:safe]),) if safe else ()

    def close(self) -> Sequence[TextDelta]:
        held, self._held = self._held, ""
        return (TextDelta(held),) if held else ()

    def _last_border(self, text: str) -> int:
        """Where the last cluster of `text` begins, as it may go on; its end, where it cannot."""
        if text.endswith("\n"):
            return len(text)
        if text.isascii():
            return max(0, len(text) - 1)
        border = 0
        for cluster in self._clusters.finditer(text):
            border = cluster.start()
        return border if len(text) - border <= self._longest else len(text)


def _compiled(pattern: str | re.Pattern[str]) -> Pattern:
    try:
        import regex
    except ImportError as error:
        raise ConfigurationError('this operator needs the package "regex": pip install "rxllm[text]"') from error
    source, said = (pattern, 0) if isinstance(pattern, str) else (pattern.pattern, pattern.flags)
    flags = regex.RegexFlag(0)
    for name in ("ASCII", "IGNORECASE", "MULTILINE", "DOTALL", "VERBOSE"):
        if said & re.RegexFlag[name]:
            flags |= regex.RegexFlag[name]
    try:
        return regex.compile(source, flags)
    except regex.error as error:
        raise ConfigurationError(f"not a pattern that the package regex takes: {error}") from error
