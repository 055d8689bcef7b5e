"""Schemas for Gemini: the documented subset of JSON Schema; the rest moves into descriptions.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerationConfig (responseJsonSchema)
"""

from __future__ import annotations

from ..._json import is_array, is_object, objects_at
from .rewriter import ANNOTATIONS, Rewriter, Schema, SchemaError, definition, references, types_of

_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", type(None): "null"}


class GeminiSchema(Rewriter):
    """Rewrites a schema for Gemini."""

    kept = frozenset(
        {"type", "format", "description", "minItems", "maxItems", "minimum", "maximum", "propertyOrdering"}
    )
    left_out = ANNOTATIONS | {"title", "default"}

    def unknown_reference(self, reference: Schema) -> Schema:
        """Return the reference: only answers are enforced, and a tool may work without it."""
        return reference

    def structure(self, schema: Schema, result: Schema, moved: Schema) -> None:
        """Write the schemas inside, and an enum."""
        _set_enum(schema, result, moved)
        for key in ("anyOf", "oneOf", "prefixItems"):
            if key in schema:
                result[key] = self.parts(objects_at(schema, key))
        for key in ("items", "additionalProperties"):
            inner = schema.get(key)
            if inner is not None:
                result[key] = self.part(inner) if is_object(inner) else inner
        if "object" in (types_of(schema) or ("object",)) and "properties" in schema:
            result |= self.properties(schema)


class GeminiAnswerSchema(GeminiSchema):
    """Rewrites the schema of an answer, which is enforced: a required property cannot contain itself."""

    def rewritten(self) -> Schema:
        """Return the schema as the vendor takes it."""
        for name in self.recursive:
            schema = self.root if name == "#" else definition(self.root, name)
            if references(schema, optional=False) & self.recursive:
                raise SchemaError("it is recursive in a required property")
        return super().rewritten()


def _set_enum(schema: Schema, result: Schema, moved: Schema) -> None:
    """Write `enum` and `const` as an enum of texts and numbers; null becomes a type, other values a description."""
    given = moved.pop("enum", None)
    values = given if is_array(given) else [moved["const"]] if "const" in moved else None
    moved.pop("const", None)
    if values is None:
        return
    kept = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    kept = [value for value in kept if value != ""]  # the API refuses it
    if any(value not in kept and value not in (None, "") for value in values):
        moved["enum"] = values
    elif kept:
        result["enum"] = kept
    kinds = {_TYPES.get(type(value), "string") for value in values}
    if "type" not in result and "anyOf" not in schema:
        named = kinds - {"null"} or kinds
        result["type"] = named.pop() if len(named) == 1 else "number" if named == {"integer", "number"} else "string"
    if "null" in kinds and "null" not in types_of(result):
        result["type"] = [*types_of(result), "null"]
