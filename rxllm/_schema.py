"""JSON as values of Python types: decoders, converters, and the JSON schemas that vendors take.

msgspec (0.22) collects the fields of a class when it first meets the class, and crashes if two threads make it do so at
the same time. So nothing else in this package calls `msgspec.convert` or makes a decoder of a class.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, overload

import msgspec

from ._json import encode, is_object, object_at, text_at
from .errors import ConfigurationError

T = TypeVar("T")

_collecting_fields = threading.RLock()


@overload
def decoder(kind: type[T]) -> msgspec.json.Decoder[T]: ...
@overload
def decoder(kind: Any) -> Any: ...  # a union
def decoder(kind: Any) -> Any:
    """Return what decodes JSON to `kind`. Thread-safe; takes 2 microseconds if the fields of `kind` are known."""
    with _collecting_fields:
        return msgspec.json.Decoder(kind)


def converter(kind: type[T], **options: Any) -> Callable[[object], T]:
    """Return what converts JSON's own values to `kind`, with these options of `msgspec.convert`. Thread-safe.

    The converter raises `msgspec.ValidationError` for a value that is not of the type.
    """
    with suppress(TypeError):  # msgspec refuses the type: so does the converter
        decoder(kind)
    return partial(msgspec.convert, type=kind, **options)  # noqa: TID251 - the one place


def json_schema(kind: object) -> dict[str, object]:
    """Return the JSON schema of a dataclass, TypedDict, msgspec.Struct, pydantic model, plain type, or a type of these.

    Raises `ConfigurationError` if the type has none.
    """
    return _inlined(schema_with_definitions(kind))


def object_type(kind: type[object]) -> type[object]:
    """Return `kind` if its JSON is an object, else a type with `kind` in its only field, "answer".

    Vendors require an object. `unboxed` returns the value of that field.
    """
    schema = json_schema(kind)
    is_object_only = schema.get("type") == "object" and schema.keys().isdisjoint({"anyOf", "oneOf", "allOf"})
    return kind if is_object_only else msgspec.defstruct("Answer", [("answer", kind)], bases=(_Box,))


class _Box(msgspec.Struct, forbid_unknown_fields=True):
    """The base of types that `object_type` makes."""


def unboxed(value: object) -> object:
    """Return the value in the box that `object_type` has made; any other value unchanged."""
    return getattr(value, "answer") if isinstance(value, _Box) else value  # noqa: B009  the field is made at run time


def schema_with_definitions(kind: object) -> dict[str, object]:
    """Return the schema as msgspec or pydantic makes it: its definitions, also of nested models, stay under `$defs`."""
    definitions: dict[str, object] = {}

    def of_model(model: object) -> dict[str, object]:
        """Return the schema of a pydantic model without its definitions, which are collected; msgspec's hook."""
        if model is object:
            return {}  # anything
        own = getattr(model, "model_json_schema", None)
        if not callable(own):
            raise NotImplementedError
        made: object = own()
        if not is_object(made):
            raise TypeError("its model_json_schema() gives no object")
        definitions.update(object_at(made, "$defs"))
        return {name: value for name, value in made.items() if name != "$defs"}

    try:
        is_model = callable(getattr(kind, "model_json_schema", None))
        schema: dict[str, object] = of_model(kind) if is_model else msgspec.json.schema(kind, schema_hook=of_model)
    except (TypeError, RuntimeError) as error:  # msgspec's, pydantic's
        raise ConfigurationError(f"no JSON schema can be made of {kind!r}: {error}") from error
    definitions |= object_at(schema, "$defs")
    return {**schema, "$defs": definitions} if definitions else schema


def _inlined(schema: dict[str, object]) -> dict[str, object]:
    """Return `schema` with a reference at its root replaced by its definition: vendors require an object there."""
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
