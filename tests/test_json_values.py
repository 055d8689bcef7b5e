"""Values of users as JSON data."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import importlib
import itertools
import uuid
from collections import deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

from rxllm._json import encode
from rxllm._json_values import json_data, type_name


class Row(pydantic.BaseModel):
    """A model with a field that must not be shown."""

    id: int
    secret: str = pydantic.Field("pw", exclude=True)


@pydantic.dataclasses.dataclass
class PydanticPoint:
    """The same as a pydantic dataclass."""

    id: int = 1
    secret: str = pydantic.Field("pw", exclude=True, repr=False)


class Login(pydantic.BaseModel):
    """A secret that pydantic masks."""

    key: pydantic.SecretStr = pydantic.SecretStr("pw")


@dataclasses.dataclass
class Holder:
    """A dataclass with anything in it."""

    item: object


class Tagged(msgspec.Struct, tag="t", rename="camel", omit_defaults=True):
    """A struct with a form of its own."""

    some_item: object
    left_out: int = 3
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Color(enum.Enum):
    """Text values."""

    RED = "red"


Pair = namedtuple("Pair", "a b")

CASES: list[tuple[object, object]] = [
    ([Row(id=1)], [{"id": 1}]),
    ({"r": Row(id=1)}, {"r": {"id": 1}}),
    (Holder((Row(id=1),)), {"item": [{"id": 1}]}),
    (Tagged(Row(id=1)), {"type": "t", "someItem": {"id": 1}}),
    ([PydanticPoint()], [{"id": 1}]),
    (Holder(PydanticPoint()), {"item": {"id": 1}}),
    ([Login()], [{"key": "**********"}]),
    ((n for n in range(3)), [0, 1, 2]),
    (map(str, [1]), ["1"]),
    (range(2), [0, 1]),
    ({"a": 1}.keys(), ["a"]),
    (deque([Pair(1, {2})]), [[1, [2]]]),
    ({1: "a", None: "b", Color.RED: Color.RED}, {"1": "a", "null": "b", "red": "red"}),
    (datetime.date(2026, 1, 1), "2026-01-01"),
    ([uuid.UUID(int=1), decimal.Decimal("1.5"), b"ab", Path("a")], [str(uuid.UUID(int=1)), "1.5", "YWI=", "a"]),
    ([bytearray(b"ab"), memoryview(b"ab")], ["YWI=", "YWI="]),
    ("half \ud835", "half \ufffd"),
    (float("nan"), None),
]


@pytest.mark.parametrize(("value", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_the_data_is_written_and_never_the_repr(value: object, expected: object) -> None:
    """At any depth."""
    assert msgspec.json.decode(encode(json_data(value))) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda np, pd: np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (
            lambda np, pd: {"a": np.float64(1.5), "b": np.int64(2), "c": np.bool_(True)},
            {"a": 1.5, "b": 2, "c": True},
        ),
        (lambda np, pd: pd.DataFrame({"a": [1, 2]}), [{"a": 1}, {"a": 2}]),
    ],
    ids=["array", "numbers", "frame"],
)
def test_the_data_of_numpy_and_pandas_is_written(make: Callable[[Any, Any], object], expected: object) -> None:
    """Arrays are lists, and a frame is a list of its rows."""
    value = make(importlib.import_module("numpy"), importlib.import_module("pandas"))
    assert msgspec.json.decode(encode(json_data(value))) == expected


class Opaque:
    """An object without data."""

    def __init__(self) -> None:
        self.password = "pw"


@pytest.mark.parametrize("value", [Opaque(), [Opaque()], 1j, {Opaque(): 1}, itertools.count()])
def test_what_cannot_be_written_is_an_error(value: object) -> None:
    """The error names the type and shows nothing of the value."""
    with pytest.raises(TypeError, match="cannot be written as JSON") as caught:
        json_data(value)
    assert "pw" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_place_holder_may_stand_for_it() -> None:
    """For events, which must be shown whatever a tool reports."""
    assert json_data([Opaque(), 1], type_name) == ["<Opaque>", 1]
