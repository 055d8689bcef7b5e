"""The schema of a tool's parameters: every vendor wants one object at its root.

Tools of MCP servers often have none: no type, no properties, or a choice of objects.
Sources: the answers "tools.0.custom.input_schema.type: Field required" and "input_schema does not support
oneOf, allOf, or anyOf at the top level" (Anthropic), "object schema missing properties" (OpenAI).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import is_array, is_object, object_at, objects_at
from ...options import Tool
from .rewriter import (
    Schema,
    SchemaError,
    definition_name,
    described,
    in_words,
    recursive_names,
    required_names,
    types_of,
    with_definitions,
)

_COMBINED = ("allOf", "anyOf", "oneOf")
_MAX_NODES = 400
"""Schemas that an inlined schema may hold: beyond, references are shorter."""


def tool_parameters(tool: Tool) -> Schema:
    """Return the parameters with an object at the root; raise `SchemaError` if they are of another type.

    >>> tool_parameters(Tool("now", parameters={"type": "object"}))
    {'type': 'object', 'properties': {}}
    """
    root = with_definitions(tool.parameters)
    for key in _COMBINED:
        branches = [with_definitions({**branch, "$defs": object_at(root, "$defs")}) for branch in objects_at(root, key)]
        root = {name: value for name, value in root.items() if name != key}
        root = _folded(root, branches, key) if branches else root
    if "$ref" in root:
        raise SchemaError(f"the reference {root['$ref']!r} names no definition in it")
    moved: Schema = {key: root.pop(key) for key in ("not", "enum", "const") if key in root}
    root = described(root, in_words(moved)) if moved else root
    if "object" not in (types_of(root) or ("object",)):
        raise SchemaError(f"its parameters are of the type {root.get('type')!r}, not an object")
    return {**root, "type": "object", "properties": object_at(root, "properties")}


def inlined_parameters(schema: Schema) -> Schema:
    """Return the schema with its references replaced by what they name, if it is small and not recursive.

    Some models do not see `$defs` (gpt-oss), or write arguments behind a `$ref` as text (GLM-5.3:
    pydantic/pydantic-ai issue 10243).
    """
    definitions = object_at(schema, "$defs")
    if not definitions or recursive_names(schema):
        return schema
    nodes = [0]
    inlined = _inlined({key: value for key, value in schema.items() if key != "$defs"}, definitions, nodes)
    return inlined if is_object(inlined) and nodes[0] <= _MAX_NODES else schema


def _inlined(value: object, definitions: Schema, nodes: list[int]) -> object:
    """Return `value` with references replaced; `nodes` counts schemas, and beyond `_MAX_NODES` nothing is replaced."""
    nodes[0] += 1
    if nodes[0] > _MAX_NODES:
        return value
    if is_array(value):
        return [_inlined(item, definitions, nodes) for item in value]
    if not is_object(value):
        return value
    name = definition_name(value)
    if name is not None and name in definitions:
        value = {**object_at(definitions, name), **{key: item for key, item in value.items() if key != "$ref"}}
    return {key: _inlined(item, definitions, nodes) for key, item in value.items()}


def _folded(root: Schema, branches: Sequence[Schema], keyword: str) -> Schema:
    """Return the root with the properties of all branches; which belong together goes into its description."""
    if any(types_of(branch) and "object" not in types_of(branch) for branch in branches):
        raise SchemaError(f"its parameters are a choice ({keyword}) of types other than objects")
    properties = dict(object_at(root, "properties"))
    for branch in branches:
        for name, schema in object_at(branch, "properties").items():
            properties[name] = _either(properties.get(name), schema)
    groups = [required_names(branch) for branch in branches]
    if keyword == "allOf":
        common = {name for names in groups for name in names}
    else:
        common = set(groups[0]).intersection(*groups[1:])
    required = list(dict.fromkeys([*required_names(root), *(name for name in properties if name in common)]))
    folded: Schema = {
        **root,
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
    }
    choices = dict.fromkeys("[" + ", ".join(names) + "]" for names in groups)
    if keyword == "allOf" or len(choices) == 1:
        return folded
    return described(folded, f"Give the properties of one of these groups: {' or '.join(choices)}.", separator=" ")


def _either(one: object, other: object) -> object:
    if one is None or one == other:
        return other
    known = objects_at(one, "anyOf") if is_object(one) and set(one) == {"anyOf"} else [one]
    return {"anyOf": [*known, *([] if other in known else [other])]}
