"""Structured answers: the vendor's mode, a tool or a prompt; partial values; asking again."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

import rxllm
from rxllm import ToolCall
from rxllm import operators as ops
from rxllm.assistant import AnswerRejected, Assistant, Memory, PartialAnswer, StructuredAnswer, StructuredMode
from rxllm.errors import OutputParsingError
from rxllm.testing import LLMServer, RecordedRequest, Reply, ScriptedModel

from .turns import PROVIDERS, add, model_on


@dataclass
class Person:
    """Who it is about."""

    name: str
    age: int = 0


ADA = '{"name": "Ada", "age": 36}'
ANSWERS: dict[StructuredMode, Reply] = {
    "schema": Reply(pieces=['{"name": "A', 'da", "age', '": 36}']),
    "tool": Reply(tool_calls=[ToolCall("1", "give_answer", {"name": "Ada", "age": 36})]),
    "prompt": Reply(pieces=["Here:\n```json\n", '{"name": "Ada', '", "age": 36}', "\n```"]),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_schema_mode(provider: str) -> None:
    """And it is used unasked."""
    with LLMServer(ADA) as server, model_on(server, provider) as model:
        assert Person("Ada", 36) == Assistant(model).chat("Who?", response_type=Person)
        assert '"name"' in server.requests[0].body.decode()
        assert "give_answer" not in server.requests[0].body.decode()


@pytest.mark.parametrize("mode", list(ANSWERS))
def test_partial_answers_grow_to_the_whole(mode: StructuredMode) -> None:
    """In every mode; the memory keeps a plain conversation."""
    memory = Memory()
    turn = Assistant(ScriptedModel(ANSWERS[mode]), memory=memory).stream(
        "Who?", response_type=Person, structured_mode=mode
    )
    events = list(rxllm.iter_events(turn))
    partial = [event.value for event in events if isinstance(event, PartialAnswer)]
    assert Person("Ada", 36) == partial[-1]
    assert len(partial) > 1
    assert [StructuredAnswer(Person("Ada", 36))] == [event for event in events if isinstance(event, StructuredAnswer)]
    assert ["user", "assistant"] == [message.role for message in memory.messages()]
    assert () == memory.messages()[1].tool_calls


def test_a_wire_without_schemas_is_given_a_tool() -> None:
    """Known before anything is sent."""
    with LLMServer(ANSWERS["tool"]) as server:
        model = rxllm.create_streaming_model("deepseek", api_key="k", base_url=server.base_url(), reasoning=0)
        assert Person("Ada", 36) == Assistant(model).chat("Who?", response_type=Person)
        assert "give_answer" in server.requests[0].body.decode()


class Color(enum.Enum):
    """One of several words."""

    RED = "red"
    BLUE = "blue"


class Point(pydantic.BaseModel):
    """A pydantic model."""

    x: int


class Size(pydantic.BaseModel):
    """Another."""

    w: int


class Shape(TypedDict):
    """A TypedDict of other types."""

    color: Color
    points: list[Point]


class Cat(msgspec.Struct, tag="cat"):
    """One of two."""

    lives: int


class Dog(msgspec.Struct, tag="dog"):
    """The other."""

    name: str


@dataclass
class Zoo:
    """A union in a field, and a list of unions."""

    star: Cat | Dog
    others: list[Cat | Dog]


KINDS: list[tuple[Any, object, object]] = [
    (Shape, {"color": "red", "points": [{"x": 1}]}, {"color": Color.RED, "points": [Point(x=1)]}),
    (Zoo, {"star": {"type": "cat", "lives": 9}, "others": []}, Zoo(Cat(9), [])),
    (Point, {"x": 1}, Point(x=1)),
    (list[Person], [{"name": "Ada"}], [Person("Ada")]),
    (list[Point], [{"x": 1}], [Point(x=1)]),
    (Cat | Dog, {"type": "dog", "name": "Rex"}, Dog("Rex")),
    (Point | Size, {"w": 2}, Size(w=2)),
    (Color, "blue", Color.BLUE),
    (Literal["yes", "no"], "yes", "yes"),
    (int, 7, 7),
]
"""A type, an answer, and the value that it is."""


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("mode", ["schema", "tool", "prompt"])
@pytest.mark.parametrize(("kind", "answer", "value"), KINDS, ids=[str(kind) for kind, *_ in KINDS])
def test_types_of_every_make(provider: str, mode: StructuredMode, kind: Any, answer: object, value: object) -> None:
    """On every wire, in every mode: vendors are asked for an object, whatever the type; the value is the type's."""
    if provider == "ollama" and mode == "tool":
        with pytest.raises(rxllm.ConfigurationError, match="tool_choice"):
            Assistant(rxllm.create_streaming_model(provider)).stream("?", response_type=kind, structured_mode=mode)
        return

    def vendor(request: RecordedRequest) -> Reply:
        schema = _schema_in(request.json, mode)
        assert schema is None or ("object", False) == (schema["type"], "anyOf" in schema)
        boxed = schema is not None and "answer" in schema["properties"]
        said: Any = {"answer": answer} if boxed else answer
        if mode == "tool":
            return Reply(tool_calls=[ToolCall("1", "give_answer", said)])
        return Reply(json.dumps(said))

    with LLMServer(default=vendor) as server, model_on(server, provider) as model:
        turn = Assistant(model).stream("?", response_type=kind, structured_mode=mode, max_corrections=0)
        events = list(rxllm.iter_events(turn))
    assert [value] == [event.value for event in events if isinstance(event, StructuredAnswer)]
    assert [value] == [event.value for event in events if isinstance(event, PartialAnswer)][-1:]


