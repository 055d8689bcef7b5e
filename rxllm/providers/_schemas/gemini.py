"""Schemas for Gemini: the documented subset of JSON Schema; the rest moves into descriptions.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerationConfig (responseJsonSchema)
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import is_array, is_object, object_at, objects_at
from .nodes import (
    ANNOTATIONS,
    Schema,
    SchemaError,
    definition,
    definition_name,
    inner_schemas,
    not_too_deep,
    recursive_names,
    references,
    required_names,
    rewritten_properties,
    rewritten_with_definitions,
    single_all_of,
    types_of,
    with_definitions,
    with_keywords_in_description,
)

_KEPT = frozenset(
    {
        *("$ref", "$defs", "type", "format", "description", "minItems", "maxItems", "minimum", "maximum"),
        *("propertyOrdering", "enum"),
    }
)
_CONVERTED = frozenset(
    {
        *("properties", "required", "additionalProperties", "items", "prefixItems", "anyOf", "oneOf", "const"),
        *("title", "default", "discriminator"),
    }
)
"""Keywords that are rewritten or dropped, each in its own way."""


@not_too_deep
def gemini_schema(schema: Mapping[str, object], *, for_answer: bool) -> Schema:
    """Return the schema as the API takes it; raise `SchemaError` with the reason if it cannot be written so.

    Only an answer's schema is refused if a required property contains itself; the schemas of tools are not enforced.
    """
    root = with_definitions(schema)
    recursive = recursive_names(root)
    if for_answer and any(_requires_itself(root, name, recursive) for name in recursive):
        raise SchemaError("it is recursive in a required property")
    return rewritten_with_definitions(root, lambda inner: _as_gemini_takes_it(inner, root, recursive))


def _as_gemini_takes_it(schema: Schema, root: Schema, recursive: set[str]) -> Schema:
    """Return `schema` with Gemini's keywords only; unsupported ones are moved into the description.

    A `$ref` with other keywords beside it is replaced by its definition, unless that is recursive.
    """
    schema = single_all_of(schema, root)
    name = definition_name(schema)
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs", "title", *ANNOTATIONS)}
        if name is None or name in recursive or not beside:
            return {"$ref": schema["$ref"]}
        schema = {**definition(root, name), **beside}  # nothing may stand beside a $ref
    result = {key: value for key, value in schema.items() if key in _KEPT and key != "$defs"}
    unsupported = {key: value for key, value in schema.items() if key not in (*_KEPT, *_CONVERTED, *ANNOTATIONS)}
    _set_enum(result, schema, unsupported)
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            result[key] = [_as_gemini_takes_it(inner, root, recursive) for inner in objects_at(schema, key)]
    for key in ("items", "additionalProperties"):
        inner = schema.get(key)
        if inner is not None:
            result[key] = _as_gemini_takes_it(inner, root, recursive) if is_object(inner) else inner
    if "object" in (types_of(schema) or ("object",)) and "properties" in schema:
        result["properties"] = rewritten_properties(schema, lambda inner: _as_gemini_takes_it(inner, root, recursive))
        required = [name for name in required_names(schema) if name in object_at(schema, "properties")]
        result |= {"required": required} if required else {}
    return with_keywords_in_description(result, unsupported)


def _set_enum(result: Schema, schema: Schema, unsupported: Schema) -> None:
    """Write `enum` and `const` as an enum of texts and numbers; null becomes a type, other values a description."""
    given = schema.get("enum")
    values = given if is_array(given) else [schema["const"]] if "const" in schema else None
    if values is None:
        return
    kept = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    kept = [value for value in kept if value != ""]
    others = [value for value in values if value not in kept and value not in (None, "")]
    result.pop("enum", None)
    if kept and not others:
        result["enum"] = kept
    elif others:
        unsupported["enum"] = values
    if "type" not in result and "anyOf" not in schema:
        result["type"] = _type_of(values)
    if None in values and "null" not in types_of(result):
        result["type"] = [*types_of(result), "null"]


def _type_of(values: list[object]) -> str:
    """Return the type that all `values` of an enum have; "string" if they differ."""
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, int) for value in values):
        return "integer"
    if all(isinstance(value, int | float) for value in values):
        return "number"
    return "null" if values == [None] else "string"


def _requires_itself(root: Schema, name: str, recursive: set[str]) -> bool:
    schema = root if name == "#" else definition(root, name)
    return bool(_required_references(schema) & recursive)


def _required_references(schema: Schema) -> set[str]:
    """Return the definitions that a schema names outside of optional properties."""
    names = required_names(schema)
    properties = object_at(schema, "properties")
    own = {key: value for key, value in schema.items() if key != "properties"}
    found = references({key: value for key, value in own.items() if key == "$ref"})
    for inner in inner_schemas(own):
        found |= _required_references(inner)
    for key, value in properties.items():
        if key in names and is_object(value):
            found |= _required_references(value)
    return found
