"""Decoders and converters of Python types."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
import reactivex as rx

import rxllm
from rxllm import operators as ops
from rxllm._schema import json_schema

from .raw_server import LIMIT

FIRST_USES = """
import sys, threading
import msgspec
from rxllm._schema import converter

kinds = []
for number in range(300):
    inner = msgspec.defstruct(f"Inner{number}", [("text", str)])
    kinds.append(msgspec.defstruct(f"Outer{number}", [(f"field{place}", inner) for place in range(4)]))
value = {f"field{place}": {"text": "a"} for place in range(4)}
together = threading.Barrier(4)

def convert_all():
    for kind in kinds:
        together.wait()
        print(converter(kind)(value).field3.text)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=convert_all) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_several_threads_may_be_the_first_to_use_a_class() -> None:
    """With `msgspec.convert` itself, the interpreter crashes here."""
    run = subprocess.run([sys.executable, "-c", FIRST_USES], capture_output=True, text=True, timeout=LIMIT)
    assert (run.returncode, run.stdout.count("a")) == (0, 1200), run.stderr


class Circle(pydantic.BaseModel):
    """One of two models."""

    radius: float


class Square(pydantic.BaseModel):
    """The other."""

    side: float


class Day(pydantic.BaseModel, strict=True):
    """A model that takes a date from JSON only."""

    date: date
    hours: tuple[int, int] = (9, 17)


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic."""

    size: Annotated[int, pydantic.Field(gt=0)]


@dataclass
class Plain:
    """A dataclass with a constraint of pydantic."""

    size: Annotated[int, pydantic.Field(gt=0)]


@dataclass
class Drawing:
    """A dataclass with a union of models."""

    shape: Circle | Square


class Both(msgspec.Struct):
    """What pydantic does not know, with a model in it."""

    day: Day


PYDANTIC: list[tuple[Any, str, object, str]] = [
    (Circle | Square, '{"side":2}', Square(side=2), '{"edge":2}'),
    (list[Circle | Square], '[{"radius":1},{"side":2}]', [Circle(radius=1), Square(side=2)], "[{}]"),
    (Day, '{"date":"2024-02-29"}', Day(date=date(2024, 2, 29)), '{"date":"2023-02-29"}'),
    (list[Day], '[{"date":"2024-02-29","hours":[8,9]}]', [Day(date=date(2024, 2, 29), hours=(8, 9))], "[{}]"),
    (Both, '{"day":{"date":"2024-02-29"}}', Both(Day(date=date(2024, 2, 29))), '{"day":{}}'),
    (Checked, '{"size":1}', Checked(1), '{"size":0}'),
    (Plain, '{"size":1}', Plain(1), '{"size":0}'),
    (list[Plain] | None, '[{"size":1}]', [Plain(1)], '[{"size":0}]'),
    (Drawing, '{"shape":{"side":2}}', Drawing(Square(side=2)), '{"shape":{}}'),
    (dict[str, Annotated[int, pydantic.Field(gt=0)]], '{"a":1}', {"a": 1}, '{"a":0}'),
]


@pytest.mark.parametrize(("kind", "text", "value", "wrong"), PYDANTIC, ids=[str(kind) for kind, *_ in PYDANTIC])
def test_pydantic_reads_its_own_types(kind: Any, text: str, value: object, wrong: str) -> None:
    """With their constraints, in unions, and strictly, also where msgspec reads what is around them."""
    assert value == rx.just(text).pipe(ops.parse(kind)).run()
    with pytest.raises(rxllm.errors.OutputParsingError, match="does not fit the type"):
        rx.just(wrong).pipe(ops.parse(kind)).run()
    assert json_schema(kind)


def test_a_type_with_an_unknown_name_is_refused() -> None:
    """As of a class in a function, whose hints are evaluated elsewhere."""

    class Inner(msgspec.Struct):
        x: int

    @dataclass
    class Outer:
        inner: Inner

    with pytest.raises(rxllm.ConfigurationError, match="name 'Inner' is not defined"):
        json_schema(Outer)
