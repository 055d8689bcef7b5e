"""After a cut in the middle of an answer, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.testing import TestScheduler

import rxllm
from rxllm import Message, Response, ToolCall, Usage
from rxllm import operators as ops
from rxllm.events import (
    ReasoningDelta,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from rxllm.messages import ReasoningPart, TextPart
from rxllm.operators.resilience.answer_joining import OverlapRemover, join_responses
from rxllm.operators.resilience.recover import Ask, recover

from .. import kit
from ..kit import Case, OperatorContract
from ..virtual import START, Seen, Tries, answer, cold, play, whole

CUT = rxllm.StreamInterruptedError("cut")
RESET = StreamReset("StreamInterruptedError: cut")
PROMPT = [Message.user("Say it")]


def never(_: Sequence[Message]) -> Observable[TokenEvent]:
    return rx.never()


CASES = [
    Case("restart", lambda: recover("restart"), kit.answer("a", "b"), kit.answer("a", "b")),
    Case(
        "continue", lambda: recover("continue", lambda _: rx.never(), "Hi"), kit.answer("a", "b"), kit.answer("a", "b")
    ),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def cut(text: str, usage: Usage | None = None) -> rxllm.StreamInterruptedError:
    """The error of a stream that was cut after `text`, as the stream core makes it."""
    partial = Response(text=text, parts=(TextPart(text),) if text else (), usage=usage or Usage(), id="first")
    return rxllm.StreamInterruptedError("cut", partial=partial)


class Asked:
    """A model that gives these streams in turn, and remembers what it was asked."""

    def __init__(self, *streams: Observable[TokenEvent]) -> None:
        self.prompts: list[list[Message]] = []
        self._streams = iter(streams)

    def __call__(self, messages: Sequence[Message]) -> Observable[TokenEvent]:
        self.prompts.append(list(messages))
        return next(self._streams)


def cut_after(scheduler: TestScheduler, *pieces: str, usage: Usage | None = None) -> Observable[TokenEvent]:
    """A stream that is cut after these pieces of text."""
    return cold(scheduler, [START, *map(TextDelta, pieces)], cut("".join(pieces), usage))


def no_jitter(low: float, high: float) -> float:
    return 0.0


def continued(
    first: Callable[[TestScheduler], Observable[TokenEvent]],
    *then: Callable[[TestScheduler], Observable[TokenEvent]],
    max_recoveries: int = 2,
) -> tuple[Seen, Asked]:
    """What is seen of `first` where it is continued by `then`, and what was asked for it."""
    scheduler = TestScheduler()
    asked = Asked(*(make(scheduler) for make in then))
    operator = recover("continue", asked, PROMPT, max_recoveries=max_recoveries, jitter=no_jitter)
    return play(scheduler, lambda: first(scheduler).pipe(operator)), asked


class TestContinue:
    """The model goes on from where it was cut."""

    def test_the_texts_are_joined(self) -> None:
        """No text is shown twice, there is one StreamStart, and the end holds it all."""
        seen, asked = continued(
            lambda s: cut_after(s, "Hel", "lo", usage=Usage(5, 2, 7)),
            lambda s: cold(s, answer(" wor", "ld", usage=Usage(9, 3, 12))),
        )
        assert seen.values[:-1] == [START, *map(TextDelta, ["Hel", "lo", " wor", "ld"])]
        assert seen.completed
        assert (seen.response.text, seen.response.message.text) == ("Hello world", "Hello world")
        assert seen.response.usage == Usage(14, 5, 19)
        assert asked.prompts == [[*PROMPT, Message.assistant("Hello")]]

    @pytest.mark.parametrize(
        ("shown", "continuation", "expected"),
        [
            ("The quick brown fox", [" jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", ["The quick brown fox jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", ["The ", "quick", " brown", " fox", " jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", ["brown fox jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", [" brown", " fox", " jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", ["ck brown fox jumps"], "The quick brown fox jumps"),
            ("The quick brown fox", ["The quick brown fox"], "The quick brown fox"),
            ("The quick brown fox", ["brown", "ies are sweet"], "The quick brown foxbrownies are sweet"),
            ("Hello ", [" world"], "Hello world"),
            ("Hello ", ["world"], "Hello world"),
            ("Hello\n", ["\n", "\n", "World"], "Hello\n\nWorld"),
            ("Hello \n", ["Hello world"], "Hello \nworld"),
            ("It was really", [" really good"], "It was really really good"),
            ("[1, 0, 0, ", ["0, 0]"], "[1, 0, 0, 0, 0]"),
            ("[", ["[1]]"], "[[1]]"),
            ("        }\n", ["    }\n}"], "        }\n    }\n}"),
            ("It rains. ha ha ha ha ha ", ["ha ha ha ha ha!"], "It rains. ha ha ha ha ha ha ha ha ha ha!"),
            ("-> wait; wait; wait; ", ["wait; wait; wait; go"], "-> wait; wait; wait; wait; wait; wait; go"),
            ("你好世界,今天天气很好", ["今天天气很好,我们去"], "你好世界,今天天气很好,我们去"),
            ("你好世界,很好", ["很好,我们去"], "你好世界,很好很好,我们去"),
            ("你好世界,今天天气真的非常好", ["今天天气真的非常好,我们去"], "你好世界,今天天气真的非常好,我们去"),
        ],
    )
    def test_what_the_server_repeats_is_dropped(self, shown: str, continuation: list[str], expected: str) -> None:
        """All of it or an end of it, but nothing that may be meant."""
        seen, _ = continued(lambda s: cut_after(s, shown), lambda s: cold(s, answer(*continuation)))
        assert seen.text == expected
        assert seen.response.text == expected
        assert seen.response.message.text == expected

    def test_what_is_no_repetition_is_not_held_back(self) -> None:
        """The first piece of the continuation is shown when it comes."""
        seen, _ = continued(lambda s: cut_after(s, "The quick"), lambda s: cold(s, answer(" brown", " fox")))
        assert [time for time, event in zip(seen.times, seen.values, strict=True) if event == TextDelta(" brown")] == [
            4
        ]

    def test_white_space_at_the_end_is_not_sent(self) -> None:
        """Anthropic refuses it."""
        _, asked = continued(lambda s: cut_after(s, "Hello \n"), lambda s: cold(s, answer("world")))
        assert asked.prompts[0][-1] == Message.assistant("Hello")

    def test_a_prompt_that_is_a_prefix_already_grows(self) -> None:
        """There is one beginning of the answer, not two."""
        scheduler = TestScheduler()
        asked = Asked(cold(scheduler, answer("c")))
        prompt = [Message.user("Count"), Message.assistant("a, ")]
        stream = cut_after(scheduler, "b, ").pipe(recover("continue", asked, prompt, jitter=no_jitter))
        assert play(scheduler, lambda: stream).text == "b, c"
        assert asked.prompts == [[Message.user("Count"), Message.assistant("a, b,")]]

    def test_cut_more_than_once(self) -> None:
        """Each try goes on from all that was shown."""
        seen, asked = continued(
            lambda s: cut_after(s, "One, ", usage=Usage(1, 1, 2)),
            lambda s: cut_after(s, "two, ", usage=Usage(10, 10, 20)),
            lambda s: cold(s, answer("three", usage=Usage(100, 100, 200))),
        )
        assert seen.response.text == "One, two, three"
        assert seen.response.usage == Usage(111, 111, 222)
        assert [prompt[-1].text for prompt in asked.prompts] == ["One,", "One, two,"]

    def test_cut_once_too_often(self) -> None:
        """The last error tells all that stands, and what all of it cost."""
        seen, _ = continued(
            lambda s: cut_after(s, "One, ", usage=Usage(1, 1, 2)),
            lambda s: cut_after(s, "two", usage=Usage(10, 10, 20)),
            max_recoveries=1,
        )
        assert seen.text == "One, two"
        assert isinstance(seen.error, rxllm.StreamInterruptedError)
        assert seen.error.partial is not None
        assert (seen.error.partial.text, seen.error.partial.usage) == ("One, two", Usage(11, 11, 22))
        assert seen.error.partial.message.text == "One, two"

    def test_cut_inside_a_repetition(self) -> None:
        """What was held back is not shown, and is not lost: the next try says it."""
        shown = "The quick brown fox"
        seen, asked = continued(
            lambda s: cut_after(s, shown), lambda s: cut_after(s, "The quick"), lambda s: cold(s, answer(" jumps"))
        )
        assert seen.text == seen.response.text == "The quick brown fox jumps"
        assert [prompt[-1].text for prompt in asked.prompts] == [shown, shown]

    def test_a_continuation_that_only_ends(self) -> None:
        """The cut came after the last word."""
        seen, _ = continued(lambda s: cut_after(s, "All of it."), lambda s: cold(s, answer()))
        assert (seen.text, seen.response.text) == ("All of it.", "All of it.")

    def test_a_continuation_that_is_short_enough_to_be_a_repetition(self) -> None:
        """What never became one is shown at the end."""
        seen, _ = continued(lambda s: cut_after(s, "So. Hello my good friend"), lambda s: cold(s, answer(".")))
        assert seen.text == seen.response.text == "So. Hello my good friend."

    def test_reasoning_alone_begins_again(self) -> None:
        """There is no text to go on from, so nothing is shown twice."""
        first = [START, ReasoningDelta("hm")]
        seen, asked = continued(lambda s: cold(s, first, CUT), lambda s: cold(s, answer("Hello")))
        assert seen.values == [*first, RESET, TextDelta("Hello"), seen.values[-1]]
        assert asked.prompts == [PROMPT]

    def test_reasoning_before_the_text_stays(self) -> None:
        """The whole answer has its reasoning, and its text as one part."""
        first = [START, ReasoningDelta("hm"), TextDelta("Hello")]
        seen, asked = continued(lambda s: cold(s, first, CUT), lambda s: cold(s, answer(" world")))
        assert (seen.response.reasoning, seen.response.text) == ("hm", "Hello world")
        assert seen.response.parts == (ReasoningPart("hm"), TextPart("Hello world"))
        assert asked.prompts == [[*PROMPT, Message.assistant("Hello")]]

    def test_a_tool_call_is_not_continued(self) -> None:
        """Nobody can go on inside one: its error goes on."""
        first = [START, TextDelta("Let me see"), ToolCallStart(0, "1", "look")]
        seen, asked = continued(lambda s: cold(s, first, CUT))
        assert seen.values == first
        assert seen.error is CUT
        assert asked.prompts == []

    def test_a_tool_call_without_text_begins_again(self) -> None:
        """No text is repeated by that."""
        first = [START, ToolCallStart(0, "1", "look")]
        seen, _ = continued(lambda s: cold(s, first, CUT), lambda s: cold(s, answer("Hello")))
        assert seen.values[2:4] == [RESET, TextDelta("Hello")]

    def test_a_continuation_may_call_tools(self) -> None:
        """What was held back comes before the call."""
        call = ToolCall("1", "look", {})
        response = Response(text="So", tool_calls=(call,), parts=(TextPart("So"), call))
        then = [START, TextDelta("So"), ToolCallStart(0, "1", "look"), ToolCallEnd(0, call), StreamEnd(response)]
        seen, _ = continued(lambda s: cut_after(s, "Some words here. So we go on. "), lambda s: cold(s, then))
        assert seen.values[2:-1] == [TextDelta("So"), *then[2:-1]]
        assert seen.response.tool_calls == (call,)
        assert seen.response.parts == (TextPart("Some words here. So we go on. So"), call)

    def test_usage_on_the_way_is_the_sum_so_far(self) -> None:
        """Each update replaces the one before, as always."""
        seen, _ = continued(
            lambda s: cold(s, [START, UsageUpdate(Usage(5, 1)), TextDelta("a")], cut("a", Usage(5, 1))),
            lambda s: cold(s, [START, UsageUpdate(Usage(7, 0)), *answer("b", usage=Usage(7, 2))[1:]]),
        )
        assert [event.usage for event in seen.values if isinstance(event, UsageUpdate)] == [Usage(5, 1), Usage(12, 1)]
        assert seen.response.usage == Usage(12, 3)

    def test_what_nobody_counted_is_estimated(self) -> None:
        """And the sum says so."""
        seen, _ = continued(
            lambda s: cold(s, [START, TextDelta("Hello there, ")], CUT),
            lambda s: cold(s, answer("you", usage=Usage(10, 1, 11))),
        )
        usage = seen.response.usage
        assert usage.estimated
        assert usage.output_tokens == 4
        assert usage.input_tokens is not None
        assert usage.input_tokens > 10

    def test_asking_that_raises(self) -> None:
        """What it says is told, with all that stands."""
        scheduler = TestScheduler()
        problem = rxllm.ConfigurationError("this provider cannot")

        def ask(_: Sequence[Message]) -> Observable[TokenEvent]:
            raise problem

        stream = cut_after(scheduler, "a").pipe(recover("continue", ask, PROMPT, jitter=no_jitter))
        assert play(scheduler, lambda: stream).error is problem
        assert problem.partial is not None
        assert problem.partial.text == "a"

    @pytest.mark.parametrize(
        "arguments", [(), (lambda _: rx.never(),), (None, "Hi")], ids=["neither", "no prompt", "no ask"]
    )
    def test_needs_the_model_and_the_prompt(self, arguments: tuple[Ask, str]) -> None:
        """A continuation cannot be asked for without."""
        with pytest.raises(rxllm.ConfigurationError, match="prompt"):
            recover("continue", *arguments)


class TestRestart:
    """The answer begins again, and says so."""

    def test_a_reset_voids_what_came_before(self) -> None:
        """Right before the new answer's first content."""
        scheduler = TestScheduler()
        first = cold(scheduler, [START, TextDelta("Hel")], cut("Hel", Usage(5, 1, 6)))
        tries = Tries(scheduler, first, cold(scheduler, answer("Good", " day", usage=Usage(5, 2, 7))))
        seen = play(scheduler, lambda: tries.stream.pipe(recover("restart", jitter=no_jitter)))
        assert seen.values[:-1] == [START, TextDelta("Hel"), RESET, TextDelta("Good"), TextDelta(" day")]
        assert seen.response.text == "Good day"
        assert seen.response.usage == Usage(10, 3, 13)

    def test_accumulating_operators_honour_it(self) -> None:
        """No text is shown twice."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cut_after(scheduler, "Hel"), cold(scheduler, answer("Hello", " you")))
        operator = recover("restart", jitter=no_jitter)
        seen = play(scheduler, lambda: tries.stream.pipe(operator, ops.accumulate()))
        assert seen.values == ["Hel", "Hello", "Hello you"]

    def test_the_model_may_be_asked_instead(self) -> None:
        """For a stream that cannot be subscribed to twice."""
        scheduler = TestScheduler()
        asked = Asked(cold(scheduler, answer("Hello")))
        seen = play(
            scheduler, lambda: cut_after(scheduler, "Hel").pipe(recover("restart", asked, PROMPT, jitter=no_jitter))
        )
        assert seen.response.text == "Hello"
        assert asked.prompts == [PROMPT]

    def test_what_was_seen_stands_where_no_other_answer_comes(self) -> None:
        """No reset without an answer to take the place."""
        scheduler = TestScheduler()
        busy = rxllm.OverloadedError("busy")
        tries = Tries(scheduler, cut_after(scheduler, "Hel"), cold(scheduler, [START], busy))
        seen = play(scheduler, lambda: tries.stream.pipe(recover("restart", jitter=no_jitter)))
        assert seen.values == [START, TextDelta("Hel")]
        assert seen.error is busy
        assert busy.partial is not None
        assert busy.partial.text == "Hel"
        assert len(tries.times) == 3

    def test_waits_like_retry(self) -> None:
        """Full jitter, and Retry-After."""
        scheduler = TestScheduler()
        overloaded = rxllm.OverloadedError("busy", retry_after=9.0)
        tries = Tries(
            scheduler,
            cold(scheduler, [TextDelta("a")], CUT),
            cold(scheduler, [TextDelta("b")], overloaded),
            cold(scheduler, answer("c")),
        )
        play(scheduler, lambda: tries.stream.pipe(recover("restart", base_delay=2.0, jitter=lambda _, high: high)))
        assert tries.times == [200.0, 203.0, 213.0]

    @pytest.mark.parametrize("error", [rxllm.BadRequestError("400"), rxllm.APITimeoutError("over", phase="total")])
    def test_what_would_fail_again_is_told(self, error: Exception) -> None:
        """The classes of errors are those of all recovery."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [TextDelta("a")], error))
        assert play(scheduler, lambda: tries.stream.pipe(recover("restart"))).error is error
        assert len(tries.times) == 1

    def test_before_content_there_is_nothing_to_recover(self) -> None:
        """That is for retry."""
        scheduler = TestScheduler()
        tries = Tries(scheduler, cold(scheduler, [START], CUT))
        assert play(scheduler, lambda: tries.stream.pipe(recover("restart"))).error is CUT
        assert len(tries.times) == 1

    @pytest.mark.parametrize("disposed", [3, 60])
    def test_disposing_ends_the_wait_and_the_try(self, disposed: float) -> None:
        """Nothing more is asked, nothing more is open."""
        scheduler = TestScheduler()
        second = cold(scheduler, answer("b"), step=100)
        tries = Tries(scheduler, cold(scheduler, [TextDelta("a")], CUT), second)
        operator = recover("restart", jitter=lambda _, __: 10.0)
        play(scheduler, lambda: tries.stream.pipe(operator), disposed=disposed)
        assert [each.unsubscribe for each in second.subscriptions] == ([260.0] if disposed == 60 else [])

    def test_needs_a_known_mode(self) -> None:
        """There are two."""
        with pytest.raises(rxllm.ConfigurationError, match="continue"):
            recover("again")  # type: ignore[arg-type]  # wrong on purpose


