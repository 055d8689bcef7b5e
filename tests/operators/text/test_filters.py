"""The stream with its text changed: what comes out of the deltas is what the response says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm import ConfigurationError, StreamInterruptedError
from rxllm import operators as ops
from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from rxllm.messages import Part, ReasoningPart, TextPart, ToolCall, VendorPart
from rxllm.operators.text.text_operator import filter_response
from rxllm.operators.text.thinking import _form_of, _ThinkTags

from ..kit import Boom, Case, OperatorContract, Run, answer, cuts, play, whole

CALL = ToolCall("c", "look", {})
STOPPED = Response(text="ab", finish_reason="stop", parts=(TextPart("ab"),))
THOUGHT = Response(text="a", reasoning="hm", finish_reason="stop", parts=(ReasoningPart("hm"), TextPart("a")))

CASES = [
    Case(
        "stop_at, not reached",
        lambda: ops.stop_at("STOP"),
        answer("a S", "T", "b"),
        [TextDelta("a "), TextDelta("STb"), StreamEnd(whole("a STb"))],
    ),
    Case(
        "think_tags",
        ops.think_tags,
        answer("<thi", "nk>h", "m</think>a"),
        [ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("a"), StreamEnd(THOUGHT)],
    ),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def said(events: Sequence[TokenEvent]) -> str:
    """The text of the deltas."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thought(events: Sequence[TokenEvent]) -> str:
    """The reasoning of the deltas."""
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def end_of(run: Run) -> Response:
    """The response in the last event."""
    assert isinstance(run.values[-1], StreamEnd)
    return run.values[-1].response


class TestStopAt:
    """An answer ended at a text."""

    def test_it_ends_with_a_proper_stream_end_and_lets_the_upstream_go(self) -> None:
        """The text before it, StreamEnd with reason "stop", on_completed; the upstream is disposed at once."""
        run = play(ops.stop_at("STOP"), answer("ab", "ST", "OPcd", "ef"))
        assert run.values == [TextDelta("ab"), StreamEnd(STOPPED)]
        assert run.completed
        assert run.upstream_closed_at == 230

    def test_what_was_known_of_the_answer_is_in_its_response(self) -> None:
        """Id, model, usage, reasoning and tool calls that came before the stop text are there."""
        events = [StreamStart("i", "m"), ReasoningDelta("hm"), ToolCallStart(0, "c", "look"), ToolCallEnd(0, CALL)]
        run = play(ops.stop_at("X"), [*events, UsageUpdate(Usage(3)), *answer("abX")])
        parts = (ReasoningPart("hm"), CALL, TextPart("ab"))
        wanted = Response("ab", "hm", (CALL,), "stop", usage=Usage(3), id="i", model="m", parts=parts)
        assert wanted == end_of(run)

    @pytest.mark.parametrize(
        ("stops", "text", "wanted"),
        [
            (["END"], "aENENDb", "aEN"),
            (["aab"], "aaab", "a"),
            (["abcdef", "cd"], "abcdef", "ab"),
            (["bc", "abc"], "abc", ""),
            (["\n\n", "."], "one\ntwo. three", "one\ntwo"),
            (["x"], "abc", "abc"),
        ],
    )
    def test_the_first_to_be_complete_counts(self, stops: list[str], text: str, wanted: str) -> None:
        """Of several, the one that is complete first; of those complete together, the longest."""
        run = play(ops.stop_at(*stops), answer(*text))
        assert wanted == said(run.values) == end_of(run).text

    @given(
        cuts(st.text(st.sampled_from("abc"), max_size=20)),
        st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=3),
    )
    def test_how_the_text_was_cut_is_invisible(self, pieces: tuple[str, ...], stops: list[str]) -> None:
        """Any cut gives the text before the first stop text, and never a part of it."""
        text = "".join(pieces)
        ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
        run = play(ops.stop_at(*stops), answer(*pieces))
        wanted = text[: min(ends)[1]] if ends else text
        assert wanted == said(run.values)
        assert said(run.values) == end_of(run).text
        assert run.completed

    def test_a_reset_forgets_half_a_stop_text(self) -> None:
        """What was held back before a StreamReset is void, and so is what was said."""
        run = play(ops.stop_at("STOP"), [TextDelta("old ST"), StreamReset("retry"), TextDelta("OP ab STOP")])
        assert run.values[-2:] == [TextDelta("OP ab "), StreamEnd(whole("OP ab "))]

    @pytest.mark.parametrize("stops", [[], [""], ["a", ""]])
    def test_no_text_to_stop_at_is_a_mistake(self, stops: list[str]) -> None:
        """It is refused at once, before anything is asked of a model."""
        with pytest.raises(ConfigurationError, match="stop_at"):
            ops.stop_at(*stops)


