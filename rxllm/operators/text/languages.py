"""What `sentences` knows of languages. To add a word, write it into `languages.json`.

The file has lists by language: full stops, and words in lower case without the last full stop.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

from ..._json import table


class LanguageData(NamedTuple):
    """The stops and words of all languages."""

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
