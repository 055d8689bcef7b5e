"""A Gemini function call's arguments that come leaf by leaf, each under its JSON path.

    {"jsonPath": "$.steps[0].text", "stringValue": "Boil ", "willContinue": true}
    {"jsonPath": "$.steps[0].text", "stringValue": "water."}

The leaves come in document order, so their JSON text can be written as they come. Should one jump
back to what was already closed, as a string that grows in turns with another does, the text stops
there; the value stays right.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-function-call-arguments
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from typing import TypeAlias, cast

from ..._json import encode, is_array, is_object
from ...errors import ProtocolError

Step: TypeAlias = str | int
"""A key of an object, or an index of a list."""


class StreamedArguments:
    """The arguments of one call as they grow: `value`, and its JSON text piece by piece."""

    def __init__(self) -> None:
        self.value: dict[str, object] = {}
        self._at: tuple[Step, ...] = ()
        """The path of the last leaf written; all containers on it are open."""
        self._in_string = False
        self._in_order = True
        self._unfinished: set[tuple[Step, ...]] = set()
        """The strings of which more is to come; they may grow in turns."""

    @property
    def unfinished(self) -> bool:
        """Return whether more of a string is to come."""
        return bool(self._unfinished)

    def begin(self, whole: Mapping[str, object]) -> str:
        """Return the JSON text of arguments that come whole before the leaves of the others."""
        self.value.update(whole)
        self._at = (list(whole)[-1],)
        return encode(whole).decode()[:-1]

    def add(self, leaf: Mapping[str, object]) -> str:
        """Return the JSON text that one leaf, or a piece of one, adds."""
        path = steps_of(leaf.get("jsonPath"))
        if "stringValue" in leaf:
            return self._add_string(path, str(leaf["stringValue"] or ""), bool(leaf.get("willContinue")))
        for kind in ("numberValue", "boolValue", "nullValue"):
            if kind in leaf:
                value = None if kind == "nullValue" else leaf[kind]
                lead = self._lead(path)
                self._set(path, value)
                return self._written(lead + encode(value).decode())
        return ""

    def end(self) -> str:
        """Return the JSON text that closes what is open."""
        opened = "" if self._at else "{"
        return self._written(opened + self._closing(0) + "}")

    def _add_string(self, path: tuple[Step, ...], piece: str, more: bool) -> str:
        """Add a piece of the string at `path`, of which more may come; return the JSON text that it adds."""
        grows = path in self._unfinished
        lead = "" if grows and self._in_string and path == self._at else self._lead(path) + '"'
        begun = functools.reduce(_child, path, cast(object, self.value)) if grows else ""
        self._set(path, f"{begun}{piece}")
        self._in_string = more
        (self._unfinished.add if more else self._unfinished.discard)(path)
        return self._written(lead + encode(piece).decode()[1:-1] + ("" if more else '"'))

    def _written(self, text: str) -> str:
        return text if self._in_order else ""

    def _lead(self, path: tuple[Step, ...]) -> str:
        """Return the text between the last leaf and the one at `path`: closing, opening, and its key."""
        common = 0
        while common < min(len(path), len(self._at)) and path[common] == self._at[common]:
            common += 1
        if common in (len(path), len(self._at)) and self._at:
            self._in_order = False  # the same leaf again, or one inside it
        text = self._closing(common + 1) + "," if self._at else "{"
        self._in_string = False
        self._in_order = self._in_order and not self._has(path[: common + 1])
        self._at = path
        for depth in range(common, len(path)):
            step = path[depth]
            if depth > common:
                text += "{" if isinstance(step, str) else "["
            if isinstance(step, str):
                text += encode(step).decode() + ":"
        return text

    def _closing(self, depth: int) -> str:
        """Return the text that closes the leaf and the containers deeper than `depth`, innermost first."""
        text = '"' if self._in_string else ""
        return text + "".join("}" if isinstance(step, str) else "]" for step in reversed(self._at[max(depth, 1) :]))

    def _has(self, path: tuple[Step, ...]) -> bool:
        return functools.reduce(_child, path, cast(object, self.value)) is not _MISSING

    def _set(self, path: tuple[Step, ...], value: object) -> None:
        container: object = self.value
        for step, following in itertools.pairwise(path):
            if _child(container, step) is _MISSING:
                _put(container, step, {} if isinstance(following, str) else [])
            container = _child(container, step)
        _put(container, path[-1], value)


def steps_of(path: object) -> tuple[Step, ...]:
    """Return the steps of a JSON path that names one place; raise `ProtocolError` if it is no such path.

    >>> steps_of("$.steps[0]['the text']")
    ('steps', 0, 'the text')
    """
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ProtocolError(f"a function call's argument has no usable jsonPath: {str(path)[:80]!r}")
    steps: list[Step] = []
    for key, index, single, double in _STEP.findall(path):
        if index:
            steps.append(int(index))
        else:
            steps.append(key or re.sub(r"\\(.)", r"\1", single or double))
    if not isinstance(steps[0], str):
        raise ProtocolError(f"a function call's arguments are an object; got {path[:80]!r}")
    return tuple(steps)


_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_PATH = re.compile(rf"\$(?:{_STEP.pattern})+")


_MISSING = object()


def _child(container: object, step: Step) -> object:
    """Return the value at a step; `_MISSING` if there is none."""
    if isinstance(step, str):
        return container.get(step, _MISSING) if is_object(container) else _MISSING
    return container[step] if is_array(container) and step < len(container) else _MISSING


def _put(container: object, step: Step, value: object) -> None:
    if isinstance(step, str) and is_object(container):
        container[step] = value
    elif isinstance(step, int) and is_array(container) and step <= len(container):
        container[step : step + 1] = [value]
    else:
        raise ProtocolError(f"a function call's argument has an impossible path: {step!r}")
