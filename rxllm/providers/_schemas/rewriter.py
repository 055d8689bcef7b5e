"""The walk that rewrites a schema for a vendor: `Rewriter`, and `ClosedRewriter` for vendors that enforce schemas.

Below them is what they and the vendors' classes share: references, cycles, descriptions, and the schemas in a schema.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

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


_STRUCTURE = frozenset(
    {"$ref", "$defs", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "prefixItems"}
)
"""Keywords with schemas, or about properties: each vendor's class writes them."""
_TYPED = frozenset({"type", "anyOf", "enum", "const"})


class Rewriter(ABC):
    """Rewrites a schema and its definitions for one vendor; raises `SchemaError` with the reason if it cannot.

    Keywords that the vendor does not take move into the description; those that say nothing about values are left out.
    """

    kept: ClassVar[frozenset[str]]
    """The keywords that are sent as they are."""
    left_out: ClassVar[frozenset[str]] = ANNOTATIONS

    def __init__(self, schema: Mapping[str, object]) -> None:
        self.root = with_definitions(schema)
        self.definitions = object_at(self.root, "$defs")
        self.recursive = recursive_names(self.root)

    def rewritten(self) -> Schema:
        """Return the schema as the vendor takes it."""
        result = self.part(self.root)
        definitions = {name: self.part(inner) for name, inner in self.definitions.items() if is_object(inner)}
        return {**result, "$defs": definitions} if "$defs" in self.root else result

    def part(self, schema: Schema) -> Schema:
        """Return one schema with the vendor's keywords only.

        Nothing may stand beside a `$ref`: what does, is merged with what it names. A recursive one stays, words around.
        """
        schema = single_all_of(schema, self.root)
        if "$ref" in schema:
            name = definition_name(schema)
            reference: Schema = {"$ref": schema["$ref"]}
            beside = {
                key: value for key, value in schema.items() if key not in ("$ref", "$defs", "title", *self.left_out)
            }
            if name not in self.definitions and schema["$ref"] != "#":
                return self.unknown_reference(reference)
            if not beside:
                return reference
            if schema["$ref"] == "#" or name in self.recursive:
                schema = {**beside, "anyOf": [reference]}
            else:
                schema = single_all_of({**beside, "allOf": [reference]}, self.root)
        result = {key: value for key, value in schema.items() if key in self.kept}
        written = (*self.kept, *_STRUCTURE, *self.left_out)
        moved = {key: value for key, value in schema.items() if key not in written}
        self.structure(schema, result, moved)
        return described(result, in_words(moved)) if moved else result

    def parts(self, schemas: Sequence[Schema]) -> list[Schema]:
        """Return several schemas with the vendor's keywords only."""
        return list(map(self.part, schemas))

    def properties(self, schema: Schema) -> Schema:
        """Return the properties of an object, and which of them are required; one may be anything: it is empty."""
        inner = {
            name: self.part(value if is_object(value) else {})
            for name, value in object_at(schema, "properties").items()
        }
        required = [name for name in required_names(schema) if name in inner]
        return {"properties": inner, **({"required": required} if required else {})}

    def unknown_reference(self, reference: Schema) -> Schema:
        """Return a reference that names no definition as it is sent, or raise."""
        raise SchemaError(f"the reference {reference['$ref']!r} names no definition in it")

    @abstractmethod
    def structure(self, schema: Schema, result: Schema, moved: Schema) -> None:
        """Write the keywords of `schema` that hold schemas into `result`; `moved` is what goes into the description."""


class ClosedRewriter(Rewriter):
    """For vendors that enforce schemas: each part has a type, and each object is closed."""

    def rewritten(self) -> Schema:
        """Return the schema as the vendor takes it."""
        result = super().rewritten()
        outer = (result, *object_at(result, "$defs").values())
        self.check([schema for each in outer if is_object(each) for schema in all_schemas(each)])
        return result

    @abstractmethod
    def check(self, schemas: Sequence[Schema]) -> None:
        """Raise `SchemaError` if the rewritten schemas are too many or too large for the vendor."""

    def structure(self, schema: Schema, result: Schema, moved: Schema) -> None:
        """Write choices, closed objects, and arrays with items of one type."""
        branches = objects_at(schema, "anyOf") or self.choice(schema)
        if branches:
            result["anyOf"] = self.parts(branches)
        if not _TYPED.intersection(result):
            raise SchemaError("a part of it has no type")
        if "object" in types_of(schema) or "properties" in schema:
            further = schema.get("additionalProperties")
            if further not in (None, False) or ("properties" not in schema and further is None):
                raise SchemaError("it holds a map: an object with any properties")
            if "patternProperties" in schema:
                raise SchemaError("it holds a map: an object with patternProperties")
            result |= {**self.properties(schema), "additionalProperties": False}
        if "array" in types_of(schema):
            result["items"] = self.items(schema, moved)

    def items(self, schema: Schema, moved: Schema) -> Schema:
        """Return the schema of an array's items."""
        items = schema.get("items")
        if not is_object(items):
            raise SchemaError("an array in it has items of any type")
        return self.part(items)

    def choice(self, schema: Schema) -> Sequence[Schema]:
        """Return the branches of a `oneOf`, to be written as `anyOf`."""
        return objects_at(schema, "oneOf")


def format_name(name: str) -> str:
    """Return the name of an answer format in the characters and length that vendors take.

    >>> format_name("My Answer")
    'My_Answer'
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "answer"


def with_definitions(schema: Mapping[str, object]) -> Schema:
    """Return the schema with its definitions under `$defs`, and a reference at its root resolved.

    Older drafts call them `definitions`. Their names become letters, digits, _ and -, which need no escapes.
    """
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
