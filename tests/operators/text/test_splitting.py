"""Words, lines, paragraphs: whole, in order, and the same for any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm import operators as ops
from rxllm.events import ReasoningDelta, StreamReset, TextDelta, ToolCallStart, Usage, UsageUpdate

from ..kit import Case, OperatorContract, answer, cuts, play

CASES = [
    Case("words", ops.words, answer("Hel", "lo, wor", "ld"), ["Hello,", "world"]),
    Case("words of str", ops.words, ["Hel", "lo, wor", "ld"], ["Hello,", "world"]),
    Case("lines", ops.lines, answer("on", "e\ntwo\n", "\nthree"), ["one", "two", "", "three"]),
    Case("paragraphs", ops.paragraphs, answer("a\nb\n", "\n\nc"), ["a\nb", "c"]),
]

UNITS = {"words": ops.words, "lines": ops.lines, "paragraphs": ops.paragraphs}

TEXTS = st.text(st.sampled_from("ab \n\r\t.你好「」カ。é"), max_size=40)


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def split(unit: str, *pieces: str) -> list[str]:
    """The units of the text in `pieces`."""
    return list(play(UNITS[unit](), pieces).values)


@pytest.mark.parametrize("unit", UNITS)
@given(pieces=cuts(TEXTS))
def test_how_the_text_was_cut_is_invisible(unit: str, pieces: tuple[str, ...]) -> None:
    """Any cut of a text gives the units of the text in one piece."""
    assert split(unit, "".join(pieces)) == split(unit, *pieces)


@given(cuts(st.text(st.sampled_from("ab.,! \n\t"), max_size=60)))
def test_words_are_those_of_str_split(pieces: tuple[str, ...]) -> None:
    """Where words stand between spaces, they are the ones Python knows."""
    assert "".join(pieces).split() == split("words", *pieces)


@given(cuts(st.text(st.sampled_from("ab \n\r"), max_size=60)))
def test_lines_are_those_of_str_splitlines(pieces: tuple[str, ...]) -> None:
    """Over the three common line ends, lines are the ones Python knows."""
    assert "".join(pieces).splitlines() == split("lines", *pieces)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("你好,世界", ["你", "好", ",", "世", "界"]),
        ("say「はい」 now", ["say", "「は", "い」", "now"]),
        ("カー、x", ["カ", "ー、", "x"]),
        ("「「abc", ["「「", "abc"]),
        ("  \n ", []),
    ],
)
def test_words_without_spaces(text: str, wanted: list[str]) -> None:
    """Han characters and kana are words by themselves, with the punctuation that belongs to them."""
    assert wanted == split("words", text)


def test_a_word_comes_when_the_next_one_begins_not_at_the_end() -> None:
    """Each unit comes with the event that makes it certain."""
    run = play(ops.words(), [TextDelta("Hello"), TextDelta(" "), TextDelta("you")])
    assert run.values == ["Hello", "you"]
    assert run.times == [220, 240]


def test_what_is_held_comes_with_stream_end_not_later() -> None:
    """The last unit comes with StreamEnd, before on_completed."""
    assert play(ops.lines(), answer("a\nb")).times == [210, 220]


@pytest.mark.parametrize("unit", UNITS)
def test_a_reset_drops_what_was_held(unit: str) -> None:
    """Half a unit before a StreamReset is void."""
    events = [TextDelta("old"), StreamReset("retry"), TextDelta("new")]
    assert play(UNITS[unit](), events).values == ["new"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_tool_call_ends_the_text_before_it(unit: str) -> None:
    """What was said before a tool call comes out at the call, and is not glued to what is said after it."""
    events = [TextDelta("before"), UsageUpdate(Usage()), ReasoningDelta(""), ToolCallStart(0, "c", "f")]
    run = play(UNITS[unit](), [*events, TextDelta("after")])
    assert run.values == ["before", "after"]
    assert run.times == [240, 260]
