"""Checks a client's JSON schema before a provider, or native code of the embedded model, sees it.

Grammars are built from schemas by recursive native code: a reference that leads to itself without any value in between
never ends there, and huge counts make huge grammars. Only keywords on a list pass.
"""

from __future__ import annotations

import re
from math import prod

from .._json import encode, is_array, is_object
from ..errors import ConfigurationError

MAX_BYTES = 100_000
MAX_DEPTH = 32
MAX_NODES = 5_000
MAX_COUNT = 2_000
"""The largest number of repetitions: items, properties, characters of a string."""
MAX_PATTERN = 200
MAX_GROUPS = 16

_REPETITION = re.compile(r"\{(\d*),?(\d*)\}")

_ONE = frozenset({"additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames"})
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_BOUNDS = (
    ("minItems", "maxItems"),
    ("minLength", "maxLength"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
_PLAIN = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"type", "enum", "const", "format", "required", "nullable", "uniqueItems", "strict", "additionalItems"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"contentEncoding", "contentMediaType", "discriminator", "propertyOrdering"}
)
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else"})
"""Keywords whose schemas describe the same value, so that a reference through them makes no progress."""

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def check_schema(schema: object, what: str = "the schema") -> None:
    """Refuse a schema that is too large or too deep, that has unknown keywords, or that refers to itself.

    Args:
        schema: A JSON schema from a client.
        what: What the error calls it.

    Raises:
        ConfigurationError: Says what is wrong with the schema.

    Example:
        >>> check_schema({"type": "object", "properties": {"next": {"$ref": "#"}}})
        >>> check_schema({"allOf": [{"$ref": "#/allOf/0"}]})
        Traceback (most recent call last):
        rxllm.errors.ConfigurationError: the schema: $ref is "#" or "#/$defs/NAME"; got '#/allOf/0'
    """
    if not is_object(schema):
        raise ConfigurationError(f"{what} is not a JSON object")
    try:
        size = len(encode(schema))
    except (RecursionError, ValueError, TypeError):
        size = MAX_BYTES + 1
    if size > MAX_BYTES:
        raise ConfigurationError(f"{what} has more than {MAX_BYTES} bytes")
    _Check(schema, what).run()


def _compiles(pattern: str) -> bool:
    """Return whether `pattern` is whole; classes that Python does not know count as a character."""
    try:
        re.compile(re.sub(r"\\[pP]\{[^}]*\}", "x", pattern))
    except (re.error, RecursionError, OverflowError):
        return False
    return True


class _Check:
    """The check of one schema."""

    def __init__(self, root: dict[str, object], what: str) -> None:
        self._root = root
        self._what = what
        self._nodes = 0
        self._same_value: dict[str, set[str]] = {}
        """For the root and each definition, the definitions that it refers to for the same value."""

    def run(self) -> None:
        self._node(self._root, 0, "#")
        for start in self._same_value:
            self._refuse_cycle(start)

    def _node(self, schema: object, depth: int, owner: str | None) -> None:
        """Check one schema. `owner` is the definition whose own value it describes, None for an inner value."""
        if isinstance(schema, bool):
            return
        if not is_object(schema):
            raise self._error("a subschema is neither an object nor true or false")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(f"it has more than {MAX_NODES} subschemas")
        if depth > MAX_DEPTH:
            raise self._error(f"it is nested more than {MAX_DEPTH} levels deep")
        for least, most in _BOUNDS:
            low, high = schema.get(least), schema.get(most)
            if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
                raise self._error(f"{least} is above {most}")  # no value fits, and the search for one does not end
        for keyword, value in schema.items():
            self._keyword(keyword, value, depth, owner)

    def _keyword(self, keyword: str, value: object, depth: int, owner: str | None) -> None:
        """Check the value of one keyword; raise if the keyword is not supported."""
        inner = owner if keyword in _IN_PLACE else None
        if keyword == "$ref":
            self._reference(value, owner)
        elif keyword in _ONE:
            self._node(value, depth + 1, inner)
        elif keyword in _MANY:
            if not is_array(value):
                raise self._error(f"{keyword} is not a list")
            for item in value:
                self._node(item, depth + 1, inner)
        elif keyword in _NAMED:
            self._named(keyword, value, depth)
        elif keyword in _COUNTS:
            if not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
                raise self._error(f"{keyword} is a number from 0 to {MAX_COUNT}; got {value!r}")
        elif keyword == "pattern":
            self._pattern(value)
        elif keyword == "type":
            self._type(value)
        elif keyword in ("enum", "required"):
            if not is_array(value) or (not value and keyword == "enum") or len(value) > MAX_COUNT:
                raise self._error(f"{keyword} is a list of at most {MAX_COUNT} values")
        elif keyword not in _PLAIN:
            raise self._error(f"the keyword {keyword!r} is not supported")

    def _pattern(self, value: object) -> None:
        """Check a regular expression: its length, its groups, and how often it repeats."""
        if not isinstance(value, str) or len(value) > MAX_PATTERN:
            raise self._error(f"pattern is a text of at most {MAX_PATTERN} characters")
        if value.count("(") > MAX_GROUPS or not _compiles(value):
            raise self._error(f"pattern is a regular expression with at most {MAX_GROUPS} groups")
        counts = prod(max(int(least or 1), int(most or 1), 1) for least, most in _REPETITION.findall(value))
        if counts > MAX_COUNT:
            raise self._error(f"the repetitions in pattern multiply to more than {MAX_COUNT}")

    def _type(self, value: object) -> None:
        kinds = value if is_array(value) else [value]
        if not kinds or any(not isinstance(kind, str) or kind not in _TYPES for kind in kinds):
            raise self._error(f"{value!r} is not a type")

    def _named(self, keyword: str, value: object, depth: int) -> None:
        """Check an object of schemas: properties, patterns or definitions."""
        if not is_object(value):
            raise self._error(f"{keyword} is not an object")
        for name, schema in value.items():
            is_definition = keyword in ("$defs", "definitions")
            if keyword == "patternProperties":
                self._pattern(name)
            self._node(schema, depth + 1, f"#/{keyword}/{name}" if is_definition and depth == 0 else None)

    def _reference(self, value: object, owner: str | None) -> None:
        if not isinstance(value, str) or not self._exists(value):
            raise self._error(f'$ref is "#" or "#/$defs/NAME"; got {value!r}')
        if owner is not None:
            self._same_value.setdefault(owner, set()).add(value)

    def _exists(self, reference: str) -> bool:
        """Return whether the root schema has the definition that `reference` names."""
        if reference == "#":
            return True
        for keyword in ("$defs", "definitions"):
            definitions = self._root.get(keyword)
            if is_object(definitions) and reference.removeprefix(f"#/{keyword}/") in definitions:
                return reference.startswith(f"#/{keyword}/")
        return False

    def _refuse_cycle(self, start: str) -> None:
        """Raise if the definition `start` refers to itself for the same value."""
        seen, ahead = set[str](), [start]
        while ahead:
            for reference in self._same_value.get(ahead.pop(), ()):
                if reference == start:
                    raise self._error(f"{start} refers to itself without a value in between")
                if reference not in seen:
                    seen.add(reference)
                    ahead.append(reference)

    def _error(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._what}: {why}")