START = "<|start|>assistant"
THOUGHTS = [
    ("<think>a</think>b", "b", "a"),
    ("\n\n<think>a</think>b", "\n\nb", "a"),
    ("<think></think>Answer.", "Answer.", ""),
    ("<think>Reason.</think>Before.<think></think>After.", "Before.<think></think>After.", "Reason."),
    ("Use `<think>draft</think>` as the tag.", "Use `<think>draft</think>` as the tag.", ""),
    ("The tag <think> opens a thought.", "The tag <think> opens a thought.", ""),
    ("<think>still thinking", "", "still thinking"),
    ("<think>deep</thi", "", "deep</thi"),
    ("answer: <th", "answer: <th", ""),
    ("a </think>b", "a </think>b", ""),
    ("</think>\n\nb</think>", "\n\nb</think>", ""),
    ("\n</think><think>a</think>b", "\nb", "a"),
    ("</thi", "</thi", ""),
    ("<think>a <think>b</think> c</think>answer", "answer", "a <think>b</think> c"),
    ("<think>a <think>b <think>c</think>d</think>e</think>f", "f", "a <think>b <think>c</think>d</think>e"),
    ("<think>a <think> is a tag.</think>answer", "answer", "a <think> is a tag."),
    ("<think><think>a</think>answer", "answer", "a"),
    ("<think>\n<think>a</think>answer", "answer", "\na"),
    ('<thinking reason="x">a</thinking>b', "b", "a"),
    ("<thinker>a</thinker>", "<thinker>a</thinker>", ""),
    ("<think " + "x" * 300, "<think " + "x" * 300, ""),
    ("<think/>b", "b", ""),
    ("<think />\n<think>a</think>b", "\nb", "a"),
    ("<think>a <think/> b</think>c", "c", "a <think/> b"),
    ("<think>a</think>\n<think>b</think>\n\nc", "\n\n\nc", "ab"),
    ("<think>a</think>[THINK]b[/THINK]c<think>d", "c<think>d", "ab"),
    ("\ufeff<think>a</think>b", "\ufeffb", "a"),
    ("[THINK]a[/THINK]b", "b", "a"),
    ("◁think▷a◁/think▷b", "b", "a"),
    ("<|channel>thought\na<channel|>b", "b", "a"),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b", "a"),
    ("<|channel|>final<|message|>b <|channel|><|return|>", "b <|channel|>", ""),
    ("<|start|>assistant<|channel|>final<|message|>b", "b", ""),
    (f"{START}<|channel|>analysis<|message|>a<|end|>{START}<|channel|>final<|message|>b", "b", "a"),
    ("<|channel|>fin", "<|channel|>fin", ""),
    ("analysisWe need.assistantfinalfour", "analysisWe need.assistantfinalfour", ""),
]
"""What a model wrote, what of it is visible, and what is reasoning."""


