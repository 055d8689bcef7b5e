"""What `sentences` knows about words beside a full stop. To add a word, write it into `abbreviations.json`.

The file has its words by language, in lower case and without the last full stop.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import chain
from typing import NamedTuple

import msgspec


class Abbreviations(NamedTuple):
    """The words of all languages."""

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


def _read() -> Abbreviations:
    file = files("rxllm.operators.text").joinpath("abbreviations.json")
    by_kind = msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, list[str]]])
    return Abbreviations(**{kind: frozenset(chain.from_iterable(words.values())) for kind, words in by_kind.items()})


ABBREVIATIONS = _read()
