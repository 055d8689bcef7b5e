"""The visible text, its snapshots, and the whole answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rxllm import operators as ops
from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from rxllm.messages import ReasoningPart, TextPart, ToolCall
from rxllm.operators.text.growing_text import GrowingText

from ..kit import Case, OperatorContract, answer, cuts, play, whole

CALL = ToolCall("c1", "look", {"at": "it"})

CASES = [
    Case("text", ops.text, [ReasoningDelta("hm"), *answer("He", "llo")], ["He", "llo"]),
    Case("reasoning", ops.reasoning, [ReasoningDelta("h"), ReasoningDelta("m"), *answer("Hi")], ["h", "m"]),
    Case("response", ops.response, answer("He", "llo"), [whole("Hello")]),
    Case("accumulate", ops.accumulate, answer("He", "l", "lo"), ["He", "Hel", "Hello"]),
    Case("accumulate of str", ops.accumulate, ["He", "llo"], ["He", "Hello"]),
    Case(
        "accumulate(Response)",
        lambda: ops.accumulate(Response),
        [StreamStart("i", "m"), *answer("He", "llo")],
        [
            Response(id="i", model="m"),
            Response(text="He", id="i", model="m", parts=(TextPart("He"),)),
            Response(text="Hello", id="i", model="m", parts=(TextPart("Hello"),)),
            whole("Hello"),
        ],
    ),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


class TestAccumulate:
    """Snapshots of what has come."""

    def test_a_reset_starts_anew(self) -> None:
        """What came before a StreamReset is in no later snapshot."""
        events = [TextDelta("old"), StreamReset("retry"), TextDelta("ne"), TextDelta("w")]
        assert play(ops.accumulate(), events).values == ["old", "ne", "new"]

    def test_the_last_snapshot_is_the_answer_even_if_nothing_follows_a_reset(self) -> None:
        """Void text is not left standing: an empty snapshot takes its place at the end."""
        assert play(ops.accumulate(), [TextDelta("old"), StreamReset("retry")]).values == ["old", ""]
        twice = [TextDelta("old"), StreamReset("retry"), StreamReset("retry")]
        assert play(ops.accumulate(), twice).values == ["old", ""]

    @given(st.lists(st.text(max_size=5), max_size=30))
    def test_each_snapshot_is_what_came_before_and_the_piece(self, pieces: list[str]) -> None:
        """Snapshots that are all kept, the hardest case for sharing, are all right."""
        wanted = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
        assert wanted == play(ops.accumulate(), map(TextDelta, pieces)).values

    def test_a_response_so_far_has_all_kinds_of_parts_in_their_order(self) -> None:
        """Text, reasoning, tool calls, usage: as the whole response would tell them."""
        events: list[TokenEvent] = [
            ReasoningDelta("h"),
            ReasoningDelta("m"),
            TextDelta("a"),
            ToolCallStart(0, "c1", "look"),
            ToolCallDelta(0, "{}"),
            ToolCallEnd(0, CALL),
            TextDelta("b"),
            VendorEvent("x", {}),
            UsageUpdate(Usage(1, 2, 3)),
        ]
        run = play(ops.accumulate(Response), events)
        parts = (ReasoningPart("hm"), TextPart("a"), CALL, TextPart("b"))
        last = Response(text="ab", reasoning="hm", tool_calls=(CALL,), usage=Usage(1, 2, 3), parts=parts)
        assert last == run.values[-1]
        assert run.times == [210, 220, 230, 260, 270, 290]

    def test_a_reset_voids_the_response_so_far_but_not_who_answers(self) -> None:
        """Text, calls and usage go; the id and model of the stream stay until a new start."""
        events = [StreamStart("i", "m"), TextDelta("a"), ToolCallEnd(0, CALL), StreamReset("r"), TextDelta("b")]
        run = play(ops.accumulate(Response), events)
        assert run.values[-1] == Response(text="b", id="i", model="m", parts=(TextPart("b"),))


class TestGrowingText:
    """Text that is shown whole after each piece."""

    @given(cuts(st.text(max_size=60)), st.integers(0, 4))
    def test_it_is_right_whatever_is_kept(self, pieces: tuple[str, ...], kept: int) -> None:
        """However many snapshots a consumer holds, none changes and the next is right."""
        growing = GrowingText()
        held: list[tuple[str, str]] = []
        for n, piece in enumerate(pieces):
            wanted = "".join(pieces[: n + 1])
            held.append((growing.add(piece), wanted))
            held = held[-kept:] if kept else []
            assert all(shown == text for shown, text in held)
            assert wanted == growing.latest


def test_text_is_silent_about_the_rest() -> None:
    """Tool calls, usage and the ends of the stream make no text."""
    events = [StreamStart(), ToolCallStart(0, "c", "f"), UsageUpdate(Usage()), StreamEnd(Response(text="x"))]
    assert play(ops.text(), events).values == []
