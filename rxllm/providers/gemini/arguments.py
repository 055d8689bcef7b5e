"""A Gemini function call's arguments that come leaf by leaf, each under its JSON path.

    {"jsonPath": "$.steps[0].text", "stringValue": "Boil ", "willContinue": true}
    {"jsonPath": "$.steps[0].text", "stringValue": "water."}

Strings may grow in turns, and leaves jump back: so only the whole value is emitted, when it is complete.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-function-call-arguments
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import TypeAlias

from ..._json import Json, is_array, is_object
from ...errors import ProtocolError

Step: TypeAlias = str | int
"""A key of an object, or an index of a list."""


class StreamedArguments:
    """The arguments of one call as they grow."""

    def __init__(self) -> None:
        self.value: Json = {}
        self.unfinished: set[tuple[Step, ...]] = set()
        """The paths of the strings of which more is to come."""

    def add(self, leaf: Mapping[str, object]) -> None:
        """Add one leaf, or a piece of a string."""
        path = steps_of(leaf.get("jsonPath"))
        container: object = self.value
        for step, following in itertools.pairwise(path):
            if _child(container, step) is None:
                _put(container, step, {} if isinstance(following, str) else [])
            container = _child(container, step)
        kind = next((kind for kind in _KINDS if kind in leaf), None)
        if kind == "stringValue":
            begun = _child(container, path[-1]) if path in self.unfinished else ""
            self.unfinished.discard(path)
            if leaf.get("willContinue"):
                self.unfinished.add(path)
            _put(container, path[-1], f"{begun}{leaf[kind] or ''}")
        elif kind is not None:
            _put(container, path[-1], None if kind == "nullValue" else leaf[kind])


_KINDS = ("stringValue", "numberValue", "boolValue", "nullValue")


def steps_of(path: object) -> tuple[Step, ...]:
    """Return the steps of a JSON path that names one place; raise `ProtocolError` if it names no single place.

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


def _child(container: object, step: Step) -> object:
    """Return the value at a step; None if there is none."""
    if isinstance(step, str):
        return container.get(step) if is_object(container) else None
    return container[step] if is_array(container) and step < len(container) else None


def _put(container: object, step: Step, value: object) -> None:
    if isinstance(step, str) and is_object(container):
        container[step] = value
    elif isinstance(step, int) and is_array(container) and step <= len(container):
        container[step : step + 1] = [value]
    else:
        raise ProtocolError(f"a function call's argument has an impossible path: {step!r}")
