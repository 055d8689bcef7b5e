"""What a docstring says of a function and of each of its parameters: Google, NumPy and Sphinx style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

_SECTION = re.compile(
    r"(?:args|arguments|parameters|params|returns?|yields?|raises|examples?|notes?|see also|attributes|warns):?",
    re.IGNORECASE,
)
_PARAMETERS = re.compile(r"(?:args|arguments|parameters|params):?", re.IGNORECASE)
_GOOGLE = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s+(.*)")
_NUMPY = re.compile(r"(\w+)\s*(?::.*)?")
_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_FIELD = re.compile(r":\w+[^:]*:")


class Docstring(NamedTuple):
    """The text before the first section, and the parameters' descriptions by name."""

    summary: str
    parameters: Mapping[str, str]


def read_docstring(text: str | None, names: Iterable[str]) -> Docstring:
    r"""Return the summary of a docstring and its descriptions of the parameters `names`, as far as it has them.

    >>> read_docstring("Add.\n\nArgs:\n    a: The first.\n    b (int): The\n        second.", ["a", "b"])
    Docstring(summary='Add.', parameters={'a': 'The first.', 'b': 'The second.'})
    """
    wanted = frozenset(names)
    summary: list[str] = []
    parameters: dict[str, list[str]] = {}
    place, in_parameters = summary, False
    for line in inspect.cleandoc(text or "").splitlines():
        bare = line.strip()
        if bare == line and _SECTION.fullmatch(bare):
            place, in_parameters = [], bool(_PARAMETERS.fullmatch(bare))
        elif found := _field(bare) or (in_parameters and _parameter(bare, line, wanted - parameters.keys())):
            name, description = found
            place = [description]
            if name in wanted:
                parameters[name] = place
        elif set(bare) != {"-"}:  # NumPy's line under the name of a section
            place.append(bare)
    described = {name: " ".join(filter(None, lines)) for name, lines in parameters.items()}
    return Docstring("\n".join(summary).strip(), described)


def _field(bare: str) -> tuple[str, str] | None:
    """Return the parameter and the description of a Sphinx field; empty ones if it is of something else."""
    if found := _SPHINX.fullmatch(bare):
        return found[1], found[2]
    return ("", "") if _FIELD.match(bare) else None


def _parameter(bare: str, line: str, names: Set[str]) -> tuple[str, str] | None:
    """Return the parameter that a line begins in Google or NumPy style, if it is one of `names`, and what it says."""
    google = _GOOGLE.fullmatch(bare)
    found = google or _NUMPY.fullmatch(bare)
    if found is None or found[1] not in names:
        return None
    return found[1], google[2] if google and bare != line else ""  # in NumPy's style the type stands there
