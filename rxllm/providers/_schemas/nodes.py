"""What the rewriting of schemas shares: references, cycles, descriptions, and the walk through a schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ..._json import Json, encode, is_array, is_object, object_at, objects_at, text_at

Schema: TypeAlias = Json

ANNOTATIONS = frozenset(
    {
        *("$schema", "$id", "$comment", "$anchor", "examples", "example", "discriminator", "deprecated"),
        *("readOnly", "writeOnly", "contentEncoding", "contentMediaType", "xml", "externalDocs"),
    }
)
"""Keywords that say nothing about which values are valid."""


class SchemaError(ValueError):
    """A schema that a vendor cannot take; its text is the reason."""


def format_name(name: str) -> str:
    """Return the name of an answer format in the characters and length that vendors take.

    >>> format_name("My Answer")
    'My_Answer'
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "answer"


def with_definitions(schema: Mapping[str, object]) -> Schema:
    """Return the schema with `definitions` as `$defs`, under plain names, and a reference at its root resolved."""
    root = dict(schema)
    definitions = {**object_at(root, "definitions"), **object_at(root, "$defs")}
    names = {name: re.sub(r"[^a-zA-Z0-9_-]", "_", name) for name in definitions}
    if "definitions" in root or any(name != clean for name, clean in names.items()):
        renamed = _renamed({**{key: root[key] for key in root if key != "definitions"}, "$defs": definitions}, names)
        root = renamed if is_object(renamed) else root
        root["$defs"] = {names[name]: inner for name, inner in object_at(root, "$defs").items()}
    seen: set[str] = set()
    while (name := definition_name(root)) is not None and name not in seen:
        seen.add(name)
        target = definition(root, name)
        root = {**target, **{key: value for key, value in root.items() if key != "$ref"}}
    return root


def definition_name(schema: Mapping[str, object]) -> str | None:
    """Return the name of the definition that a `$ref` names; None if there is no such `$ref`."""
    reference = text_at(schema, "$ref")
    if reference is None or not reference.startswith("#/$defs/"):
        return None
    return reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")


def definition(root: Mapping[str, object], name: str) -> Schema:
    """Return the definition `name`; an empty schema if there is none."""
    return object_at(object_at(root, "$defs"), name)


def required_names(schema: Mapping[str, object]) -> list[str]:
    """Return the names of the required properties, also of those that are not described."""
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if is_array(names) else []


def inner_schemas(schema: Mapping[str, object], *, optional: bool = True) -> Iterator[Schema]:
    """Yield the schemas directly inside a schema, but for its definitions; `optional`: optional properties too."""
    required = required_names(schema)
    for name, inner in object_at(schema, "properties").items():
        if is_object(inner) and (optional or name in required):
            yield inner
    for key in ("patternProperties", "dependentSchemas"):
        yield from filter(is_object, object_at(schema, key).values())
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from objects_at(schema, key)
    for key in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
        inner = schema.get(key)
        if is_object(inner):
            yield inner


def all_schemas(schema: Schema, *, optional: bool = True) -> Iterator[Schema]:
    """Yield a schema and all inside it, but for its definitions; without `optional` no optional properties."""
    yield schema
    for inner in inner_schemas(schema, optional=optional):
        yield from all_schemas(inner, optional=optional)


def references(schema: Schema, *, optional: bool = True) -> set[str]:
    """Return the names of all definitions that a schema names, not those that these name; "#" is the root."""
    inside = list(all_schemas(schema, optional=optional))
    names = {name for inner in inside if (name := definition_name(inner)) is not None}
    return names | {"#" for inner in inside if inner.get("$ref") == "#"}


def recursive_names(root: Schema) -> set[str]:
    """Return the names of the definitions that hold themselves; "#" is the root."""
    graph = {name: references(schema) for name, schema in object_at(root, "$defs").items() if is_object(schema)}
    graph["#"] = references(root)
    return {name for name in graph if name in _reachable(graph, name)}


def described(schema: Schema, words: str, *, separator: str = "\n\n") -> Schema:
    """Return the schema with `words` at the end of its description."""
    before = text_at(schema, "description")
    return {**schema, "description": f"{before}{separator}{words}" if before else words}


def in_words(keywords: Mapping[str, object]) -> str:
    """Return keywords that a vendor does not take as text for a description.

    >>> in_words({"minimum": 1, "maximum": 5})
    '{minimum: 1, maximum: 5}'
    """
    return "{" + ", ".join(f"{key}: {encode(value).decode()}" for key, value in keywords.items()) + "}"


def single_all_of(schema: Schema, root: Mapping[str, object]) -> Schema:
    """Return the schema with an `allOf` of schemas that do not contradict each other merged into it."""
    branches = objects_at(schema, "allOf")
    if not branches:
        return schema
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for branch in branches:
        name = definition_name(branch)
        others = {key: value for key, value in branch.items() if key != "$ref"}
        whole = {**definition(root, name), **others} if name else branch
        for key, value in single_all_of(whole, root).items():
            before = merged.get(key)
            if key == "properties" and is_object(before) and is_object(value):
                merged[key] = {**before, **value}
            elif key == "required" and is_array(before) and is_array(value):
                merged[key] = [*before, *(item for item in value if item not in before)]
            elif before is None or key in ("title", "description"):
                merged.setdefault(key, value)
            elif before != value:
                raise SchemaError("its allOf cannot be written as one schema")
    return merged


def types_of(schema: Mapping[str, object]) -> Sequence[str]:
    """Return the type names of a schema; empty if it has none."""
    kind = schema.get("type")
    return [str(item) for item in kind] if is_array(kind) else [kind] if isinstance(kind, str) else []


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return the names that `start` refers to, directly or through others."""
    found: set[str] = set()
    pending = list(graph.get(start, ()))
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += graph.get(name, ())
    return found


def _renamed(value: object, names: Mapping[str, str]) -> object:
    """Return `value` with its references under the new names of the definitions."""
    if is_array(value):
        return [_renamed(item, names) for item in value]
    if not is_object(value):
        return value
    renamed = {key: _renamed(item, names) for key, item in value.items()}
    reference = text_at(value, "$ref")
    if reference is not None:
        name = definition_name({"$ref": reference.replace("#/definitions/", "#/$defs/")})
        renamed["$ref"] = f"#/$defs/{names[name]}" if name is not None and name in names else reference
    return renamed