def _schema_in(body: Any, mode: StructuredMode) -> dict[str, Any] | None:
    """The schema that a request holds, wherever its wire has the place for it."""
    if mode == "prompt":
        return None
    names = ("parameters", "input_schema", "parametersJsonSchema") if mode == "tool" else _PLACES
    found = [value for name in names for value in _under(body, name) if isinstance(value, dict) and "type" in value]
    return dict(next(value for value in found if "properties" in value))


_PLACES = ("schema", "responseJsonSchema", "format")


def _under(value: Any, name: str) -> Iterator[Any]:
    """All that stands under this name, at any depth."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from _under(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _under(inner, name)


@pytest.mark.parametrize(
    ("provider", "name", "mode"),
    [
        ("openai", "m", "schema"),
        ("openai-responses", "m", "schema"),
        ("anthropic", "m", "schema"),
        ("gemini", "gemini-3.8-flash", "schema"),
        ("gemini", "gemini-2.5-flash", "tool"),
        ("llamacpp", "m", "tool"),
        ("ollama", "m", "prompt"),
    ],
)
def test_beside_tools_a_mode_that_leaves_them_alive(provider: str, name: str, mode: StructuredMode) -> None:
    """Some vendors call no tools where a format is asked for, or refuse both: there another mode is taken."""

    def vendor(request: RecordedRequest) -> Reply:
        body = request.body.decode()
        if "give_answer" not in body and '"36"' not in body:
            return Reply(tool_calls=[ToolCall("1", "add", {"a": 30, "b": 6})])
        return ANSWERS["tool"] if "give_answer" in body else Reply(ADA)

    with LLMServer(default=vendor) as server:
        base_url = server.base_url("openai" if provider == "llamacpp" else provider)
        model = rxllm.create_streaming_model(provider, model=name, api_key="k", base_url=base_url)
        assert Person("Ada", 36) == Assistant(model, tools=[add]).chat("Who?", response_type=Person)
        body = server.requests[0].body.decode()
        model.close()
    assert (mode == "tool") == ("give_answer" in body)
    assert (mode == "prompt") == ("JSON schema" in body)


def test_a_format_beside_tools_is_refused_where_no_tool_would_be_called() -> None:
    """At once, not in silence; tools that may not be called are no hindrance."""
    tool = rxllm.Tool("add", "", {"type": "object", "properties": {}})
    model = rxllm.create_streaming_model("ollama", model="m")
    with pytest.raises(rxllm.ConfigurationError, match="response_format"):
        model.stream("?", tools=[tool], response_format="json")
    model.stream("?", tools=[tool], tool_choice="none", response_format="json")


def test_tools_come_before_the_answer() -> None:
    """The answer's tool is one among others; it alone ends the turn."""
    calls = [ToolCall("1", "add", {"a": 30, "b": 6})]
    model = ScriptedModel(Reply(tool_calls=calls), ANSWERS["tool"])
    assistant = Assistant(model, tools=[add])
    assert Person("Ada", 36) == assistant.chat("Who?", response_type=Person, structured_mode="tool")
    assert ["required", "required"] == [call.options.get("tool_choice") for call in model.calls]


