"""Answers as data: growing, element by element, whole; of all kinds of types; from text and from tool calls."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import msgspec
import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st

from rxllm import ConfigurationError
from rxllm import operators as ops
from rxllm.errors import OutputParsingError
from rxllm.events import StreamEnd, StreamReset, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart
from rxllm.messages import ToolCall

from ..kit import Case, OperatorContract, answer, cuts, play, whole

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")


@dataclass
class Step:
    """A dataclass with a field that cannot be empty."""

    text: str
    minutes: int


@dataclass
class Recipe:
    """A dataclass of all that can begin empty."""

    title: str
    steps: list[Step]
    note: str | None
    kind: Literal["recipe"]
    tags: list[str] = field(default_factory=list)


class Point(msgspec.Struct):
    """A Struct."""

    name: str
    x: int = 0


class Place(TypedDict):
    """A TypedDict."""

    name: str
    x: int


class Model(pydantic.BaseModel):
    """A pydantic model, with an alias and a restriction."""

    name: str = pydantic.Field(alias="Name")
    code: str = pydantic.Field(min_length=3, default="abc")
    parts: list[Model] = pydantic.Field(default_factory=list)


class Cat(msgspec.Struct, tag=True):
    """One of a tagged union."""

    name: str


class Dog(msgspec.Struct, tag=True):
    """The other."""

    bark: str


class Unreadable(pydantic.BaseModel):
    """A model that no JSON schema can be made of."""

    function: Callable[[], None]


class Endless(msgspec.Struct):
    """A type that no JSON is of."""

    name: str
    next: Endless


TEA = r'{"title": "T", "steps": [{"text": "a\n", "minutes": 1}], "note": "\u00e9", "kind": "recipe"}'
LIST = '{"items": [1, 2]}'
CALL = [
    ToolCallStart(0, "c", "f"),
    ToolCallDelta(0, '{"a"'),
    ToolCallDelta(0, ": 1}"),
    ToolCallEnd(0, ToolCall("c", "f", {"a": 1})),
]

CASES = [
    Case(
        "partial_json",
        ops.partial_json,
        answer('{"a": "x', 'y", ', '"b": 1', "}"),
        [{"a": "x"}, {"a": "xy"}, {"a": "xy", "b": 1}],
    ),
    Case("partial_json of str", ops.partial_json, ['["x', '"]'], [["x"], ["x"]]),
    Case("partial_json of a tool", lambda: ops.partial_json(tool="f"), [*CALL, *answer("ok")], [{}, {"a": 1}]),
    Case("array_items", lambda: ops.array_items(int, path="items"), answer(LIST[:13], LIST[13:]), [1, 2]),
    Case("parse", lambda: ops.parse(list[int]), answer("[1,", " 2]"), [[1, 2]], empty=OutputParsingError),
    Case("partial_json of a number", lambda: ops.partial_json(int), answer("```json\n4", "2\n```"), [42]),
    Case("partial_json of text", lambda: ops.partial_json(str), answer('"Hel', 'lo"'), ["Hello"]),
    Case("parse of a tool", lambda: ops.parse(dict[str, int], tool="f"), [*CALL, *answer("ok")], [{"a": 1}]),
    Case("tool_calls", ops.tool_calls, [*CALL, *answer("ok")], [ToolCall("c", "f", {"a": 1})]),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def failure(operator: Any, *pieces: str) -> OutputParsingError:
    """The error that the answer in `pieces` ends in."""
    error = play(operator, answer(*pieces)).error
    assert isinstance(error, OutputParsingError)
    return error


class TestPartialJson:
    """Objects that grow."""

    def test_a_dataclass_is_valid_at_every_moment(self) -> None:
        """What can be empty is empty; an element without its number is not there yet."""
        text = (
            '{"title": "Tea", "steps": [{"text": "Boil", "minutes": 3}, {"text": "Wait", "minutes": 5}], "note": null, '
        )
        text += '"kind": "recipe", "tags": ["hot"]}'
        snapshots = play(ops.partial_json(Recipe), text).values
        assert snapshots[0] == Recipe("", [], None, "recipe")
        assert all(isinstance(snapshot, Recipe) for snapshot in snapshots)
        assert Recipe("Te", [], None, "recipe") in snapshots
        assert Recipe("Tea", [Step("Boil", 3)], None, "recipe") in snapshots
        assert snapshots[-1] == Recipe("Tea", [Step("Boil", 3), Step("Wait", 5)], None, "recipe", ["hot"])
        assert not any(step.minutes == 0 for snapshot in snapshots for step in snapshot.steps)

    @pytest.mark.parametrize(
        ("kind", "text", "first", "last"),
        [
            (Point, '{"name": "ab", "x": 1}', Point(""), Point("ab", 1)),
            (Place, '{"name": "ab", "x": 1}', {"name": "ab", "x": 1}, {"name": "ab", "x": 1}),
            (dict[str, list[str]], '{"a": ["b"]}', {}, {"a": ["b"]}),
            (list[Point], '[{"name": "a"}]', [], [Point("a")]),
            (list[Cat | Dog], '[{"type": "Dog", "bark": "w"}]', [], [Dog("w")]),
            (Model, '{"Name": "n", "code": "xyz"}', Model(Name=""), Model(Name="n", code="xyz")),
            (list[Model], '[{"Name": "n"}]', [], [Model(Name="n")]),
            (dict, '{"a": 1}', {}, {"a": 1}),
        ],
    )
    def test_kinds_of_types(self, kind: type[object], text: str, first: object, last: object) -> None:
        """Each gives values of itself from the first valid moment to the last."""
        values = play(ops.partial_json(kind), text).values
        assert first == values[0]
        assert last == values[-1]
        assert {type(first)} == set(map(type, values))

    def test_a_tag_tells_which_of_several_types_grows(self) -> None:
        """Once the tag has come, missing fields of that type are filled in."""
        values = play(ops.partial_json(list[Cat | Dog]), ['[{"type": "Cat", ', '"name": "T', 'om"}]']).values
        assert values == [[Cat("")], [Cat("T")], [Cat("Tom")]]

    def test_text_with_a_form_comes_when_it_is_whole(self) -> None:
        """Half a date, or half of a code with a least length, is not shown."""

        @dataclass
        class Event:
            name: str
            day: datetime.date | None = None

        pieces = ['{"name": "a", "day": "2026-', '01-02"', "}"]
        assert play(ops.partial_json(Event), pieces).values == [
            Event("a"),
            *[Event("a", datetime.date(2026, 1, 2))] * 2,
        ]
        values = play(ops.partial_json(Model), ['{"Name": "a", "code": "x', 'yz"', "}"]).values
        assert [value.code for value in values] == ["abc", "xyz", "xyz"]

    def test_a_fenced_object_grows_for_any_cut(self) -> None:
        """Other text and other code before it, and its indent, do not matter."""
        text = 'Here:\n```py\nx = 1\n```\n  ```json\n\n  {"name": "Tom"}\n  ```\nDone.'
        values = play(ops.partial_json(Point), answer(*text)).values
        assert values == [Point(""), *map(Point, ["", "T", "To", "Tom", "Tom", "Tom"])]

    def test_constants_are_known_before_they_come(self) -> None:
        """A field that can only be one value has it."""

        class Fixed(pydantic.BaseModel):
            kind: Literal["fixed"]
            name: str

        values = play(ops.partial_json(Fixed), ['{"name": "a', '", "kind": "fixed"}']).values
        assert values == [Fixed(kind="fixed", name="a")] * 2

    def test_an_object_that_needs_one_of_its_own_kind_for_ever_is_never_filled(self) -> None:
        """Nothing is shown before the wrong type is told at the end."""
        run = play(ops.partial_json(Endless), ['{"name": "a', '"}'])
        assert run.values == []
        assert isinstance(run.error, OutputParsingError)

    def test_types_that_hold_themselves(self) -> None:
        """An open object within one of its own kind is filled in at its own level."""
        values = play(ops.partial_json(Model), ['{"Name": "a", "parts": [{"Name": "', 'b"}]}']).values
        assert values == [Model(Name="a", parts=[Model(Name="")]), Model(Name="a", parts=[Model(Name="b")])]

    @given(cuts(st.just(TEA)))
    def test_the_last_snapshot_is_the_same_for_any_cut(self, pieces: tuple[str, ...]) -> None:
        """It is the whole object, and each one before is a Recipe too."""
        values = play(ops.partial_json(Recipe), answer(*pieces)).values
        assert values[-1] == Recipe("T", [Step("a\n", 1)], "é", "recipe")
        assert {Recipe} == set(map(type, values))

    def test_snapshots_that_cost_too_much_stand_for_several_pieces(self) -> None:
        """A list of many elements is not copied for each of them: the cost stays linear, the end is whole."""
        sizes: list[int] = []
        pieces = reactivex.from_iterable(["[", *["1234567, "] * 30_000, "1]"])
        pieces.pipe(ops.partial_json(list[int])).subscribe(lambda value: sizes.append(len(value)))
        assert sizes == sorted(sizes)
        assert sizes[-1] == 30_001
        assert len(sizes) < 10_000


class TestArrayItems:
    """Elements as they close."""

    def test_each_comes_with_the_piece_that_closes_it(self) -> None:
        """Not when the array ends."""
        run = play(ops.array_items(Point), ['[{"name": "a"', "}", ' , {"name"', ': "b"}', "]"])
        assert run.values == [Point("a"), Point("b")]
        assert run.times == [220, 240]

    def test_paths(self) -> None:
        """A dotted text, a sequence of keys for keys with dots, and "*" for elements on the way."""
        text = '{"a.b": [1], "a": {"b": [2]}, "c": [{"d": [3]}, {"d": [4, 5]}]}'
        assert play(ops.array_items(path="a.b"), [text]).values == [2]
        assert play(ops.array_items(path=("a.b",)), [text]).values == [1]
        assert play(ops.array_items(path="c.*.d"), [text]).values == [3, 4, 5]

    @given(cuts(st.just('{"n": [9], "items": [{"name": "a"}, {"name": "b", "x": 2}], "z": {"items": [7]}}')))
    def test_how_the_text_was_cut_is_invisible(self, pieces: tuple[str, ...]) -> None:
        """Any cut gives the same elements."""
        assert play(ops.array_items(Point, path="items"), pieces).values == [Point("a"), Point("b", 2)]

    @pytest.mark.parametrize(
        "pieces",
        [
            ['[{"name": "a"}, {"name": 1}]'],
            ['[{"name": "a"}, {"name": 1}', "]"],
            ['[{"name": "a"}, {"na', 'me": 1}', "]"],
        ],
    )
    def test_elements_before_a_wrong_one_come_first(self, pieces: list[str]) -> None:
        """Then the error says what is wrong with which text, however the text was cut."""
        run = play(ops.array_items(Point), answer(*pieces))
        assert run.values == [Point("a")]
        assert isinstance(run.error, OutputParsingError)
        assert "name" in str(run.error)

    @pytest.mark.parametrize("text", ['{"other": []}', '{"items": {}}', "[1]"])
    def test_no_array_there_is_an_error(self, text: str) -> None:
        """It does not look like an empty one."""
        assert "no array at items" in str(failure(ops.array_items(path="items"), text))


class TestParse:
    """The whole answer."""

    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            (Recipe, '{"title": "a", "steps": [], "note": "n", "kind": "recipe"}', Recipe("a", [], "n", "recipe")),
            (Point, '{"name": "a"}', Point("a")),
            (Place, '{"name": "a", "x": 1}', {"name": "a", "x": 1}),
            (Model, '{"Name": "a"}', Model(Name="a")),
            (list[Model], '[{"Name": "a"}]', [Model(Name="a")]),
            (dict[int, datetime.date], '{"1": "2026-01-02"}', {1: datetime.date(2026, 1, 2)}),
            (int, " 42\n", 42),
            (int, "<think>42 or 43?</think>43", 43),
            (int, "Here:\n```json\n3\n```\n", 3),
            (str, '```\n"blue"\n```', "blue"),
            (int, '```json\n3\n```\nof {"a": 1}', 3),
            (Point, '{"name": "a", "x": 3.0}', Point("a", 3)),
            (dict[str, list[int]], '{"a": [1.0, 2e1]}', {"a": [1, 20]}),
            (None, '{"a": [null, 1.5]}', {"a": [None, 1.5]}),
            (None, '"text"', "text"),
            (None, '{"a": "two\nlines"}', {"a": "two\nlines"}),
            (None, '\ufeff{"a": "\\ud83d"}', {"a": "\ufffd"}),
            (None, '```json\n{"a": 1}\n```', {"a": 1}),
            (None, '```\n{"a": 1}\n```\n```\n[2]\n```', [2]),
            (None, '```json\n{"a": 1}\n```\n```text\n{"b": 2}\n```', {"a": 1}),
            (None, 'A sketch:\n```json\n{"a": ...}\n```\nFinal:\n```json\n{"a": 2}\n```', {"a": 2}),
            (None, 'Here: {"a": 1}\nI hope it helps!', {"a": 1}),
            (None, 'As [1] says, {name} is a hole. {"a": 1} Note [2].', {"a": 1}),
            (None, '<think>{"no": 1}</think>{"a": 1}', {"a": 1}),
            (None, '{"a": 1}<|im_end|>', {"a": 1}),
            (None, '{"a": 1}\n{"a": 2}', {"a": 1}),
            (None, '{"a": [1, 2,], }', {"a": [1, 2]}),
            (None, '{"a": "C:\\Home"}', {"a": "C:\\Home"}),
            (Point, 'See {"x": 1}. The point: {"name": "a"}', Point("a")),
            (None, 'Here:\n\n```python\nx = {}\n```\n~~~\n\n  [1,\n   2]\n~~~\nDone, {"b": 2}. ```[3]```', [1, 2]),
        ],
    )
    def test_values(self, kind: type[object] | None, text: str, value: object) -> None:
        """Typed or plain, in a fenced block or bare; one value, with StreamEnd, for any cut."""
        for pieces in ([text], list(text)):
            run = play(ops.parse(kind), answer(*pieces))
            assert run.values == [value]
            assert run.times == [210 + 10 * len(pieces)]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "no object or array"),
            ("I cannot do that.", "no object or array"),
            ('{"name": "a"', "ended before its JSON did"),
            ('```json\n{"name": "a"\n```\nmore ``` ```', "ended before its JSON did"),
            ('```json\n{"name": "a"', "ended before its JSON did"),
            ('{"name": a}', "a value expected"),
            ('{"nome": "a"} and {"nume": "b"}', "required field `name`"),
            ('{"name": 1}', "Expected `str`, got `int`"),
            ('{"name": "a", "x": 3.5}', "Expected `int`, got `float`"),
            ("```json\n3\n```", "Expected `object`, got `int`"),
            ("[" * 100_000, "levels deep"),
        ],
    )
    def test_errors_hold_the_text(self, text: str, fault: str) -> None:
        """One typed error for all that can be wrong, with the text, and the whole response as `partial`."""
        error = failure(ops.parse(Point), text)
        assert fault in str(error)
        assert text == error.text
        assert whole(text) == error.partial
        assert len(str(error)) < 300

    def test_what_the_type_itself_refuses(self) -> None:
        """A pydantic model's own words are in the message."""
        assert "at least 3" in str(failure(ops.parse(Model), '{"Name": "a", "code": "x"}'))

    @pytest.mark.parametrize("operator", [ops.parse, ops.partial_json, ops.array_items])
    def test_a_type_that_json_cannot_be_is_refused_at_once(self, operator: Any) -> None:
        """Before anything is asked of a model."""
        for kind in (list[OperatorContract], Unreadable):
            with pytest.raises(ConfigurationError, match="no JSON schema can be made"):
                operator(kind)


