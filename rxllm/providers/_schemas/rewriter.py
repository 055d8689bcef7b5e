"""The walk that rewrites a schema for a vendor: `Rewriter`, and `ClosedRewriter` for vendors that enforce schemas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ..._json import is_object, object_at, objects_at
from .nodes import (
    ANNOTATIONS,
    Schema,
    SchemaError,
    all_schemas,
    definition_name,
    described,
    in_words,
    recursive_names,
    required_names,
    single_all_of,
    types_of,
    with_definitions,
)

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