class TestSeam:
    """The pure step between two texts."""

    @given(st.text(min_size=1, max_size=60), st.lists(st.text(max_size=8), max_size=12))
    def test_what_is_new_and_what_was_dropped_is_all(self, shown: str, pieces: list[str]) -> None:
        """However it is cut, nothing is lost but the beginning that is counted as dropped."""
        seam = OverlapRemover(shown)
        new = "".join([*map(seam.feed, pieces), seam.flush()])
        said = "".join(pieces)
        assert new == said[seam.dropped :]

    @given(st.text(alphabet="abc \n", min_size=1, max_size=40), st.integers(0, 40), st.data())
    def test_how_it_is_cut_makes_no_difference(self, shown: str, begin: int, data: st.DataObject) -> None:
        """One piece or many."""
        continuation = shown.rstrip()[begin:] + data.draw(st.text(alphabet="abc \n", max_size=20))
        pieces = data.draw(kit.cuts(st.just(continuation))) if continuation else ()
        whole_seam, cut_seam = OverlapRemover(shown), OverlapRemover(shown)
        expected = whole_seam.feed(continuation) + whole_seam.flush()
        assert "".join([*map(cut_seam.feed, pieces), cut_seam.flush()]) == expected

    @given(st.text(alphabet="abcdefghijklmnop ", min_size=12, max_size=60), st.data())
    def test_a_server_that_says_it_all_again(self, text: str, data: st.DataObject) -> None:
        """Mistral's way: the joined text is the text."""
        if not text.strip():
            return
        at = data.draw(st.integers(1, len(text)))
        if not text[:at].strip():
            return
        seam = OverlapRemover(text[:at])
        pieces = data.draw(kit.cuts(st.just(text)))
        joined_text = text[:at] + "".join([*map(seam.feed, pieces), seam.flush()])
        assert joined_text.split() == text.split()

    def test_a_long_text_costs_no_more_than_its_end(self) -> None:
        """A hundred thousand characters are joined in no time."""
        shown = "".join(f"word{n} " for n in range(15_000))
        seam = OverlapRemover(shown)
        assert seam.feed("word15000") == "word15000"

    def test_parts_keep_what_their_vendor_wants_back(self) -> None:
        """The joined part has the later one's fields."""
        earlier = Response(text="a", parts=(TextPart("a"),), timing=rxllm.Timing(0.1, 1.0))
        later = Response(
            text="ab", parts=(TextPart("ab", {"gemini": {"sig": "x"}}),), timing=rxllm.Timing(0.2, 2.0), id="2"
        )
        both = join_responses(earlier, later, dropped=1)
        assert both.parts == (TextPart("ab", {"gemini": {"sig": "x"}}),)
        assert both.timing == rxllm.Timing(0.1, 3.0)
        assert both.id == "2"


