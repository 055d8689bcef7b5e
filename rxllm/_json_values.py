"""Values of users (results of tools, structured answers) as JSON data: the data that they hold, never their repr."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import TypeGuard, cast

import msgspec

from ._json import valid_text

_MAX_ITEMS = 100_000
"""The most items that are read of an iterator, which may be endless."""


def json_data(value: object, unknown: Callable[[object], object] | None = None) -> object:
    """Return `value` as JSON data: None, bool, int, float, str, list and dict.

    Knows pydantic models and dataclasses (with their own serializers: an excluded field stays out), dataclasses, attrs,
    msgspec structs, numpy and pandas, enums, dates, mappings, and everything that can be iterated.

    Args:
        value: Any value.
        unknown: Called with a value of another type for what to write; default: TypeError.

    Raises:
        TypeError: The value, or one inside it, cannot be written as JSON.

    >>> json_data({1: {"a"}, "b": range(2)})
    {'1': ['a'], 'b': [0, 1]}
    """

    def data(value: object) -> object:
        """Return one value as JSON data, with all that is in it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return data(value.value)
        if isinstance(value, str):
            return valid_text(str(value))
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value)  # numpy's is a subclass
        own = _own_data(value)
        if own is not value:
            return data(own)
        fields = _fields_of(value)
        if fields is not None:
            return {name: data(field) for name, field in fields.items()}
        if isinstance(value, Mapping):
            return {_key(key, data): data(item) for key, item in cast("Mapping[object, object]", value).items()}
        if isinstance(value, Iterator):
            return [data(item) for item in _bounded(cast("Iterator[object]", value))]
        if _is_collection(value):
            return [data(item) for item in value]
        try:
            return msgspec.to_builtins(value)  # dates, UUID, Decimal, bytes
        except TypeError:
            if unknown is not None:
                return unknown(value)
            raise TypeError(
                f"{type(value).__qualname__} cannot be written as JSON: "
                "return text, a dict, a dataclass or a pydantic model"
            ) from None

    return data(value)


def type_name(value: object) -> str:
    """Return the name of the type of `value` in angle brackets: what stands for a value that JSON cannot hold."""
    return f"<{type(value).__qualname__}>"


def _is_collection(value: object) -> TypeGuard[Collection[object]]:
    return isinstance(value, Collection) and not isinstance(value, bytes | bytearray | memoryview)


def _own_data(value: object) -> object:
    """Return what the value itself offers as its data; `value` if it offers nothing."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):  # a pydantic model
        return dump(mode="json")
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:  # a pydantic dataclass
        return serializer.to_python(value, mode="json")
    if hasattr(value, "columns") and callable(records := getattr(value, "to_dict", None)):
        return records("records")  # a pandas DataFrame
    listed = getattr(value, "tolist", None)
    if callable(listed) and type(value) is not memoryview:  # numpy, pandas, torch, array
        return listed()
    return os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value


def _fields_of(value: object) -> dict[str, object] | None:
    """Return the fields of a struct, dataclass or attrs object."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields: dict[str, object] = {} if config.tag is None else {config.tag_field or "type": config.tag}
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            if item is not msgspec.UNSET and not (config.omit_defaults and item == field.default):
                fields[field.encode_name] = item
        return fields
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    attributes: Sequence[object] | None = getattr(type(value), "__attrs_attrs__", None)
    if attributes is None:
        return None
    names = [cast("str", getattr(attribute, "name", "")) for attribute in attributes]
    return {name: getattr(value, name) for name in names}


def _key(key: object, data: Callable[[object], object]) -> str:
    written = data(key)
    if isinstance(written, str):
        return written
    if written is None or isinstance(written, int | float):
        return msgspec.json.encode(written).decode()
    raise TypeError(f"a key of type {type(key).__qualname__} cannot be written as JSON")


def _bounded(items: Iterator[object]) -> Iterator[object]:
    yield from islice(items, _MAX_ITEMS)
    if next(items, items) is not items:
        raise TypeError(f"an iterator of more than {_MAX_ITEMS:,} items cannot be written as JSON")