class TestThinkTags:
    """Inline tags as reasoning."""

    @given(
        cuts(
            st.lists(
                st.sampled_from(
                    [
                        "<think>",
                        "<think/>",
                        "<think a='b'>",
                        "</think>",
                        "<",
                        "th",
                        ">",
                        "a",
                        "\n",
                        "[THINK]",
                        "[/THINK]",
                    ]
                ),
                max_size=12,
            ).map("".join)
        ),
        st.booleans(),
    )
    def test_how_the_text_was_cut_is_invisible(self, pieces: tuple[str, ...], opened: bool) -> None:
        """Any cut gives the text and reasoning of the text in one piece, and the response agrees."""
        whole_run = play(ops.think_tags(opened=opened), answer("".join(pieces)))
        run = play(ops.think_tags(opened=opened), answer(*pieces))
        assert (said(whole_run.values), thought(whole_run.values)) == (said(run.values), thought(run.values))
        assert (end_of(run).text, end_of(run).reasoning) == (said(run.values), thought(run.values))

    @pytest.mark.parametrize("size", [1, 3, 1000])
    @pytest.mark.parametrize(("text", "visible", "hidden"), THOUGHTS)
    def test_what_models_write(self, text: str, visible: str, hidden: str, size: int) -> None:
        """The forms of models, nesting, repeated tags, and tags that an answer only mentions."""
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        run = play(ops.think_tags(), answer(*pieces))
        assert (visible, hidden) == (said(run.values), thought(run.values))
        assert (visible, hidden) == (end_of(run).text, end_of(run).reasoning)

    def test_a_template_may_repeat_the_tag(self) -> None:
        """The answer begins inside, and the model writes the opening tag all the same."""
        run = play(ops.think_tags(opened=True), answer(*"<think>a</think>b"))
        assert ("b", "a") == (said(run.values), thought(run.values))

    @pytest.mark.parametrize("tag", ["", 3, None, "<think>", ("a",), ("", "b"), ("a", ""), "a b"])
    def test_what_is_no_tag_is_refused(self, tag: Any) -> None:
        """At once, with what it takes."""
        with pytest.raises(ConfigurationError, match="think_tags"):
            ops.think_tags(tag)

    def test_the_answer_may_begin_inside(self) -> None:
        """Where a chat template opens the tag in the prompt, all up to the closing tag is reasoning."""
        run = play(ops.think_tags(opened=True), answer("h", "m</th", "ink>a"))
        assert run.values == [ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("a"), StreamEnd(THOUGHT)]

    def test_other_names(self) -> None:
        """Each tag ends with its own closing tag."""
        run = play(ops.think_tags("plan", "thought"), answer("<plan>a</thought>b</plan>c<thought>"))
        assert (said(run.values), thought(run.values)) == ("c<thought>", "a</thought>b")
        run = play(ops.think_tags(("{{", "}}")), answer(*"{{a}}b"))
        assert (said(run.values), thought(run.values)) == ("b", "a")

    def test_a_reset_opens_no_tag(self) -> None:
        """After a StreamReset the text begins outside again."""
        run = play(ops.think_tags(), [TextDelta("<think>old"), StreamReset("retry"), TextDelta("new")])
        assert run.values == [ReasoningDelta("old"), StreamReset("retry"), TextDelta("new")]


class TestOrder:
    """What is held back overtakes nothing, and is not overtaken by what ends it."""

    def test_usage_and_vendor_events_pass_while_text_is_held(self) -> None:
        """They are not part of the text: half a stop text stays held, and is found."""
        events = [TextDelta("a ST"), UsageUpdate(Usage(1)), VendorEvent("x", {}), TextDelta("OP")]
        run = play(ops.stop_at("STOP"), events)
        assert run.values[:3] == [TextDelta("a "), UsageUpdate(Usage(1)), VendorEvent("x", {})]
        assert end_of(run).text == "a "

    def test_a_tool_call_comes_after_the_text_before_it(self) -> None:
        """Text that was held back is given out before the call, for the order of parts."""
        events = [TextDelta("a ST"), ToolCallStart(0, "c", "look"), TextDelta("OP")]
        wanted = [TextDelta("a "), TextDelta("ST"), ToolCallStart(0, "c", "look"), TextDelta("OP")]
        assert wanted == play(ops.stop_at("STOP"), events).values

    def test_without_stream_end_what_was_held_comes_at_the_end(self) -> None:
        """A stream of deltas alone loses nothing."""
        assert play(ops.stop_at("STOP"), [TextDelta("a ST")]).values == [TextDelta("a "), TextDelta("ST")]