def test_an_upstream_reset_voids_what_was_joined() -> None:
    """A fallback that begins again is not glued to what it voids."""
    reset = StreamReset("fallback")
    then = [StreamStart(), TextDelta("x"), reset, TextDelta("Anew"), StreamEnd(whole("Anew"))]
    seen, _ = continued(lambda s: cut_after(s, "Hello there "), lambda s: cold(s, then))
    assert seen.values[-3:-1] == [reset, TextDelta("Anew")]
    assert seen.response.text == "Anew"


TEXT = "# Bees\n\nBees **dance**. Why?\n\n```py\ndance()\n```\n"
JSON = '{"bees": [1, 2, 3], "dance": "round"}'
CALL = ToolCall("2", "dance", {})


def told(text: str) -> list[TokenEvent]:
    """An answer in small pieces."""
    return kit.answer(*(text[at : at + 5] for at in range(0, len(text), 5)))


PROSE = ([TextDelta("A wasp is no bee ```py\nst"), ToolCallStart(0, "1", "sting")], told(TEXT))
DATA: tuple[list[TokenEvent], list[TokenEvent]] = ([TextDelta('{"bees": [9, 8')], told(JSON))
CALLS: tuple[list[TokenEvent], list[TokenEvent]] = (
    [ToolCallStart(0, "1", "sting")],
    [ToolCallStart(0, "2", "dance"), ToolCallEnd(0, CALL), StreamEnd(Response(tool_calls=(CALL,), parts=(CALL,)))],
)


