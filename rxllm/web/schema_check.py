"""Checks a client's JSON schema before a provider, or native code of the embedded model, sees it.

Grammars are built from schemas by recursive native code: a reference that leads to itself without any value in between
never ends there, and huge counts make huge grammars. Only keywords on a list pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import NamedTuple

from .._json import encode, is_array, is_object, object_at
from ..errors import ConfigurationError

MAX_BYTES = 100_000
MAX_DEPTH = 32
MAX_NODES = 5_000
MAX_COUNT = 2_000
"""The largest number of repetitions: items, properties, characters of a string."""
MAX_PATTERN = 200
MAX_GROUPS = 16

_REPETITION = re.compile(r"\{(\d*),?(\d*)\}")

_ONE_SCHEMA = frozenset({"additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames"})
_LISTS_OF_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_DEFINITIONS = ("$defs", "definitions")
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", *_DEFINITIONS})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_UNCHECKED = frozenset(
    {"$schema", "$id", "$ref", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly"}
    | {"writeOnly", "const", "format", "nullable", "uniqueItems", "strict", "additionalItems", "minimum", "maximum"}
    | {"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "contentEncoding", "contentMediaType", "discriminator"}
    | {"propertyOrdering"}
)
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else"})
"""Keywords whose schemas describe the same value, so that a reference through them makes no progress."""

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


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
    try:
        _check(schema)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{what}: {error}") from error


class _Node(NamedTuple):
    """A schema inside the schema. `owner` is the definition whose own value it describes, None for an inner value."""

    schema: object
    depth: int
    owner: str | None


def _check(root: object) -> None:
    """Check the schema and all schemas in it; raise `ValueError` that says what is wrong."""
    if not is_object(root):
        raise ValueError("it is not a JSON object")
    if len(encode(root)) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    definitions = {f"#/{keyword}/{name}" for keyword in _DEFINITIONS for name in object_at(root, keyword)}
    same_value: dict[str, set[str]] = {}
    """For the root and each definition, the definitions that it refers to for the same value."""
    ahead = [_Node(root, 0, "#")]
    for at, node in enumerate(ahead):  # which grows
        if at > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES} subschemas")
        if node.depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node.schema, bool):
            continue
        if not is_object(node.schema):
            raise ValueError("a subschema is neither an object nor true or false")
        _check_bounds(node.schema)
        for keyword, value in node.schema.items():
            _check_value(keyword, value)
            ahead.extend(_inner(node, keyword, value))
        reference = node.schema.get("$ref", "#")
        if reference != "#" and reference not in definitions:
            raise ValueError(f'$ref is "#" or "#/$defs/NAME"; got {reference!r}')
        if "$ref" in node.schema and node.owner is not None:
            same_value.setdefault(node.owner, set()).add(str(reference))
    try:
        TopologicalSorter(same_value).prepare()
    except CycleError as error:
        raise ValueError(f"{error.args[1][0]} refers to itself without a value in between") from error


def _inner(node: _Node, keyword: str, value: object) -> Iterator[_Node]:
    """Yield the schemas in the value of a keyword, which has been checked."""
    depth = node.depth + 1
    owner = node.owner if keyword in _IN_PLACE else None
    if keyword in _ONE_SCHEMA:
        yield _Node(value, depth, owner)
    elif keyword in _LISTS_OF_SCHEMAS and is_array(value):
        yield from (_Node(item, depth, owner) for item in value)
    elif keyword in _NAMED_SCHEMAS and is_object(value):
        is_definition = keyword in _DEFINITIONS and node.depth == 0
        for name, schema in value.items():
            yield _Node(schema, depth, f"#/{keyword}/{name}" if is_definition else None)


def _check_bounds(schema: Mapping[str, object]) -> None:
    """Raise if no value fits the bounds: the search for one does not end."""
    for keyword, low in schema.items():
        high = schema.get(keyword.replace("min", "max", 1))
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise ValueError(f"{keyword} is above its maximum")


def _check_value(keyword: str, value: object) -> None:
    """Check the value of one keyword, but for the schemas in it; raise if the keyword is not supported."""
    if keyword in _LISTS_OF_SCHEMAS and not is_array(value):
        raise ValueError(f"{keyword} is not a list")
    if keyword in _NAMED_SCHEMAS and not is_object(value):
        raise ValueError(f"{keyword} is not an object")
    if keyword in _COUNTS and (not isinstance(value, int) or not 0 <= value <= MAX_COUNT):
        raise ValueError(f"{keyword} is a number from 0 to {MAX_COUNT}; got {value!r}")
    match keyword:
        case "patternProperties" if is_object(value):
            for pattern in value:
                _check_pattern(pattern)
        case "pattern":
            _check_pattern(value)
        case "type":
            if not value or any(kind not in _TYPES for kind in (value if is_array(value) else [value])):
                raise ValueError(f"{value!r} is not a type")
        case "enum" | "required":
            if not is_array(value) or (not value and keyword == "enum") or len(value) > MAX_COUNT:
                raise ValueError(f"{keyword} is a list of at most {MAX_COUNT} values")
        case _ if keyword not in _ONE_SCHEMA | _LISTS_OF_SCHEMAS | _NAMED_SCHEMAS | _COUNTS | _UNCHECKED:
            raise ValueError(f"the keyword {keyword!r} is not supported")
        case _:
            pass


def _check_pattern(value: object) -> None:
    """Check a regular expression: its length, its groups, and how often it repeats."""
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        raise ValueError(f"pattern is a text of at most {MAX_PATTERN} characters")
    is_valid = True
    try:
        re.compile(re.sub(r"\\[pP]\{[^}]*\}", "x", value))  # classes that Python does not know count as a character
    except (re.error, RecursionError, OverflowError):
        is_valid = False
    if value.count("(") > MAX_GROUPS or not is_valid:
        raise ValueError(f"pattern is a regular expression with at most {MAX_GROUPS} groups")
    counts = prod(max(int(least or 1), int(most or 1), 1) for least, most in _REPETITION.findall(value))
    if counts > MAX_COUNT:
        raise ValueError(f"the repetitions in pattern multiply to more than {MAX_COUNT}")
