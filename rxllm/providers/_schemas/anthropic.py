"""Schemas for Anthropic's structured outputs and strict tools.

Bounds, patterns and formats that the API refuses move into the description, as the vendor's own SDK does.
Maps, recursion and parts without a type cannot be said and raise `SchemaError`.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import int_at, is_array, is_object, object_at, objects_at, text_at
from .rewriter import ClosedRewriter, Schema, SchemaError, required_names

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_MAX_OPTIONAL, _MAX_UNIONS = 24, 16
"""Limits of all strict schemas of one request."""


class AnthropicSchema(ClosedRewriter):
    """Rewrites a schema for Anthropic."""

    kept = frozenset({"type", "enum", "const", "description", "title", "default"})

    def structure(self, schema: Schema, result: Schema, moved: Schema) -> None:
        """Write the schemas inside, and the formats and bounds that the API takes."""
        if self.recursive:
            raise SchemaError("it is recursive")
        if text_at(schema, "format") in _FORMATS:
            result["format"] = moved.pop("format")
        if int_at(schema, "minItems") in (0, 1):
            result["minItems"] = moved.pop("minItems")
        values = schema.get("enum")
        if is_array(values) and any(is_object(value) or is_array(value) for value in values):
            raise SchemaError("an enum in it holds objects or arrays")
        super().structure(schema, result, moved)

    def items(self, schema: Schema, moved: Schema) -> Schema:
        """Return the type of the items; the places of a tuple are lost and go to `moved`, for the description."""
        prefix = objects_at(schema, "prefixItems")
        if not prefix:
            return super().items(schema, moved)
        moved["prefixItems"] = prefix
        kinds = self.parts(prefix)
        different = [kind for index, kind in enumerate(kinds) if kind not in kinds[:index]]
        return different[0] if len(different) == 1 else {"anyOf": different}

    def check(self, schemas: Sequence[Schema]) -> None:
        """Raise if there are too many optional properties or unions."""
        optional = sum(len(object_at(schema, "properties")) - len(required_names(schema)) for schema in schemas)
        unions = sum("anyOf" in schema or is_array(schema.get("type")) for schema in schemas)
        if optional > _MAX_OPTIONAL or unions > _MAX_UNIONS:
            raise SchemaError(f"it has more than {_MAX_OPTIONAL} optional properties or {_MAX_UNIONS} unions")
