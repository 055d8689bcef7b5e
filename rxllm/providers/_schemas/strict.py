"""Schemas for OpenAI's strict mode, which refuses a request whose schema breaks one of its rules.

Objects are closed, which every answer that the schema allows in strict mode is anyway; a choice with
`oneOf` whose branches exclude each other becomes `anyOf`. A schema that cannot be written so without a loss
raises `SchemaError`: it is sent without strict.

Source: https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from ..._json import is_array, is_object, object_at, objects_at, text_at
from .rewriter import (
    ANNOTATIONS,
    ClosedRewriter,
    Schema,
    SchemaError,
    definition,
    definition_name,
    inner_schemas,
    required_names,
    types_of,
)

_REFUSED = frozenset(
    {
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "additionalItems"),
        *("patternProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "contains"),
        *("minContains", "maxContains", "uniqueItems", "minProperties", "maxProperties"),
        *("nullable", "$dynamicRef", "$recursiveRef"),
    }
)
"""Keywords without which the schema would allow more, or less: others move into the description."""
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_MAX_DEPTH, _MAX_PROPERTIES, _MAX_ENUM = 10, 5000, 1000


class StrictSchema(ClosedRewriter):
    """Rewrites a schema for strict mode.

    >>> StrictSchema({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}).rewritten()
    {'type': 'object', 'properties': {'a': {'type': 'string'}}, 'required': ['a'], 'additionalProperties': False}
    """

    kept = frozenset(
        {
            *("type", "enum", "const", "description", "title", "pattern", "format", "multipleOf"),
            *("minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        }
    )
    left_out = ANNOTATIONS | {"default"}

    def rewritten(self) -> Schema:
        """Return the schema as strict mode takes it."""
        if types_of(self.root) != ["object"] or "anyOf" in self.root or "oneOf" in self.root:
            raise SchemaError('its root is not an object ("type": "object")')
        return super().rewritten()

    def structure(self, schema: Schema, result: Schema, moved: Schema) -> None:
        """Write the schemas inside; raise for a keyword that the answer would not be held to."""
        refused = next((key for key in schema if key in _REFUSED or key == "prefixItems"), None)
        if refused is not None:
            raise SchemaError(f"strict mode knows no {refused}")
        if "format" in schema and text_at(schema, "format") not in _FORMATS:
            raise SchemaError(f"strict mode knows no format {schema['format']!r}")
        if _LOOK_AROUND.search(text_at(schema, "pattern") or ""):
            moved["pattern"] = result.pop("pattern")
        super().structure(schema, result, moved)

    def properties(self, schema: Schema) -> Schema:
        """Return the properties of an object, which all must be required."""
        names = list(object_at(schema, "properties"))
        if not set(names) <= set(required_names(schema)):
            raise SchemaError("a property in it is optional")
        return {**super().properties(schema), "required": names}

    def choice(self, schema: Schema) -> Sequence[Schema]:
        """Return the branches of a `oneOf` if no value can be of two; raise otherwise."""
        branches = objects_at(schema, "oneOf")
        whole = [definition(self.root, name) if (name := definition_name(branch)) else branch for branch in branches]
        if not all(itertools.starmap(_exclude_each_other, itertools.combinations(whole, 2))):
            raise SchemaError("strict mode knows no oneOf")
        return branches

    def check(self, schemas: Sequence[Schema]) -> None:
        """Raise if the schemas are too large for strict mode."""
        properties = sum(len(object_at(schema, "properties")) for schema in schemas)
        values = sum(len(enum) for schema in schemas if is_array(enum := schema.get("enum")))
        if properties > _MAX_PROPERTIES or values > _MAX_ENUM or max(map(_depth, schemas)) > _MAX_DEPTH:
            raise SchemaError("it is too deep or too large for strict mode")


def _depth(schema: Schema) -> int:
    """Return how many objects and arrays are nested in a schema, and the leaf."""
    return max(map(_depth, inner_schemas(schema)), default=1) + ("properties" in schema or "items" in schema)


def _exclude_each_other(one: Schema, other: Schema) -> bool:
    """Return whether no value can be of both: they differ in type, or in a tag that both require."""
    if types_of(one) and types_of(other) and not {*types_of(one)} & {*types_of(other)}:
        return True
    tags, others = _tags(one), _tags(other)
    return any(not tags[name] & others[name] for name in tags.keys() & others.keys())


def _tags(schema: Schema) -> dict[str, set[str]]:
    """Return the values of the required properties that have few."""
    required = required_names(schema)
    found: dict[str, set[str]] = {}
    for name, value in object_at(schema, "properties").items():
        if is_object(value) and name in required:
            values = value.get("enum", [value["const"]] if "const" in value else None)
            if is_array(values):
                found[name] = set(map(repr, values))
    return found
