"""Parameters of tools: pydantic's types, bound arguments, odd names, given schemas."""

from __future__ import annotations

import datetime
import enum
import functools
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import msgspec
import pydantic
import pytest

import rxllm
from rxllm import ToolCall
from rxllm.assistant import FunctionTool, ToolContext

if TYPE_CHECKING:
    from decimal import Decimal


class Inner(pydantic.BaseModel):
    """A model inside another."""

    x: int = pydantic.Field(gt=0, description="above zero")


class Day(pydantic.BaseModel, strict=True):
    """A model that takes a date from JSON only."""

    date: datetime.date


class Outer(pydantic.BaseModel):
    """A model with models in it."""

    inner: Inner
    more: list[Inner] = []


class Node(pydantic.BaseModel):
    """A model that refers to itself."""

    value: int
    next: Optional[Node] = None  # noqa: UP045  as users write it


@pydantic.dataclasses.dataclass
class Point:
    """A pydantic dataclass."""

    x: Annotated[int, pydantic.Field(gt=0)]


def nested(outer: Outer) -> object:
    return outer


def recursive(node: Node) -> object:
    return node


def annotated(n: Annotated[int, pydantic.Field(gt=0, description="how many")]) -> object:
    return n


def point(p: Point, scale: int = 1) -> object:
    return p, scale


def models(one: Inner | None = None, many: list[Inner] = []) -> object:  # noqa: B006  what users write
    return one, many


def strict(day: Day) -> object:
    return day


def with_field(n: int = pydantic.Field(5, gt=0, description="how many")) -> object:
    return n


def call(tool: FunctionTool, arguments: dict[str, object]) -> Any:
    return tool.run(arguments, ToolContext(ToolCall("1", tool.tool.name, arguments), "", print))


CASES: list[tuple[Callable[..., object], dict[str, object], object, dict[str, object], str]] = [
    (nested, {"outer": {"inner": {"x": 1}}}, Outer(inner=Inner(x=1)), {"outer": {"inner": {"x": 0}}}, "above zero"),
    (recursive, {"node": {"value": 1}}, Node(value=1), {"node": {"value": "x"}}, "$defs"),
    (annotated, {"n": 1}, 1, {"n": 0}, "how many"),
    (point, {"p": {"x": 1}}, (Point(1), 1), {"p": {"x": 0}}, "exclusiveMinimum"),
    (models, {"one": {"x": 1}}, (Inner(x=1), []), {"many": [{"x": 0}]}, "above zero"),
    (strict, {"day": {"date": "2024-02-29"}}, Day(date=datetime.date(2024, 2, 29)), {"day": {"date": 1}}, "date"),
    (with_field, {}, 5, {"n": 0}, "how many"),
]


@pytest.mark.parametrize(("function", "good", "value", "bad", "said"), CASES)
def test_pydantic_parameters(
    function: Callable[..., object], good: dict[str, object], value: object, bad: dict[str, object], said: str
) -> None:
    """They are described in the schema, converted, and enforced."""
    tool = FunctionTool(function)
    assert said in json.dumps(tool.tool.parameters)
    assert call(tool, good) == value
    with pytest.raises(msgspec.ValidationError):
        call(tool, bad)


def test_the_order_and_the_required_ones() -> None:
    """As in the function, whichever library checks a parameter."""

    def mixed(a: int, b: Inner, c: str = "c", d: Inner | None = None) -> str:
        return f"{a} {b.x} {c} {d}"

    schema = FunctionTool(mixed).tool.parameters
    assert list(schema["properties"]) == ["a", "b", "c", "d"]  # type: ignore[call-overload]  # JSON
    assert schema["required"] == ["a", "b"]
    assert call(FunctionTool(mixed), {"b": {"x": 2}, "a": "1"}) == "1 2 c None"


def search(query: str, api_key: str, limit: int = 3) -> str:
    return f"{query} {api_key} {limit}"


def test_bound_arguments_are_no_parameters() -> None:
    """Neither shown to the model nor open to it, also in a partial of a partial."""
    bound = functools.partial(functools.partial(search, api_key="KEY"), limit=5)
    for tool in (FunctionTool(bound), FunctionTool(bound, schema={"type": "object", "properties": {"query": {}}})):
        assert tool.tool.name == "search"
        assert "KEY" not in json.dumps(tool.tool.parameters)
        assert list(tool.tool.parameters["properties"]) == ["query"]  # type: ignore[call-overload]  # JSON
        assert call(tool, {"query": "q"}) == "q KEY 5"
        for name in ("api_key", "limit"):
            with pytest.raises(msgspec.ValidationError, match="unknown field"):
                call(tool, {"query": "q", name: "EVIL"})
    assert list(FunctionTool(functools.partial(search, "q")).tool.parameters["properties"]) == ["api_key", "limit"]  # type: ignore[call-overload]  # JSON


