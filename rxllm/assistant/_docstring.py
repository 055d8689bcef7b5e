"""What a docstring says of a function and of each of its parameters: Google, NumPy and Sphinx style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
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
    reader = _Reader(frozenset(names))
    for line in inspect.cleandoc(text or "").splitlines():
        reader.read(line)
    return Docstring(
        "\n".join(reader.summary).strip(),
        {name: " ".join(filter(None, lines)) for name, lines in reader.parameters.items()},
    )


class _Reader:
    """Reads line by line; `_place` is where a line belongs that begins nothing new."""

    def __init__(self, names: frozenset[str]) -> None:
        self.summary: list[str] = []
        self.parameters: dict[str, list[str]] = {}
        self._names = names
        self._place: list[str] = self.summary
        self._in_parameters = False

    def read(self, line: str) -> None:
        """Read one line: it begins a section or a parameter, or continues the one before."""
        bare = line.strip()
        if bare == line and _SECTION.fullmatch(bare):
            self._in_parameters = bool(_PARAMETERS.fullmatch(bare))
            self._place = []
        elif set(bare) == {"-"}:
            pass  # NumPy's line under the name of a section
        elif found := _SPHINX.fullmatch(bare):
            self._begin(found[1], found[2])
        elif _FIELD.match(bare):
            self._place = []
        elif not (self._in_parameters and self._begins_parameter(bare, line)):
            self._place.append(bare)

    def _begins_parameter(self, bare: str, line: str) -> bool:
        """Begin a parameter if the line does, in Google or NumPy style; return whether it does."""
        if found := _GOOGLE.fullmatch(bare):
            description = found[2] if bare != line else ""  # in NumPy's style the type stands there
        elif found := _NUMPY.fullmatch(bare):
            description = ""
        else:
            return False
        if found[1] not in self._names or found[1] in self.parameters:
            return False
        self._begin(found[1], description)
        return True

    def _begin(self, name: str, description: str) -> None:
        if name in self._names:
            self._place = self.parameters[name] = [description]
        else:
            self._place = []
