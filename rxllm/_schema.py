"""JSON schemas of Python types, in the form that vendors' schema modes take."""

from __future__ import annotations

import msgspec

from ._json import encode, is_object, object_at, text_at
from .errors import ConfigurationError


def json_schema(kind: object) -> dict[str, object]:
    """The JSON schema of a dataclass, TypedDict, msgspec.Struct, pydantic model or plain type.

    Raises `ConfigurationError` where the type has none.
    """
    own = getattr(kind, "model_json_schema", None)
    try:
        schema: object = own() if callable(own) else msgspec.json.schema(kind)
    except TypeError as error:
        raise ConfigurationError(f"no JSON schema can be made of {kind!r}: {error}") from error
    if not is_object(schema):
        raise ConfigurationError(f"no JSON schema can be made of {kind!r}")
    return _inlined(schema)


def _inlined(schema: dict[str, object]) -> dict[str, object]:
    """`schema` with a reference at its root replaced by what it names: vendors want an object there."""
    root = text_at(schema, "$ref")
    definitions = object_at(schema, "$defs")
    if root is None:
        return schema
    name = root.rpartition("/")[2]
    named = object_at(definitions, name)
    others = {key: value for key, value in definitions.items() if key != name}
    uses_itself = encode(root) in encode([named, others])
    kept = definitions if uses_itself else others
    return {**named, "$defs": kept} if kept else named
