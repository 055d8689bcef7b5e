"""Whether a JSON schema keeps the rules of OpenAI's strict mode, which refuses any that does not.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

from .._json import is_array, is_object, object_at


def is_strict(schema: object) -> bool:
    """Return whether every object in `schema` is closed and requires all its properties.

    >>> is_strict({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False})
    True
    >>> is_strict({"type": "object", "properties": {"a": {}}})
    False
    """
    if is_array(schema):
        return all(map(is_strict, schema))
    if not is_object(schema):
        return True
    properties = object_at(schema, "properties")
    if schema.get("type") == "object" or properties:
        required = schema.get("required")
        named = set(map(str, required)) if is_array(required) else set[str]()
        if schema.get("additionalProperties") is not False or named != set(properties):
            return False
    inner = (*properties.values(), *object_at(schema, "$defs").values(), schema.get("items"), schema.get("anyOf"))
    return all(map(is_strict, inner))
