"""JSON as values of Python types: decoders, converters, and the JSON schemas that vendors take.

msgspec (0.22) collects the fields of a class when it first meets the class, and crashes if two threads make it do so at
the same time. So nothing else in this package calls `msgspec.convert` or makes a decoder of a class.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, Protocol, TypeGuard, TypeVar, get_args, get_type_hints, is_typeddict, overload

import msgspec

from ._json import encode, is_object, object_at, text_at
from .errors import ConfigurationError

T = TypeVar("T")

_collecting_fields = threading.RLock()
_STRUCT = type(msgspec.Struct)
_PYDANTIC = frozenset({"pydantic", "pydantic_core", "annotated_types"})


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

    The converter raises a `ValueError` of msgspec or pydantic for a value that is not of the type.
    """
    if _is_model(kind):
        return partial(_validated, kind)  # a model gives itself
    adapter = _adapter(kind)
    if adapter is not None:
        return partial(validated_by, adapter)
    with suppress(TypeError, NameError):  # msgspec refuses the type: so does the converter
        decoder(kind)
    return partial(msgspec.convert, type=kind, dec_hook=_validated, **options)  # noqa: TID251 - the one place


def validated_by(adapter: Any, value: object) -> Any:
    """Return the value that a `pydantic.TypeAdapter` makes of JSON's own values; raise pydantic's `ValueError`.

    It reads JSON: a strict type takes dates, tuples and the like from nothing else that JSON can hold.
    """
    return adapter.validate_json(encode(value))


def uses_pydantic(
    value: object, *, models: bool = True, fields_too: bool = False, seen: frozenset[int] = frozenset()
) -> bool:
    """Return whether a type, its metadata, a field or a default is pydantic's.

    `models`: also if it is a model, which msgspec can let make itself; `fields_too`: also if a field is one.
    """
    if "pydantic" not in sys.modules or isinstance(value, _STRUCT) or id(value) in seen:
        return False  # pydantic takes no structs
    if _is_model(value):
        return models
    modules = {type(value).__module__.partition(".")[0]}
    if isinstance(value, type):
        modules.add(value.__module__.partition(".")[0])
    if hasattr(value, "__pydantic_core_schema__") or not modules.isdisjoint(_PYDANTIC):
        return True
    fields: list[object] = []
    if isinstance(value, type) and (hasattr(value, "__dataclass_fields__") or is_typeddict(value)):
        with suppress(Exception):  # a hint is wrong, as msgspec will say
            fields = [*get_type_hints(value, include_extras=True).values()]
    seen |= {id(value)}
    inner = (*get_args(value), *getattr(value, "__metadata__", ()))
    found = partial(uses_pydantic, fields_too=fields_too, seen=seen)
    return any(found(each, models=models) for each in inner) or any(
        found(each, models=models and fields_too) for each in fields
    )


@overload
def converted(value: object, kind: type[T], what: str) -> T: ...
@overload
def converted(value: object, kind: Any, what: str) -> Any: ...  # a union
def converted(value: object, kind: Any, what: str) -> Any:
    """Return JSON's own `value` as `kind`; raise `ConfigurationError` that says `what` and names the field."""
    try:
        return _converter_of(kind)(value)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ConfigurationError(f"{what}: {error}".replace("$.", "")) from error


_converter_of: Callable[[Any], Callable[[object], Any]] = cache(converter)  # of this package's own types


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
    if schema.get("type") == "object" and schema.keys().isdisjoint({"anyOf", "oneOf", "allOf"}):
        return kind
    if _adapter(kind) is None:
        return msgspec.defstruct("Answer", [("answer", kind)], bases=(_Box, msgspec.Struct), forbid_unknown_fields=True)
    pydantic: Any = sys.modules["pydantic"]
    bases, closed = (_Box, pydantic.BaseModel), {"extra": "forbid"}
    model: type[object] = pydantic.create_model("Answer", __base__=bases, __cls_kwargs__=closed, answer=(kind, ...))
    return model


class _Box:
    """The base of types that `object_type` makes."""

    __slots__ = ()


def unboxed(value: object) -> object:
    """Return the value in the box that `object_type` has made; any other value unchanged."""
    return getattr(value, "answer") if isinstance(value, _Box) else value  # noqa: B009  the field is made at run time


def schema_with_definitions(kind: object) -> dict[str, object]:
    """Return the schema as msgspec or pydantic makes it: its definitions, also of nested models, stay under `$defs`."""
    definitions: dict[str, object] = {}

    def of_model(model: object) -> dict[str, object]:
        """Return the schema of a pydantic model without its definitions, which are collected; msgspec's hook."""
        if model is object:
            return {"description": "any JSON value"}  # msgspec takes an empty schema for none
        own = getattr(model, "model_json_schema", None)
        if not callable(own):
            raise NotImplementedError
        made: object = own()
        if not is_object(made):
            raise TypeError("its model_json_schema() gives no object")
        definitions.update(object_at(made, "$defs"))
        return {name: value for name, value in made.items() if name != "$defs"}

    try:
        schema: dict[str, object]
        if callable(getattr(kind, "model_json_schema", None)):
            schema = of_model(kind)
        elif (adapter := _adapter(kind)) is not None:
            schema = adapter.json_schema()
        else:
            schema = msgspec.json.schema(kind, schema_hook=of_model)
    except (TypeError, RuntimeError, NameError) as error:  # msgspec's, pydantic's
        # Without msgspec's advice for those who call it.
        reason = str(error).rpartition("\n\n")[2] if isinstance(error, TypeError) else error
        raise ConfigurationError(f"no JSON schema can be made of {kind!r}: {reason}") from error
    definitions |= object_at(schema, "$defs")
    return {**schema, "$defs": definitions} if definitions else schema


def _adapter(kind: object) -> Any:
    """Return the `pydantic.TypeAdapter` of a type that pydantic is to read; None if msgspec is."""
    if not uses_pydantic(kind, fields_too=True):
        return None
    if not uses_pydantic(kind, models=False):
        with suppress(TypeError):  # it has a union of models
            decoder(kind)
            return None
    try:
        return sys.modules["pydantic"].TypeAdapter(kind)
    except Exception:  # it holds types of msgspec too
        return None


class _Model(Protocol):
    """A pydantic model's class, as far as it is used here."""

    def model_validate(self, value: object, /) -> object: ...

    def model_validate_json(self, value: bytes, /) -> object: ...


def _is_model(kind: object) -> TypeGuard[_Model]:
    return hasattr(kind, "model_validate") and hasattr(kind, "model_json_schema")


def _validated(kind: object, value: object) -> Any:
    """Return `value` as a pydantic model; of another type as it is."""
    if not _is_model(kind):
        return value
    try:
        return kind.model_validate(value)
    except ValueError:  # a strict model takes dates, tuples and the like from JSON only
        return kind.model_validate_json(encode(value))


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
