"""Schemas for OpenAI's strict mode, which refuses a request whose schema breaks one of its rules.

Objects are closed, which every answer that the schema allows in strict mode is anyway; a choice with
`oneOf` whose branches exclude each other becomes `anyOf`; a `$ref` with a description is wrapped. A schema
that cannot be written so without a loss raises `SchemaError`: it is sent without strict.

Source: https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from ..._json import is_array, is_object, object_at, objects_at, text_at
from .nodes import (
    Schema,
    SchemaError,
    definition,
    definition_name,
    not_too_deep,
    required_names,
    rewritten_properties,
    rewritten_with_definitions,
    single_all_of,
    types_of,
    with_definitions,
    with_keywords_in_description,
)

_ALLOWED = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs"),
        *("enum", "const", "description", "title", "pattern", "format", "multipleOf", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
_STRUCTURE = ("properties", "required", "additionalProperties", "items", "anyOf", "$defs")
"""Keywords with schemas, or about properties: each is written only if it has a meaning."""
_REFUSED = frozenset(
    {
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "prefixItems"),
        *("patternProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "contains"),
        *("minContains", "maxContains", "uniqueItems", "minProperties", "maxProperties", "additionalItems"),
        *("nullable", "$dynamicRef", "$recursiveRef", "oneOf", "allOf"),
    }
)
_MOVED = ("minLength", "maxLength")
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_TYPED = frozenset({"type", "$ref", "anyOf", "enum", "const"})
_MAX_DEPTH, _MAX_PROPERTIES, _MAX_ENUM = 10, 5000, 1000


@not_too_deep
def strict_schema(schema: Mapping[str, object]) -> Schema:
    """Return the schema as strict mode takes it; raise `SchemaError` with the reason if it cannot be written so.

    >>> strict_schema({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    {'type': 'object', 'properties': {'a': {'type': 'string'}}, 'required': ['a'], 'additionalProperties': False}
    """
    root = with_definitions(schema)
    if types_of(root) != ["object"] or "anyOf" in root or "oneOf" in root:
        raise SchemaError("its root is not an object")
    return rewritten_with_definitions(root, lambda inner: _Rewriter(root).rewritten(inner, 1))


class _Rewriter:
    """Rewrites one tree of schemas, and counts what is limited."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._properties = 0
        self._values = 0

    def rewritten(self, schema: Schema, depth: int) -> Schema:
        """Return `schema`, which is `depth` levels deep, as strict mode takes it."""
        schema = single_all_of(schema, self._root) if len(objects_at(schema, "allOf")) == 1 else schema
        if "$ref" in schema:
            return _reference(schema)
        if "oneOf" in schema and "anyOf" not in schema and _exclude_each_other(objects_at(schema, "oneOf"), self._root):
            schema = {("anyOf" if key == "oneOf" else key): value for key, value in schema.items()}
        refused = next((key for key in schema if key in _REFUSED), None)
        if refused is not None:
            raise SchemaError(f"strict mode knows no {refused}")
        if not _TYPED.intersection(schema):
            raise SchemaError("a part of it has no type")
        result = {key: value for key, value in schema.items() if key in _ALLOWED and key not in _STRUCTURE}
        moved = {key: schema[key] for key in _MOVED if key in schema}
        if _LOOK_AROUND.search(text_at(schema, "pattern") or ""):
            moved["pattern"] = result.pop("pattern")
        if "format" in schema and text_at(schema, "format") not in _FORMATS:
            raise SchemaError(f"strict mode knows no format {schema['format']!r}")
        result |= self._object(schema, depth) | self._array(schema, depth)
        self._count(result, depth)
        if "anyOf" in schema:
            result["anyOf"] = [self.rewritten(branch, depth) for branch in objects_at(schema, "anyOf")]
        return with_keywords_in_description(result, moved)

    def _object(self, schema: Schema, depth: int) -> Schema:
        """Return the keywords of a closed object; raise `SchemaError` if a property of it is optional."""
        if "object" not in types_of(schema) and "properties" not in schema:
            return {}
        properties = schema.get("properties")
        if not is_object(properties) or schema.get("additionalProperties") not in (None, False):
            raise SchemaError("an object in it may have any properties")
        names = required_names(schema)
        if any(name not in names for name in properties):
            raise SchemaError("a property in it is optional")
        inner = rewritten_properties(schema, lambda value: self.rewritten(value, depth + 1))
        return {"properties": inner, "required": list(properties), "additionalProperties": False}

    def _array(self, schema: Schema, depth: int) -> Schema:
        if "array" not in types_of(schema):
            return {}
        items = schema.get("items")
        if not is_object(items):
            raise SchemaError("an array in it has items of any type")
        return {"items": self.rewritten(items, depth + 1)}

    def _count(self, schema: Schema, depth: int) -> None:
        values = schema.get("enum")
        self._properties += len(object_at(schema, "properties"))
        self._values += len(values) if is_array(values) else 0
        if depth > _MAX_DEPTH or self._properties > _MAX_PROPERTIES or self._values > _MAX_ENUM:
            raise SchemaError("it is too deep or too large for strict mode")


def _reference(schema: Schema) -> Schema:
    """Return a `$ref` alone, or wrapped in `anyOf` if a title or description stands beside it."""
    if definition_name(schema) is None and schema["$ref"] != "#":
        raise SchemaError(f"strict mode follows no reference {schema['$ref']!r}")
    words = {key: value for key, value in schema.items() if key in ("title", "description")}
    if any(key in _REFUSED or (key in _ALLOWED and key not in ("$ref", "$defs", *words)) for key in schema):
        raise SchemaError("strict mode takes no other keyword beside $ref")
    reference: Schema = {"$ref": schema["$ref"]}
    return {**words, "anyOf": [reference]} if words else reference


def _exclude_each_other(branches: Sequence[Schema], root: Schema) -> bool:
    """Return whether no value can be of two branches: they differ in type, or in a tag that all of them have."""
    whole = [_whole(branch, root) for branch in branches]
    pairs = list(itertools.combinations(whole, 2))
    if all(types_of(one) and types_of(other) and not {*types_of(one)} & {*types_of(other)} for one, other in pairs):
        return True
    tags = [_tags(branch) for branch in whole]
    common: list[str] = [tag for tag in (tags[0] if tags else {}) if all(tag in others for others in tags)]
    return any(all(not one[tag] & other[tag] for one, other in itertools.combinations(tags, 2)) for tag in common)


def _whole(schema: Schema, root: Schema) -> Schema:
    name = definition_name(schema)
    return definition(root, name) if name is not None else schema


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