@pytest.mark.parametrize(
    ("operator", "answers"),
    [
        pytest.param(ops.accumulate(), PROSE, id="accumulate"),
        pytest.param(ops.accumulate(Response), PROSE, id="accumulate(Response)"),
        pytest.param(ops.response(), PROSE, id="response"),
        pytest.param(ops.words(), PROSE, id="words"),
        pytest.param(ops.lines(), PROSE, id="lines"),
        pytest.param(ops.paragraphs(), PROSE, id="paragraphs"),
        pytest.param(ops.sentences(), PROSE, id="sentences"),
        pytest.param(ops.code_blocks(), PROSE, id="code_blocks"),
        pytest.param(ops.markdown_blocks(), PROSE, id="markdown_blocks"),
        pytest.param(ops.grapheme_safe(), PROSE, id="grapheme_safe"),
        pytest.param(ops.think_tags(), PROSE, id="think_tags"),
        pytest.param(ops.stop_at("Why"), PROSE, id="stop_at"),
        pytest.param(ops.replace("dance", "hum"), PROSE, id="replace"),
        pytest.param(ops.redact("dance"), PROSE, id="redact"),
        pytest.param(ops.partial_json(dict), DATA, id="partial_json"),
        pytest.param(ops.array_items(int, path="bees"), DATA, id="array_items"),
        pytest.param(ops.parse(dict), DATA, id="parse"),
        pytest.param(ops.tool_calls(), CALLS, id="tool_calls"),
    ],
)
def test_every_operator_that_keeps_something_honours_a_reset(
    operator: Callable[[Observable[TokenEvent]], Observable[object]],
    answers: tuple[list[TokenEvent], list[TokenEvent]],
) -> None:
    """What follows a reset is what would have come without all that it voids."""
    void, answer_alone = answers
    expected: list[object] = []
    seen: list[object] = []
    rx.from_iterable(answer_alone).pipe(operator).subscribe(expected.append)
    rx.from_iterable([*void, RESET, *answer_alone]).pipe(operator).subscribe(seen.append)
    assert expected
    assert seen[-len(expected) :] == expected


@pytest.mark.parametrize(
    ("shown", "continuation", "new"),
    [
        ("今天天气很好，我们去公园", "我们去公园散步。", "散步。"),  # noqa: RUF001  full-width ones are meant
        ("それはとても大切です", "大切ですから覚えて。", "から覚えて。"),
        ("오늘은 날씨가 좋아서", "좋아서 산책했다.", " 산책했다."),
        ("好好好", "好吗？", "好吗？"),  # noqa: RUF001  the full-width one is meant
        ("a short one", "one more", "one more"),
    ],
)
def test_repetitions_in_scripts_without_spaces(shown: str, continuation: str, new: str) -> None:
    """Three letters there say what eight say in English; one or two are still meant."""
    remover = OverlapRemover(shown)
    assert new == "".join((*map(remover.feed, continuation), remover.flush()))
