"""Reads JSON from other programs: everything is `object` until one of these functions narrows it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from math import isfinite
from typing import TypeAlias, TypeGuard, TypeVar

import msgspec

T = TypeVar("T")
Json: TypeAlias = dict[str, object]
"""A JSON object."""

_decode = msgspec.json.Decoder[object](object).decode
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def decode(data: bytes | str) -> object:
    """Return the JSON value in `data`.

    Raises:
        ValueError: `data` is not JSON.
        RecursionError: It is nested too deep.
    """
    return _decode(data)


def object_in(data: bytes | str) -> Json | None:
    """Return the JSON object in `data`; None if there is none."""
    try:
        value = _decode(data)
    except (ValueError, RecursionError):
        return None
    return value if is_object(value) else None


def encode(value: object) -> bytes:
    """Return `value` as compact JSON."""
    return msgspec.json.encode(value)


def encode_line(value: object) -> str:
    r"""Return `value` as compact JSON, one line also for readers that end lines as `str.splitlines` does (httpx).

    >>> encode_line("\u2028")
    '"\\u2028"'
    """
    text = msgspec.json.encode(value).decode()
    if text.isascii() or not ("\u2028" in text or "\u2029" in text or "\x85" in text):  # as nearly all texts of models
        return text
    return text.translate(_LINE_ENDS)


def table(package: str, name: str, kind: type[T]) -> T:
    """Return the content of the JSON file `name` in the folder of `package`.

    Raises:
        msgspec.ValidationError: A row has a wrong field or value.
    """
    return msgspec.json.decode(files(package).joinpath(name).read_bytes(), type=kind)


def valid_text(text: str) -> str:
    r"""Return `text` with unpaired surrogates replaced by U+FFFD: no JSON, file or database takes them.

    >>> valid_text("half \ud835 a pair") == "half \ufffd a pair"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def is_object(value: object) -> TypeGuard[Json]:
    """Return whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Return whether `value` is a JSON array."""
    return isinstance(value, list)


def text_at(source: Mapping[str, object], key: str) -> str | None:
    """Return `source[key]` if it is text that is not empty."""
    value = source.get(key)
    return value if isinstance(value, str) and value else None


def int_at(source: Mapping[str, object], key: str) -> int | None:
    """Return `source[key]` if it is a whole number."""
    value = source.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count_at(source: Mapping[str, object], key: str) -> int | None:
    """Return the count at `source[key]` as a whole number: some vendors' token counts have fractions."""
    value = source.get(key)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) else None


def object_at(source: Mapping[str, object], key: str) -> Json:
    """Return `source[key]` if it is an object, else an empty one."""
    value = source.get(key)
    return value if is_object(value) else {}


def objects_at(source: Mapping[str, object], key: str) -> list[Json]:
    """Return the objects in the list `source[key]`; none if it is not a list."""
    value = source.get(key)
    return [item for item in value if is_object(item)] if is_array(value) else []
