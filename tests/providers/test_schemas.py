"""Answers and tools of more than sixty types on every wire: what is sent keeps the vendor's rules.

Or the error says why it cannot.
"""

# ruff: noqa: D101 - the types here are their own description

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from msgspec import Meta

from rxllm import ConfigurationError
from rxllm._schema import json_schema
from rxllm.messages import Message
from rxllm.options import JsonFormat, Options, Tool, format_of
from rxllm.providers.vendors import vendor_named, wire_for
from tests.providers.vendor_rules import Json, anthropic_faults, gemini_faults, root_faults, strict_faults

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Plain(msgspec.Struct):
    name: str
    age: int


class Defaults(msgspec.Struct):
    name: str = "x"
    tags: list[str] = []


class Nested(msgspec.Struct):
    plain: Plain
    more: list[Plain]


class Described(msgspec.Struct):
    plain: Annotated[Plain, Meta(description="Whom it is about.")]
    age: Annotated[int, Meta(description="Years.", ge=0, le=150)]


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    breed: str


class Pet(msgspec.Struct):
    pet: Cat | Dog


class Node(msgspec.Struct):
    value: str
    children: list[Node]


class Linked(msgspec.Struct):
    value: str
    next: Linked | None = None


class Box(msgspec.Struct, Generic[T]):
    content: T


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    name: str


@dataclasses.dataclass
class Data:
    name: str
    scores: list[float]


@dataclasses.dataclass
class DataDefaults:
    name: str
    note: str | None = None


@dataclasses.dataclass
class Tree:
    value: int
    left: Tree | None
    right: Tree | None


class Typed(TypedDict):
    name: str
    done: bool


class Partly(TypedDict):
    name: str
    note: NotRequired[str]


class Pair(NamedTuple):
    x: int
    y: int


class Model(pydantic.BaseModel):
    name: str
    age: int


class Bounds(pydantic.BaseModel):
    surface: int = pydantic.Field(ge=1, le=5)
    label: str = pydantic.Field(min_length=3, max_length=8, pattern="^[a-z]+$")
    tags: list[str] = pydantic.Field(min_length=2, max_length=4)
    ratio: float = pydantic.Field(gt=0, lt=1, multiple_of=0.1)


class Tabby(pydantic.BaseModel):
    kind: Literal["tabby"]
    stripes: int


class Siamese(pydantic.BaseModel):
    kind: Literal["siamese"]
    voice: str


class Discriminated(pydantic.BaseModel):
    cat: Tabby | Siamese = pydantic.Field(discriminator="kind")


class Outer(pydantic.BaseModel):
    model: Model = pydantic.Field(description="The inner one.", title="Inner")
    others: dict[str, Model]


class Recursive(pydantic.BaseModel):
    name: str
    parts: list[Recursive] = []


class Anything(pydantic.BaseModel):
    value: Any


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str
    when: datetime.datetime
    site: pydantic.HttpUrl


class Everything(pydantic.BaseModel):
    amount: decimal.Decimal
    ident: uuid.UUID
    raw: bytes
    day: datetime.date
    pair: tuple[int, str]
    kinds: set[Color]
    note: str | None = None
    mapping: dict[str, int] = {}


FIELDS: Mapping[str, object] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "None": None,
    "bytes": bytes,
    "Decimal": decimal.Decimal,
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "UUID": uuid.UUID,
    "enum": Color,
    "int enum": Level,
    "literal": Literal["a", "b"],
    "literal of one": Literal["a"],
    "mixed literal": Literal["a", 1, None],
    "empty literal": Literal["", "a"],
    "optional": str | None,
    "union": int | str,
    "union of structs": Cat | Dog,
    "list": list[int],
    "list of lists": list[list[int]],
    "list of structs": list[Plain],
    "bare list": list,
    "set": set[str],
    "frozenset": frozenset[int],
    "tuple": tuple[int, str],
    "open tuple": tuple[int, ...],
    "dict": dict[str, int],
    "dict of structs": dict[str, Plain],
    "bare dict": dict,
    "any": Any,
    "bounded int": Annotated[int, Meta(ge=1, le=5)],
    "multiple": Annotated[float, Meta(multiple_of=0.5, gt=0)],
    "short text": Annotated[str, Meta(min_length=2, max_length=5)],
    "pattern": Annotated[str, Meta(pattern="^[a-z]+$")],
    "looking around": Annotated[str, Meta(pattern="^(?=x).*$")],
    "short list": Annotated[list[int], Meta(min_length=2, max_length=3)],
    "generic": Box[int],
    "generic of generic": Box[Box[str]],
    "named tuple": Pair,
    "nullable struct": Plain | None,
    "sequence": Sequence[str],
    "mapping": Mapping[str, float],
}
"""Types of a field, each in a struct of one field."""