def test_odd_names_of_parameters() -> None:
    """Names that Python's own protocols use are names like others."""
    names = ("__class__", "__post_init__", "__dict__", "self", "p0", "encode")
    scope: dict[str, Any] = {}
    exec(f"def odd({', '.join(f'{name}: int' for name in names)}): return [{', '.join(names)}]", scope)  # noqa: S102
    assert call(FunctionTool(scope["odd"]), {name: at for at, name in enumerate(names)}) == [0, 1, 2, 3, 4, 5]


def test_a_schema_of_your_own() -> None:
    """Sent as it is; the arguments are passed as they come, and a context too."""

    def anything(context: ToolContext, **fields: object) -> object:
        """Take it."""
        return context.call.name, fields

    schema = {"type": "object", "properties": {"a": {"enum": [1, "1"]}}}
    tool = FunctionTool(anything, schema=schema)
    assert (tool.tool.description, tool.tool.parameters) == ("Take it.", schema)
    assert call(tool, {"a": "1", "b": None}) == ("anything", {"a": "1", "b": None})


def test_a_parameter_without_a_schema_is_named() -> None:
    """Pydantic's own error becomes a ConfigurationError."""

    def odd(lock: Annotated[threading.Event, pydantic.Field(description="no type of JSON")]) -> object:
        return lock

    with pytest.raises(rxllm.ConfigurationError, match="parameter 'lock' of tool 'odd'"):
        FunctionTool(odd)


def test_hints_that_are_not_needed_and_hints_that_are_wrong() -> None:
    """What a function returns may be known to type checkers only; a parameter's hint that is wrong is named."""

    def half(n: int) -> Decimal:
        raise NotImplementedError

    def unknown(n: Decimal) -> int:
        raise NotImplementedError

    def cut(n: "int |") -> int:  # type: ignore[valid-type]  # noqa: F722  the point
        raise NotImplementedError

    assert FunctionTool(half).tool.parameters["properties"] == {"n": {"type": "integer"}}
    wrong: list[tuple[Any, str]] = [(unknown, "'Decimal' is not defined"), (cut, "not valid")]
    for function, said in wrong:
        with pytest.raises(rxllm.ConfigurationError, match=said):
            FunctionTool(function)


def test_a_field_without_a_default_is_required() -> None:
    """The `Field` describes the parameter; it is not its value."""

    def take(n: int = pydantic.Field(gt=0, description="how many")) -> object:
        return n

    tool = FunctionTool(take)
    assert tool.tool.parameters["required"] == ["n"]
    with pytest.raises(msgspec.ValidationError, match="missing required field `n`"):
        call(tool, {})


class Size(enum.Enum):
    """Words that a model and a parameter of its own use."""

    SMALL = "small"
    LARGE = "large"


class Shirt(pydantic.BaseModel):
    """A model with these words in it."""

    size: Size


def test_one_type_for_msgspec_and_for_pydantic() -> None:
    """They describe it differently, under two names."""

    def order(size: Size, shirt: Shirt) -> object:
        return size, shirt

    tool = FunctionTool(order)
    assert call(tool, {"size": "small", "shirt": {"size": "large"}}) == (Size.SMALL, Shirt(size=Size.LARGE))
    schema = json.dumps(tool.tool.parameters)
    assert {f"#/$defs/{name}" for name in tool.tool.parameters["$defs"]} == {"#/$defs/Size", "#/$defs/shirt_Size"}  # type: ignore[attr-defined]  # JSON
    assert '"#/$defs/shirt_Size"' in schema
    assert '"#/$defs/Size"' in schema


def test_a_context_may_be_left_out_by_other_callers() -> None:
    """`ToolContext | None` is filled too, and hidden."""

    def who(greeting: str, context: ToolContext | None = None) -> object:
        return greeting, None if context is None else context.call.name

    assert who("Hi") == ("Hi", None)
    schema = {"type": "object", "properties": {"greeting": {"type": "string"}}}
    for tool in (FunctionTool(who), FunctionTool(who, schema=schema)):
        assert list(tool.tool.parameters["properties"]) == ["greeting"]  # type: ignore[call-overload]  # JSON
        assert call(tool, {"greeting": "Hi"}) == ("Hi", "who")


def test_contexts_in_a_list_are_refused() -> None:
    """Only a parameter that is one gets it."""

    def who(contexts: list[ToolContext]) -> object:
        return contexts

    with pytest.raises(rxllm.ConfigurationError, match="'contexts'"):
        FunctionTool(who)


def test_anything_may_be_a_parameter() -> None:
    """`object` stands for any JSON value."""

    def take(value: object, more: dict[str, object]) -> object:
        return value, more

    assert call(FunctionTool(take), {"value": [1], "more": {"a": None}}) == ([1], {"a": None})


@pytest.mark.parametrize("kind", [Inner, Point, functools.partial(Point, 1), int])
def test_a_class_is_not_a_tool(kind: Callable[..., object]) -> None:
    """It is said to be one; a schema of your own makes it a function like others."""
    with pytest.raises(rxllm.ConfigurationError, match="is a class"):
        FunctionTool(kind)
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    assert call(FunctionTool(Inner, schema=schema), {"x": 1}) == Inner(x=1)
