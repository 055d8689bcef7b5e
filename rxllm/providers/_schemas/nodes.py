"""What the rewriting of schemas shares: references, cycles, and descriptions."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ParamSpec, TypeAlias

from ..._json import encode, is_array, is_object, object_at, objects_at, text_at

Schema: TypeAlias = dict[str, object]
P = ParamSpec("P")

ANNOTATIONS = frozenset(
    {
        *("$schema", "$id", "$comment", "$anchor", "examples", "example", "discriminator", "deprecated"),
        *("readOnly", "writeOnly", "contentEncoding", "contentMediaType", "xml", "externalDocs"),
    }
)
"""Keywords that say nothing about which values are valid."""


class SchemaError(ValueError):
    """A schema that a vendor cannot take; its text is the reason."""


def not_too_deep(rewrite: Callable[P, Schema]) -> Callable[P, Schema]:
    """Make a function raise `SchemaError` for a schema that is nested too deep."""

    @functools.wraps(rewrite)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Schema:
        try:
            return rewrite(*args, **kwargs)
        except RecursionError as error:
            raise SchemaError("it is nested too deep") from error

    return guarded


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


def rewritten_with_definitions(root: Schema, rewritten: Callable[[Schema], Schema]) -> Schema:
    """Return the root and each of its definitions, `rewritten`."""
    result = rewritten(root)
    if "$defs" in root:
        definitions = object_at(root, "$defs").items()
        result["$defs"] = {name: rewritten(inner) for name, inner in definitions if is_object(inner)}
    return result


def rewritten_properties(schema: Schema, rewritten: Callable[[Schema], Schema]) -> Schema:
    """Return the properties of an object, `rewritten`; one that may be anything has an empty schema."""
    properties = object_at(schema, "properties").items()
    return {name: rewritten(inner if is_object(inner) else {}) for name, inner in properties}


def required_names(schema: Mapping[str, object]) -> list[str]:
    """Return the names of the required properties, also of those that are not described."""
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if is_array(names) else []


def inner_schemas(schema: Mapping[str, object]) -> Iterator[Schema]:
    """Yield the schemas directly inside a schema, but for its definitions."""
    for key in ("properties", "patternProperties", "dependentSchemas"):
        yield from filter(is_object, object_at(schema, key).values())
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from objects_at(schema, key)
    for key in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
        inner = schema.get(key)
        if is_object(inner):
            yield inner


def references(schema: Mapping[str, object]) -> set[str]:
    """Return the names of all definitions that a schema names, not those that these name; "#" is the root."""
    found = {name for name in (definition_name(schema),) if name is not None}
    if schema.get("$ref") == "#":
        found.add("#")
    return found.union(*map(references, inner_schemas(schema)))


def recursive_names(root: Mapping[str, object]) -> set[str]:
    """Return the names of the definitions that hold themselves; "#" is the root."""
    graph = {name: references(schema) for name, schema in object_at(root, "$defs").items() if is_object(schema)}
    graph["#"] = references(root)
    return {name for name in graph if name in _reachable(graph, name)}


def with_keywords_in_description(schema: Schema, moved: Mapping[str, object]) -> Schema:
    """Return the schema with `moved`, keywords that a vendor does not take, at the end of its description."""
    if not moved:
        return schema
    words = ", ".join(f"{key}: {encode(value).decode()}" for key, value in moved.items())
    description = text_at(schema, "description")
    return {**schema, "description": f"{description}\n\n{{{words}}}" if description else f"{{{words}}}"}


def single_all_of(schema: Schema, root: Mapping[str, object]) -> Schema:
    """Return the schema with an `allOf` of schemas that do not contradict each other merged into it."""
    branches = objects_at(schema, "allOf")
    if not branches:
        return schema
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for branch in branches:
        name = definition_name(branch)
        whole = {**definition(root, name), **_without(branch, "$ref")} if name else branch
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


def _without(schema: Mapping[str, object], key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}


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
