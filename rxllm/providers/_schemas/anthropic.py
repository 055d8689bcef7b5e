"""Schemas for Anthropic's structured outputs and strict tools.

Bounds, patterns and formats that the API refuses move into the description, as the vendor's own SDK does.
Maps, recursion and parts without a type cannot be said and raise `SchemaError`.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..._json import int_at, is_array, is_object, object_at, objects_at, text_at
from .nodes import (
    ANNOTATIONS,
    Schema,
    SchemaError,
    definition,
    definition_name,
    inner_schemas,
    not_too_deep,
    recursive_names,
    required_names,
    rewritten_properties,
    rewritten_with_definitions,
    single_all_of,
    types_of,
    with_definitions,
    with_keywords_in_description,
)

_KEPT = frozenset({"type", "enum", "const", "description", "title", "default", "$ref"})
_HANDLED = frozenset(
    {"$defs", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "prefixItems"}
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_TYPED = frozenset({"type", "$ref", "anyOf", "enum", "const"})
_MAX_OPTIONAL, _MAX_UNIONS = 24, 16
"""Limits of all strict schemas of one request."""


@not_too_deep
def anthropic_schema(schema: Mapping[str, object]) -> Schema:
    """Return the schema as the API takes it; raise `SchemaError` with the reason if it cannot be written so."""
    root = with_definitions(schema)
    if recursive_names(root):
        raise SchemaError("it is recursive")
    result = rewritten_with_definitions(root, lambda inner: _rewritten(inner, root))
    if _count(result, _optional) > _MAX_OPTIONAL or _count(result, _is_union) > _MAX_UNIONS:
        raise SchemaError(f"it has more than {_MAX_OPTIONAL} optional properties or {_MAX_UNIONS} unions")
    return result


def _rewritten(schema: Schema, root: Schema) -> Schema:
    """Return `schema` with Anthropic's keywords only; others are moved into the description."""
    schema = single_all_of(schema, root)
    name = definition_name(schema)
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs", *ANNOTATIONS)}
        if name is None:
            raise SchemaError(f"the reference {schema['$ref']!r} names no definition in it")
        if not beside:
            return {"$ref": schema["$ref"]}
        schema = {**definition(root, name), **beside}  # nothing may stand beside a $ref
    result = {key: value for key, value in schema.items() if key in _KEPT}
    moved = {key: value for key, value in schema.items() if key not in (*_KEPT, *_HANDLED, *ANNOTATIONS)}
    if text_at(schema, "format") in _FORMATS:
        result["format"] = moved.pop("format")
    if int_at(schema, "minItems") in (0, 1):
        result["minItems"] = moved.pop("minItems")
    branches = objects_at(schema, "anyOf") or objects_at(schema, "oneOf")
    if branches:
        result["anyOf"] = [_rewritten(branch, root) for branch in branches]
    if not _TYPED.intersection(result):
        raise SchemaError("a part of it has no type")
    values = schema.get("enum")
    if is_array(values) and any(is_object(value) or is_array(value) for value in values):
        raise SchemaError("an enum in it holds objects or arrays")
    if "object" in types_of(schema):
        result |= _object(schema, root)
    if "array" in types_of(schema):
        result |= _array(schema, root, moved)
    return with_keywords_in_description(result, moved)


def _object(schema: Schema, root: Schema) -> Schema:
    """Return the keywords of a closed object; raise `SchemaError` if it may have any properties."""
    further = schema.get("additionalProperties")
    if further not in (None, False) or ("properties" not in schema and further is None):
        raise SchemaError("it holds a map: an object with any properties")
    if "patternProperties" in schema:
        raise SchemaError("it holds a map: an object with patternProperties")
    inner = rewritten_properties(schema, lambda value: _rewritten(value, root))
    required = [name for name in required_names(schema) if name in inner]
    return {"properties": inner, **({"required": required} if required else {}), "additionalProperties": False}


def _array(schema: Schema, root: Schema, moved: Schema) -> Schema:
    """Return the type of the items; the places of a tuple are lost and go to `moved`, for the description."""
    items = schema.get("items")
    prefix = objects_at(schema, "prefixItems")
    if prefix:
        moved["prefixItems"] = prefix
        kinds = [_rewritten(item, root) for item in prefix]
        different = [kind for index, kind in enumerate(kinds) if kind not in kinds[:index]]
        return {"items": different[0] if len(different) == 1 else {"anyOf": different}}
    if not is_object(items):
        raise SchemaError("an array in it has items of any type")
    return {"items": _rewritten(items, root)}


def _count(schema: Schema, count: Callable[[Schema], int]) -> int:
    return count(schema) + sum(_count(inner, count) for inner in inner_schemas(schema))


def _optional(schema: Schema) -> int:
    names = required_names(schema)
    return sum(name not in names for name in object_at(schema, "properties"))


def _is_union(schema: Schema) -> int:
    return int("anyOf" in schema or is_array(schema.get("type")))