ROOTS: Sequence[type] = (
    *(Plain, Defaults, Nested, Described, Pet, Node, Linked, Box[int], Closed, Data, DataDefaults, Tree, Typed, Partly),
    *(Model, Bounds, Discriminated, Outer, Recursive, Anything, Open, Strict, Everything),
)
TYPES: Sequence[object] = (
    *ROOTS,
    *(msgspec.defstruct("Holder", [("field", kind)]) for kind in FIELDS.values()),
)
NAMES = [*(getattr(kind, "__name__", str(kind)) for kind in ROOTS), *FIELDS]
EVERY_TYPE = pytest.mark.parametrize("kind", TYPES, ids=NAMES)

CHAT = ("openai", "azure", "groq", "mistral", "xai", "together", "fireworks", "cerebras", "vllm", "openai-compatible")
WIRES = (*CHAT, "openai-responses", "anthropic", "gemini", "ollama")


def body(provider: str, **options: Any) -> Json:
    wire = wire_for(vendor_named(provider), api_key="k", base_url="https://a.example.com/v1")
    sent: Json = json.loads(wire.request([Message.user("Hi")], "m", Options(**options)).body)
    return sent


def sent_or_refused(provider: str, **options: Any) -> tuple[Json, str]:
    """The body, or the words of the error."""
    try:
        return body(provider, **options), ""
    except ConfigurationError as error:
        return {}, str(error)


def test_there_are_enough() -> None:
    """Of every family: structs, dataclasses, TypedDicts, pydantic models, and what they are made of."""
    assert len(TYPES) >= 60


@EVERY_TYPE
def test_an_answer_of_a_type(kind: object) -> None:
    """The schema that is sent is one that the vendor takes; else the error names the type and the reason."""
    wanted = format_of(kind)
    assert wanted is not None
    for provider in WIRES:
        sent, refusal = sent_or_refused(provider, response_format=wanted)
        if refusal:
            assert provider in ("anthropic", "gemini")  # OpenAI takes any object without strict
            assert f"the schema of {wanted.name}: " in refusal, provider
            continue
        schema, strict = _answer_schema(provider, sent)
        assert not {"anthropic": anthropic_faults, "gemini": gemini_faults}.get(provider, lambda _: [])(schema)
        assert not strict or not strict_faults(schema), provider


def _answer_schema(provider: str, sent: Any) -> tuple[Json, bool]:
    match provider:
        case "anthropic":
            return sent["output_config"]["format"]["schema"], False
        case "gemini":
            return sent["generationConfig"]["responseJsonSchema"], False
        case "ollama":
            return sent["format"], False
        case "openai-responses":
            return sent["text"]["format"]["schema"], sent["text"]["format"].get("strict", False)
        case _:
            described = sent["response_format"]["json_schema"]
            return described["schema"], described.get("strict", False)


@pytest.mark.parametrize("strict", [None, True])
@EVERY_TYPE
def test_a_tool_with_such_parameters(kind: object, strict: bool | None) -> None:
    """The same for tools, which every vendor wants to have an object at their root."""
    tool = Tool("save", "Save it.", json_schema(kind), strict=strict)
    for provider in WIRES:
        sent, refusal = sent_or_refused(provider, tools=(tool,))
        if refusal:
            assert strict, provider
            assert "save" in refusal or provider == "ollama"
            continue
        schema = _parameters(sent["tools"])
        assert not root_faults(schema), provider
        if provider == "gemini":
            assert not gemini_faults(schema)
        elif strict and provider != "ollama":
            assert not (anthropic_faults if provider == "anthropic" else strict_faults)(schema), provider


def _parameters(tools: Any) -> Json:
    tool = tools[0]
    tool = tool.get("function") or next(iter(tool.get("functionDeclarations", [tool])))
    schema: Json = tool.get("parameters") or tool.get("input_schema") or tool.get("parametersJsonSchema")
    return schema


STRICT_TYPES = [
    "Plain",
    "Nested",
    "Described",
    "Pet",
    "Box",
    "Closed",
    "Data",
    "Typed",
    "Model",
    "Discriminated",
    "Bounds",
]


