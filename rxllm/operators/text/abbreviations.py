"""Abbreviations that `sentences` knows, by language, in lower case and without the last full stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final


def _words(by_language: Iterable[str]) -> frozenset[str]:
    return frozenset(word for words in by_language for word in words.split())


_NEVER_LAST: Mapping[str, str] = {
    "en": "mr mrs ms mx dr prof rev hon gen col lt sgt capt gov sen rep st mt ft vs cf viz approx est al eds "
    "i.e e.g dept",
    "de": "bzw z.b d.h u.a u.ä vgl ca evtl ggf inkl exkl zzgl bspw sog str hrsg dipl hl",
    "fr": "mme mlle mm me mgr env",
    "es": "sra srta dña ud uds ee.uu aprox",
    "it": "sig sig.ra dott dott.ssa avv egr",
    "pt": "sr sra dra exmo exma",
    "nl": "dhr mevr drs ir mr bijv d.w.z m.b.t",
    "ru": "г гг ул пл д кв стр им проф акад т.е т.к см напр",  # noqa: RUF001  Cyrillic is meant
    "pl": "np tzw tj prof ul",
    "tr": "örn bkz",
}
"""Abbreviations that are always followed by something: titles, places, "for example"."""

_BEFORE_NUMBER: Mapping[str, str] = {
    "en": "no nos nr fig figs eq eqs sec ch vol p pp art jan feb mar apr jun jul aug sep sept oct nov dec",
    "de": "abb tab kap bd s nr ziff abs",
    "fr": "n° nº chap",
    "ru": "рис табл гл",
}
"""Abbreviations only if a digit follows."""

_MAYBE_LAST: Mapping[str, str] = {
    "en": "inc ltd co corp jr sr bros ph.d m.d b.a m.a resp",
    "de": "gmbh u.s.w mio mrd tsd",
    "fr": "cie",
}
"""Abbreviations that may end a sentence, like acronyms and initials."""

_ORDINAL_FOLLOWERS: Mapping[str, str] = {
    "de": "januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert "
    "jahrhunderts jahrestag geburtstag weltkrieg auflage kapitel stock platz",
    "da, no": "januar februar marts mars april maj mai juni juli august september oktober november desember december",
    "fi": "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta lokakuuta",
    "hu": "január február március április május június július augusztus szeptember október november december",
}
"""Words after an ordinal number, which these languages write with a full stop."""

_TITLE_PARTS: Mapping[str, str] = {"de": "med phil jur rer nat habil ing oec pol h.c"}
"""Abbreviations only after another one: "Dr. med. Meyer"."""

NEVER_LAST: Final = _words(_NEVER_LAST.values())
BEFORE_NUMBER: Final = _words(_BEFORE_NUMBER.values())
MAYBE_LAST: Final = _words(_MAYBE_LAST.values())
ORDINAL_FOLLOWERS: Final = _words(_ORDINAL_FOLLOWERS.values())
TITLE_PARTS: Final = _words(_TITLE_PARTS.values())

BEGINNINGS: Final = _words(
    (
        "a an the this that these those you he she it we they my your his her its our their there here but and or so",
        "yet if when while what where who why how in on at for as after before since however then now not did do",
        "der die das ein eine er sie es wir ich und aber wenn dann doch le la les il elle nous vous ils et mais",
    )
)
"""Words that, after an abbreviation of `MAYBE_LAST`, begin a sentence and do not continue a name."""