class TestErrors:
    """An error's partial response agrees with what came."""

    def test_its_partial_response_is_filtered_on_a_copy(self) -> None:
        """The error keeps its kind, cause and traceback; the upstream's own object is not changed."""
        error = StreamInterruptedError("cut", partial=Response(text="<think>hm</think>a", parts=()))
        error.__cause__ = Boom()
        run = play(ops.think_tags(), [TextDelta("<think>hm</think>a")], error=error)
        assert isinstance(run.error, StreamInterruptedError)
        assert run.error.partial == Response(text="a", reasoning="hm")
        assert run.error.__cause__ is error.__cause__
        assert error.partial == Response(text="<think>hm</think>a")

    @pytest.mark.parametrize(
        "error", [Boom(), StreamInterruptedError("cut"), StreamInterruptedError("cut", partial=whole("a"))]
    )
    def test_an_error_without_anything_to_change_is_passed_as_it_is(self, error: Exception) -> None:
        """The same object."""
        assert play(ops.think_tags(), [TextDelta("a <")], error=error).error is error

    def test_its_partial_response_ends_at_the_stop_text_too(self) -> None:
        """Text that had arrived behind it is not in the partial response either."""
        partial = Response(text="a STOP b", parts=(TextPart("a STOP"), TextPart(" b")))
        run = play(ops.stop_at("STOP"), [TextDelta("a ST")], error=StreamInterruptedError("cut", partial=partial))
        assert isinstance(run.error, StreamInterruptedError)
        assert run.error.partial == Response(text="a ", parts=(TextPart("a "),))

    def test_what_was_held_back_is_not_emitted(self) -> None:
        """It may be half of what must not be seen; the partial response has it."""
        assert play(ops.stop_at("STOP"), [TextDelta("a ST")], error=Boom()).values == [TextDelta("a ")]


SIGNED = {"gemini": {"signature": "s"}}


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ([TextPart(" <th"), TextPart("ink>b</think>c")], [TextPart(" "), ReasoningPart("b"), TextPart("c")]),
        ([TextPart("a<th"), CALL, TextPart("ink>")], [TextPart("a<th"), CALL, TextPart("ink>")]),
        (
            [TextPart(" <th"), VendorPart("w", {}), TextPart("ink>b")],
            [TextPart(" "), VendorPart("w", {}), ReasoningPart("b")],
        ),
        ([TextPart("<think>a</think>b", SIGNED)], [ReasoningPart("a"), TextPart("b", SIGNED)]),
        ([TextPart("<think>a", SIGNED)], [ReasoningPart("a"), TextPart("", SIGNED)]),
        ([ReasoningPart("x", SIGNED), TextPart("a<")], [ReasoningPart("x", SIGNED), TextPart("a<")]),
        ([TextPart("<"), TextPart("x")], [TextPart("<x")]),
        ([TextPart("<")], [TextPart("<")]),
        ([TextPart("<think></th", SIGNED)], [TextPart("", SIGNED), ReasoningPart("</th")]),
    ],
)
def test_the_parts_of_a_response_are_filtered_in_their_order(parts: list[Part], wanted: list[Part]) -> None:
    """Tags are found across parts of one run; other parts, and what vendors want back, stay."""
    before = Response(parts=tuple(parts), id="i", usage=Usage(1))
    after = filter_response(before, _ThinkTags([_form_of("think")], False))
    assert tuple(wanted) == after.parts
    assert after.text == "".join(part.text for part in wanted if isinstance(part, TextPart))
    assert (after.id, after.usage) == ("i", Usage(1))