@pytest.mark.parametrize("mode", ["schema", "tool"])
def test_an_invalid_answer_is_asked_for_again(mode: StructuredMode) -> None:
    """The model is told what is wrong; only the good answer is kept."""
    bad = Reply('{"name": 7}') if mode == "schema" else Reply(tool_calls=[ToolCall("0", "give_answer", {"name": 7})])
    memory, model = Memory(), ScriptedModel(bad, ANSWERS[mode])
    turn = Assistant(model, memory=memory).stream("Who?", response_type=Person, structured_mode=mode)
    events = list(rxllm.iter_events(turn))
    (rejected,) = [event for event in events if isinstance(event, AnswerRejected)]
    assert '{"name":7}' == rejected.text.replace(" ", "")
    last = model.calls[1].messages[-1]
    said = last.text or next(part.content for part in last.parts if isinstance(part, rxllm.ToolResult))
    assert "Your answer is not valid" in said
    assert 2 == len(memory.messages())


@pytest.mark.parametrize("text", ["no JSON", "", '{"name": "A', '{"age": 1}'])
def test_a_model_that_never_gets_it_right(text: str) -> None:
    """An error that holds the text, after so many tries; nothing is kept."""
    memory, model = Memory(), ScriptedModel(default=Reply(text))
    with pytest.raises(OutputParsingError) as caught:
        Assistant(model, memory=memory).chat("Who?", response_type=Person, max_corrections=1)
    assert (text, 2, ()) == (caught.value.text, len(model.calls), memory.messages())


def test_an_answer_that_is_cut_off_says_so() -> None:
    """Its JSON is not the fault; the model reads that, and may write less."""
    cut = Reply('{"name": "A', finish_reason="length")
    model = ScriptedModel(cut, cut)
    with pytest.raises(OutputParsingError, match=r"reached its limit of tokens \(max_tokens\)") as caught:
        Assistant(model).chat("Who?", response_type=Person, max_corrections=1)
    assert caught.value.partial is not None
    assert caught.value.partial.text == '{"name": "A'
    assert "limit of tokens" in model.calls[1].messages[-1].text
    with pytest.raises(OutputParsingError, match="limit of tokens"):
        ScriptedModel(cut).stream("Who?").pipe(ops.parse(Person)).run()


def test_a_type_that_json_cannot_hold_is_refused() -> None:
    """At once."""
    with pytest.raises(rxllm.ConfigurationError):
        Assistant(ScriptedModel()).stream("?", response_type=type(lambda: 1))


def test_a_refusal_is_not_asked_again() -> None:
    """It would be refused again."""
    model = ScriptedModel(default=Reply("I cannot help with that.", finish_reason="refusal"))
    with pytest.raises(OutputParsingError) as caught:
        Assistant(model).chat("?", response_type=Person)
    assert (len(model.calls), caught.value.text) == (1, "I cannot help with that.")


def test_a_tool_with_the_name_of_the_answers() -> None:
    """Where the answer is a tool, a ConfigurationError; else it is a tool like others."""
    ran: list[int] = []

    def give_answer(x: int) -> str:
        ran.append(x)
        return "taken"

    call = Reply(tool_calls=[ToolCall("1", "give_answer", {"x": 1})])
    assistant = Assistant(ScriptedModel(call, '{"name": "n"}'), tools=[give_answer])
    with pytest.raises(rxllm.ConfigurationError, match="give_answer"):
        assistant.chat("?", response_type=Person, structured_mode="tool")
    assert (assistant.chat("?", response_type=Person, structured_mode="prompt"), ran) == (Person("n"), [1])