@pytest.mark.parametrize("name", STRICT_TYPES)
def test_what_strict_mode_can_say_is_strict(name: str) -> None:
    """Without need nothing is sent loosely: unions by a tag, descriptions beside references, closed objects."""
    kind = next(kind for kind, known in zip(TYPES, NAMES, strict=True) if known == name)
    assert _answer_schema("openai", body("openai", response_format=format_of(kind)))[1]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(dict[str, int], "map"), (Node, "recursive"), (Any, "type"), (Open, "map")],
    ids=["dict", "Node", "Any", "Open"],
)
def test_what_anthropic_cannot_say(kind: object, reason: str) -> None:
    """So that `structured_mode="auto"` gives a tool."""
    whole = kind if kind in (Node, Open) else msgspec.defstruct("Holder", [("field", kind)])
    with pytest.raises(ConfigurationError, match=reason):
        body("anthropic", response_format=format_of(whole))


def test_what_a_vendor_does_not_enforce_is_in_the_description() -> None:
    """The model reads it, and the answer is validated on this side."""
    schema: Any = _answer_schema("anthropic", body("anthropic", response_format=format_of(Bounds)))[0]
    assert schema["properties"]["surface"] == {
        "title": "Surface",
        "type": "integer",
        "description": "{maximum: 5, minimum: 1}",
    }
    assert "minLength: 3" in schema["properties"]["label"]["description"]
    gemini: Any = _answer_schema("gemini", body("gemini", response_format=format_of(Bounds)))[0]
    assert gemini["properties"]["surface"] == {"type": "integer", "minimum": 1, "maximum": 5}
    assert 'pattern: "^[a-z]+$"' in gemini["properties"]["label"]["description"]


MCP_TOOLS: Mapping[str, tuple[Json, Json]] = {
    "no type": ({}, {"type": "object", "properties": {}}),
    "no properties": ({"type": "object"}, {"type": "object", "properties": {}}),
    "one of two is required": (
        {
            "type": "object",
            "properties": {"route": {"type": "string"}, "file": {"type": "string"}},
            "anyOf": [{"required": ["route"]}, {"required": ["file"]}],
        },
        {
            "type": "object",
            "properties": {"route": {"type": "string"}, "file": {"type": "string"}},
            "description": "Give the properties of one of these groups: [route] or [file].",
        },
    ),
    "a choice of objects": (
        {
            "oneOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["a"]},
            ]
        },
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "b": {"type": "null"}},
            "required": ["a"],
        },
    ),
    "all of": (
        {
            "allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"required": ["b"]}],
            "properties": {"b": {}},
        },
        {"type": "object", "properties": {"b": {}, "a": {"type": "string"}}, "required": ["b", "a"]},
    ),
    "a reference": (
        {
            "$ref": "#/definitions/In",
            "definitions": {"In": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        {"type": "object", "properties": {"a": {"type": "string"}}},
    ),
}


@pytest.mark.parametrize("name", MCP_TOOLS)
@pytest.mark.parametrize("provider", WIRES)
def test_tools_as_servers_of_the_model_context_protocol_have_them(provider: str, name: str) -> None:
    """One such tool made every request a 400: https://github.com/anomalyco/opencode/issues/46628."""
    given, wanted = MCP_TOOLS[name]
    sent = body(provider, tools=(Tool("t", "", given),))
    tool = sent["tools"][0]  # type: ignore[index]
    if provider == "gemini" and not wanted["properties"]:
        assert "parametersJsonSchema" not in tool["functionDeclarations"][0]
        return
    schema = _parameters(sent["tools"])
    schema.pop("$defs", None)
    assert {**schema, "required": sorted(schema.get("required", []))} == {  # type: ignore[call-overload]
        **wanted,
        "required": sorted(wanted.get("required", [])),  # type: ignore[call-overload]
    }


@pytest.mark.parametrize("provider", ["openai", "azure", "openai-responses"])
def test_an_answer_that_is_no_object(provider: str) -> None:
    """OpenAI wants an object at the root, strict or not."""
    with pytest.raises(ConfigurationError, match="the schema of list: its root is not an object"):
        body(provider, response_format=JsonFormat(json_schema(list[int]), "list"))


def test_the_name_of_an_answer() -> None:
    """A title may be anything, a name may not."""
    schema: Json = {"title": "My Answer: é", "type": "object", "properties": {}}
    sent: Any = body("openai", response_format=format_of(schema))
    assert sent["response_format"]["json_schema"]["name"] == "My_Answer___"
