"""Filters that need partial matches, or Unicode's character rules, of the package `regex` (extra `text`).

Like those in `filters`, they take and emit token events, and change the responses in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from ..._json import table
from ..._lazy_imports import needed
from ...errors import ConfigurationError
from ...events import TextDelta, TokenEvent
from .._operator import Operator, check_number
from .text_operator import filter_text, text_delta

if TYPE_CHECKING:
    import regex

    Pattern = regex.Pattern[str]

_PATTERNS = {
    kind: "|".join(patterns.values())
    for kind, patterns in table("rxllm.operators.text", "patterns.json", dict[str, dict[str, str]]).items()
}

# Not a word border: scripts without spaces, and "_", may stand before a key.
API_KEYS: Final = rf"(?<![A-Za-z0-9])(?:{_PATTERNS['api_keys']})|{_PATTERNS['private_keys']}"
"""A pattern for `redact`: keys of well-known services, JSON web tokens, private keys in PEM form."""

CARD_NUMBERS: Final = _PATTERNS["card_numbers"]
"""A pattern for `redact`: 13 to 19 digits as on a payment card, also in groups with any space or hyphen."""

EMAIL_ADDRESSES: Final = _PATTERNS["email_addresses"]
"""A pattern for `redact`: e-mail addresses, also with letters of Latin, Greek and Cyrillic in the domain."""

MAX_SECONDS: Final = 0.2
"""Seconds of processor time that one search may take, before the pattern is refused."""

_MAX_MATCH = 1000
"""Characters that are held back for one match of `replace`, or one grapheme cluster."""

_MAX_SECRET = 20_000
"""Characters that are held back for one match of `redact`."""

_CONTEXT = 100
"""Characters before the held text that are kept for look-behind."""

_REPETITION = re.compile(r"[*+]|\{\d*,\d*\}")
_UNWATCHED_STEPS = 1_000_000
"""Steps of a search that are certainly done within `MAX_SECONDS`."""

_PIECE = 64
"""Characters that are added to the held text before it is searched."""

_ALWAYS_SEARCHED = 256
"""Held characters up to which each delta is searched; above, only when an eighth has been added."""


class Match(Protocol):
    """A match as a replacement function receives it; like that of `re`."""

    def __getitem__(self, group: int | str, /) -> str:
        """Return the text of a group; 0 is the whole match."""
        ...

    def expand(self, template: str, /) -> str:
        r"""Return `template` with its `\1` and `\g<name>` filled in."""
        ...


def replace(
    pattern: str | re.Pattern[str], replacement: str | Callable[[Match], str], *, longest: int = _MAX_MATCH
) -> Operator[TokenEvent, TokenEvent]:
    r"""Replace every match of `pattern` in the text, also matches that are cut into several deltas.

    Text is held back while it may belong to a match: with `\w+@\w+`, the current word. Empty matches are ignored.
    A search that takes more than 0.2 seconds (a pattern that backtracks) ends the stream with a `ConfigurationError`.

    Args:
        pattern: The pattern: text in the syntax of the package `regex`, or a compiled pattern of `re`.
        replacement: A template as in `re.sub` (`\1`, `\g<name>`), or a function of the match. The function must be
            pure, as it is called again for the response in `StreamEnd`; its exceptions go to on_error.
        longest: Characters that are held back for a match, 1 or more. A longer match ends there.

    Raises:
        ConfigurationError: The pattern is wrong, `longest` is below 1, or the package `regex` is not installed.
    """
    compiled = _compiled(pattern)

    def expanded(match: Match) -> str:
        return match.expand(replacement) if isinstance(replacement, str) else replacement(match)

    check_number("replace(longest=...)", longest, 1)
    return filter_text("replace", lambda: _Replacing(compiled, expanded, longest, None))


def redact(
    pattern: str | re.Pattern[str], mask: str = "[redacted]", *, longest: int = _MAX_SECRET
) -> Operator[TokenEvent, TokenEvent]:
    r"""Replace every match of `pattern` in the text by `mask`; no part of a match is emitted.

    It fails closed: if a match is longer than `longest`, everything up to the end of the run of text is masked; if a
    search takes more than 0.2 seconds (a pattern that backtracks), the stream ends with a `ConfigurationError` and
    the held text is not emitted. Only text is searched, not reasoning or tool calls.

    Args:
        pattern: As for `replace`. `API_KEYS`, `CARD_NUMBERS` and `EMAIL_ADDRESSES` are ready-made; join several with
            "|".
        mask: The text in place of a match.
        longest: Characters that are held back for a match, 1 or more.

    Raises:
        ConfigurationError: The pattern is wrong, `longest` is below 1, or the package `regex` is not installed.
    """
    compiled = _compiled(pattern)
    check_number("redact(longest=...)", longest, 1)
    return filter_text("redact", lambda: _Replacing(compiled, lambda _: mask, longest, mask))


def grapheme_safe() -> Operator[TokenEvent, TokenEvent]:
    """Keep together what a reader sees as one character: an emoji family, a flag, a letter and its accents.

    Each delta ends at a border of grapheme clusters (Unicode Annex 29), so the last character of the text so far is
    held back until the next one has begun (not a line feed, which nothing continues). A cluster of more than 1,000
    characters is split.

    Raises:
        ConfigurationError: The package `regex` is not installed.
    """
    clusters = _compiled(r"\X")
    return filter_text("grapheme_safe", lambda: _Clusters(clusters))


class _Replacing:
    """The filter of `replace` and `redact`.

    A match is decided when no later text can change it. So the result does not depend on how the text is cut, nor on
    when it is searched. A place where a match may still begin holds back the text from there on. After `longest`
    characters it is forced to a decision, at exactly that length: the text is therefore searched at that length too.
    With a `mask`, it then masks the rest of the run.
    """

    def __init__(self, pattern: Pattern, expanded: Callable[[Match], str], longest: int, mask: str | None) -> None:
        self._pattern = pattern
        self._expanded = expanded
        self._longest = longest
        self._mask = mask
        self._text: str = ""
        """Some text that has been passed on, then the held text."""
        self._at = 0
        """Where the held text begins."""
        self._length_at_search = 0
        """The length of the held text when it was last searched: it is searched again when an eighth longer."""
        self._has_end = "$" in pattern.pattern
        self._quick = min(_PIECE, longest - 1, _unwatched_length(pattern.pattern))
        """The length of held text up to which a search needs no time limit, and no decision is forced."""
        self._line_end = ""
        """Line feeds that are not searched yet: "$" matches before one that is the last character of the text."""
        self._rest_is_masked = False
        """A mask stands for the rest of the run."""

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        """Return the text that is decided. Text is dropped once the rest of the run is masked."""
        if self._has_end:
            text = self._hold_line_end(text)
        whole, at = self._text + text, self._at
        if len(whole) - at <= self._quick and not self._rest_is_masked:
            match = self._pattern.search(whole, at, None, None, True)  # by position: half the cost of keywords
            if match is None or match.partial:
                self._text = whole
                self._at = end = len(whole) if match is None else match.start()
                self._forget()
                return text_delta(whole[at:end])
        return self._feed_pieces(text)

    def _feed_pieces(self, text: str) -> Sequence[TextDelta]:
        """Search after each piece; a long held text only once it has grown by an eighth, so that the cost is linear."""
        out: list[str] = []
        read = 0
        while read < len(text) and not self._rest_is_masked:
            held = len(self._text) - self._at
            piece = text[read : read + min(_PIECE, self._longest - held)]  # a match that is held has its limit there
            self._text += piece
            read += len(piece)
            held += len(piece)
            if (
                held <= _ALWAYS_SEARCHED
                or held >= self._length_at_search + self._length_at_search // 8
                or held == self._longest
            ):
                self._pass_decided(out, closing=False)
        return text_delta("".join(out))

    def _hold_line_end(self, text: str) -> str:
        """Return the text to search now: without line feeds at its end."""
        text = self._line_end + text
        searched = text.rstrip("\n")
        if len(text) - len(searched) > self._longest:
            searched = text
        self._line_end = text[len(searched) :]
        return searched

    def close(self) -> Sequence[TextDelta]:
        """Decide on all text that is held: no more comes in this run."""
        out: list[str] = []
        if not self._rest_is_masked:
            self._text += self._line_end
            self._pass_decided(out, closing=True)
        self._line_end = ""
        self._text, self._at, self._length_at_search, self._rest_is_masked = "", 0, 0, False
        return text_delta("".join(out))

    def _pass_decided(self, out: list[str], *, closing: bool) -> None:
        """Move text that is decided from the held text to `out`; raise `ConfigurationError` if that takes too long."""
        try:
            while (length := len(self._text)) > self._at:
                # text, pos, endpos, concurrent, partial, timeout: by position, at half the cost of keywords
                match = self._pattern.search(self._text, self._at, None, None, not closing, MAX_SECONDS)
                if match is None:
                    self._pass(out, length)
                elif not closing and (start := self._undecided_start(match)) is not None:
                    self._pass(out, start)
                    if length - start < self._longest:
                        break
                    self._decide_now(
                        out
                    )  # too long to wait: pass one character, take the match as it is, or mask the rest
                elif match.end() == match.start():  # an empty match is ignored
                    self._pass(out, min(match.end() + 1, length))
                else:
                    self._pass(out, match.start())
                    out.append(self._expanded(match))
                    self._at = match.end()
        except TimeoutError:
            length = len(self._text)
            self._text, self._at = "", 0
            raise ConfigurationError(
                f"the pattern takes more than {MAX_SECONDS} s for {length} characters, as it backtracks: "
                f"{self._pattern.pattern[:200]}"
            ) from None
        self._forget()
        self._length_at_search = len(self._text) - self._at

    def _forget(self) -> None:
        if self._at > 2 * _CONTEXT:
            self._text = self._text[self._at - _CONTEXT :]
            self._at = _CONTEXT

    def _undecided_start(self, match: regex.Match[str]) -> int | None:
        """Return where the first match begins that later text may complete, lengthen or forbid."""
        if match.partial:
            return match.start()
        places = range(self._at, match.start() + 1)
        fullmatch = self._pattern.fullmatch
        return next((at for at in places if fullmatch(self._text, at, None, None, True, MAX_SECONDS)), None)

    def _decide_now(self, out: list[str]) -> None:
        """Decide on the match that may begin at the held text, with the text that is there; or mask the rest."""
        if self._mask is not None:
            out.append(self._mask)
            self._text, self._at, self._rest_is_masked = "", 0, True
            return
        match = self._pattern.match(self._text, self._at, timeout=MAX_SECONDS)
        if match is None or match.end() == match.start():
            self._pass(out, self._at + 1)
        else:
            out.append(self._expanded(match))
            self._at = match.end()

    def _pass(self, out: list[str], end: int) -> None:
        out.append(self._text[self._at : end])
        self._at = end


class _Clusters:
    """The filter of `grapheme_safe`."""

    def __init__(self, clusters: Pattern) -> None:
        self._clusters = clusters
        self._held: str = ""

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        text = self._held + text
        safe = self._last_border(text)
        self._held = text[safe:]
        return text_delta(text[:safe])

    def close(self) -> Sequence[TextDelta]:
        held, self._held = self._held, ""
        return text_delta(held)

    def _last_border(self, text: str) -> int:
        """Return where the last cluster of `text` begins, if it may continue, else its end."""
        if text.endswith("\n"):
            return len(text)
        if text.isascii():
            return max(0, len(text) - 1)
        *_, last = self._clusters.finditer(text)
        return last.start() if len(last[0]) <= _MAX_MATCH else len(text)


def _unwatched_length(pattern: str) -> int:
    """Return the length of text up to which a search needs no time limit, which doubles the cost of a short one.

    A search for n repetitions takes at most length ** (n + 1) steps. Repeated groups may take exponentially many.
    """
    if re.search(r"\)[*+?{]|\\[1-9kg]|\(\?[R&P(]", pattern):
        return 0
    return int(_UNWATCHED_STEPS ** (1 / (len(_REPETITION.findall(pattern)) + 1)))


def _compiled(pattern: str | re.Pattern[str]) -> Pattern:
    """Return the pattern compiled by the package regex, which can match partially."""
    regex = needed("regex", "this operator", "rxllm[text]")
    source, used = (pattern.pattern, pattern.flags) if isinstance(pattern, re.Pattern) else (pattern, 0)
    flags = regex.RegexFlag(0)
    for name in ("ASCII", "IGNORECASE", "MULTILINE", "DOTALL", "VERBOSE"):
        if used & re.RegexFlag[name]:
            flags |= regex.RegexFlag[name]
    try:
        return cast("Pattern", regex.compile(source, flags))
    except (regex.error, TypeError) as error:
        raise ConfigurationError(f"the package regex does not accept the pattern: {error}") from error