class TestEndings:
    """What all of them do about wrong, cut and repeated answers."""

    OPERATORS = (ops.partial_json(), ops.array_items(), ops.parse())

    @pytest.mark.parametrize("operator", OPERATORS)
    def test_an_answer_cut_off_is_an_error(self, operator: Any) -> None:
        """A truncation never looks like success; the response tells why."""
        error = play(operator, [TextDelta("[1, "), StreamEnd(whole("[1, ", reason="length"))]).error
        assert isinstance(error, OutputParsingError)
        assert error.partial is not None
        assert error.partial.finish_reason == "length"

    def test_an_array_that_breaks_off_ends_the_stream_at_once(self) -> None:
        """The upstream is disposed with the first wrong character: nothing more is paid for."""
        run = play(ops.array_items(), answer("[1, ", "oh no", "...", "..."))
        assert isinstance(run.error, OutputParsingError)
        assert run.error.text == "[1, oh no"
        assert run.upstream_closed_at == 220

    @pytest.mark.parametrize("size", [1, 4, 1000])
    def test_what_came_before_an_error_is_shown(self, size: int) -> None:
        """Also of the same piece; the error comes at the end, as better JSON may follow."""
        text = '{"a": 1, "b": tru!}'
        run = play(ops.partial_json(), answer(*(text[at : at + size] for at in range(0, len(text), size))))
        assert run.values[-1] == {"a": 1}
        assert isinstance(run.error, OutputParsingError)
        assert "not a JSON value: tru" in str(run.error)

    @pytest.mark.parametrize("size", [1, 4, 1000])
    def test_the_last_snapshot_is_the_best_document(self, size: int) -> None:
        """A sketch that fails, a fenced document, and a bare one in the text: as `parse` has it."""
        for text in (
            '{"a": ...\n```json\n{"a": 2}\n```\nDone.',
            'First\n```\n{"a": 1}\n```\nthen\n```json\n{"a": 2}\n```',
            'Here it is: {"a": 2}',
        ):
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            assert play(ops.partial_json(), answer(*pieces)).values[-1] == {"a": 2}
            assert play(ops.parse(), answer(*pieces)).values == [{"a": 2}]

    def test_items_of_an_array_within_the_text(self) -> None:
        """They come at the end, where no document could be read before."""
        assert play(ops.array_items(), answer("The list: [1, 2]. ", "Done.")).values == [1, 2]

    @pytest.mark.parametrize("operator", OPERATORS)
    def test_a_reset_starts_anew(self, operator: Any) -> None:
        """What came before a StreamReset is void."""
        events = [TextDelta('[{"old'), StreamReset("retry"), *answer("[[1]", ", [2]]")]
        assert play(operator, events).values[-1] in ([[1], [2]], [2])

    @pytest.mark.parametrize("operator", OPERATORS[:2])
    def test_no_text_at_all_is_no_document(self, operator: Any) -> None:
        """An answer that only calls tools holds no JSON text, and is no error."""
        run = play(operator, [ToolCallStart(0, "c", "f"), *answer()])
        assert run.values == []
        assert run.completed
