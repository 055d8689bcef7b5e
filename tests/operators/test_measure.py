"""Measure: `timing`, `usage`, `cost`, `tap`."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx

from rxllm import operators as ops
from rxllm.errors import ConfigurationError, StreamInterruptedError
from rxllm.events import Response, StreamEnd, StreamStart, TextDelta, Usage, UsageUpdate
from rxllm.operators import Labelled, LabelledError, PromptAnswer, PromptFailure
from rxllm.operators._cost import billed_tokens
from rxllm.operators.prompts import Progress
from rxllm.testing.scripted_model import ScriptedModel

from .kit import Boom, Case, OperatorContract, answer, compose, play
from .pacing.test_pace import MIXED
from .threads import Seen

PROGRESS = Progress(1, 0, 0, 0, None)


def answered(tokens_in: int | None, tokens_out: int | None, **facts: Any) -> Response:
    """An answer with so many tokens."""
    return Response(text="x", usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out), **facts)


ANSWERS = [StreamEnd(answered(1, 10)), TextDelta("not counted"), StreamEnd(answered(2, 20))]
TOTALS = [Usage(input_tokens=1, output_tokens=10), Usage(input_tokens=3, output_tokens=30)]


def dollar(response: Response) -> Decimal:
    """A price of ten cents a token."""
    return Decimal(response.usage.output_tokens or 0) / 10


class TestContract(OperatorContract):
    """The contract of all operators."""

    cases: ClassVar = [
        Case("usage", ops.usage, ANSWERS, TOTALS),
        Case(
            "cost",
            lambda: compose(ops.cost(dollar), rx.map(lambda cost: cost.total)),
            ANSWERS,
            [Decimal(1), Decimal(3)],
        ),
        Case(
            "timing", lambda: compose(ops.timing(), rx.map(lambda timing: timing.deltas)), answer(*"abc"), [1, 2, 3, 3]
        ),
        Case("tap", lambda: ops.tap(lambda _: None), MIXED, MIXED),
    ]


class TestTiming:
    """When tokens came."""

    def test_measures_first_token_gaps_and_rate(self) -> None:
        """In the scheduler's seconds, here ten between events."""
        run = play(ops.timing(), [StreamStart(), *answer("a", "b", "c")])
        first, _, last, end = run.values
        assert (first.first_token, first.last_token, first.gap, first.longest_gap) == (20, 20, None, None)
        assert first.tokens_per_second is None
        assert (last.elapsed, last.first_token, last.deltas, last.gap, last.longest_gap) == (40, 20, 3, 10, 10)
        assert last.tokens_per_second == pytest.approx(0.1)
        assert (end.elapsed, end.deltas, end.last_token) == (50, 3, 40)

    def test_tokens_are_the_vendors_once_it_has_told(self) -> None:
        """A delta may hold several; the vendor knows."""
        events = [TextDelta("a b c"), TextDelta("d e f"), UsageUpdate(Usage(output_tokens=6)), TextDelta("g")]
        run = play(ops.timing(), [*events, StreamEnd(answered(1, 7))])
        assert [None, None, 6, 7] == [timing.tokens for timing in run.values]
        assert run.values[-1].tokens_per_second == pytest.approx(6 / 30)

    def test_an_answer_without_content(self) -> None:
        """One value, at the end, without a first token."""
        run = play(ops.timing(), [StreamStart(), StreamEnd(answered(1, 0))])
        assert [(None, None)] == [(timing.first_token, timing.tokens_per_second) for timing in run.values]

    def test_in_real_time(self) -> None:
        """Without a scheduler, the system's clock."""
        seen = Seen()
        seen.subscribe(ScriptedModel("one two three").stream("hi").pipe(ops.timing()))
        seen.wait()
        assert seen.values[-1].deltas == 3
        assert seen.values[-1].first_token > 0


class TestOddUsage:
    """Counts that make no sense, or leave reasoning out."""

    @pytest.mark.parametrize(
        "usage",
        [
            Usage(-5, 3),
            Usage(5, 3, cached_input_tokens=9),
            Usage(5, 3, 102, reasoning_tokens=94),
            Usage(10**30, 1),
        ],
    )
    def test_it_does_not_end_the_stream(self, usage: Usage) -> None:
        """It is unpriced, or priced; what follows is counted."""
        fine = Response(usage=Usage(1000, 1000), provider="openai", model="gpt-4o-mini")
        odd = Response(usage=usage, provider="openai", model="gpt-4o-mini")
        run = play(ops.cost(), [odd, fine])
        assert run.completed
        assert run.values[-1].answers == 2
        assert run.values[-1].last is not None

    def test_reasoning_beside_the_output_is_billed(self) -> None:
        """xAI: 32 in, 9 out, 94 of reasoning are 135 together, so 103 are billed; OpenAI's 90 are within the 100."""
        beside = Response(usage=Usage(32, 9, 135, reasoning_tokens=94), provider="xai")
        within = Response(usage=Usage(10, 100, 110, reasoning_tokens=90), provider="openai")
        assert [103, 100] == [billed.output_tokens for each in (beside, within) if (billed := billed_tokens(each))]


class TestUsage:
    """Tokens of many answers."""

    def test_counts_whatever_holds_an_answer(self) -> None:
        """Responses, results of map_prompts, labelled events; and what errors hold of one."""
        cut = StreamInterruptedError("cut", partial=answered(1, 5))
        items = [
            answered(1, 1),
            PromptAnswer(0, "p", answered(1, 2), PROGRESS, None),
            PromptFailure(1, "p", cut, PROGRESS),
            PromptFailure(2, "p", Boom(), PROGRESS),
            Labelled("x", StreamEnd(answered(1, 3))),
            Labelled("x", TextDelta("a")),
            LabelledError("y", cut),
        ]
        run = play(ops.usage(), items)
        assert [1, 3, 8, 11, 16] == [total.output_tokens for total in run.values]

    def test_what_is_unknown_adds_nothing_and_is_none_where_nothing_is_known(self) -> None:
        """Never a 0 that nobody counted."""
        run = play(ops.usage(), [answered(None, None), answered(None, 3), answered(2, None)])
        assert [(None, None), (None, 3), (2, 3)] == [(total.input_tokens, total.output_tokens) for total in run.values]

    def test_a_count_that_only_some_reported_makes_the_sum_an_estimate(self) -> None:
        """10 tokens in and 8 out are 18, not 15, and the missing input is a reason to say so."""
        run = play(ops.usage(), [Response(usage=Usage(10, 5, 15)), answered(None, 3)])
        assert Usage(10, 8, 18, estimated=True) == run.values[-1]

    def test_an_estimate_stays_marked(self) -> None:
        """One of them makes the total one."""
        estimate = Response(usage=Usage(output_tokens=3, estimated=True))
        run = play(ops.usage(), [answered(1, 1), estimate, answered(1, 1)])
        assert [False, True, True] == [total.estimated for total in run.values]

    def test_an_error_counts_what_it_holds_before_it_goes_on(self) -> None:
        """Tokens are paid for also where the answer broke off."""
        cut = StreamInterruptedError("cut", partial=answered(1, 5))
        run = play(ops.usage(), [TextDelta("a")], error=cut)
        assert [5] == [total.output_tokens for total in run.values]
        assert cut is run.error

    def test_over_many_prompts(self) -> None:
        """As it is used."""
        seen = Seen()
        prompts = reactivex.of("one two", "three", "four five six")
        seen.subscribe(prompts.pipe(ops.map_prompts(ScriptedModel()), ops.usage()))
        seen.wait()
        assert seen.values[-1].output_tokens == 6

    @given(st.lists(st.tuples(st.none() | st.integers(0, 99), st.none() | st.integers(0, 99))))
    def test_totals_are_sums_of_what_is_known(self, counts: list[tuple[int | None, int | None]]) -> None:
        """Whatever is missing."""
        run = play(ops.usage(), [answered(*count) for count in counts])
        known = [[count[side] for count in counts if count[side] is not None] for side in (0, 1)]
        if counts:
            total = run.values[-1]
            assert [sum(side) if side else None for side in known] == [total.input_tokens, total.output_tokens]


class TestCost:
    """Money."""

    def test_adds_up_and_counts_what_has_no_price(self) -> None:
        """An unknown price is not nothing."""
        prices = {10: Decimal("0.5"), 20: Decimal("0.25")}
        run = play(
            ops.cost(lambda response: prices.get(response.usage.output_tokens or 0)),
            [answered(1, 10), answered(1, 15), answered(1, 20)],
        )
        assert [Decimal("0.5"), Decimal("0.5"), Decimal("0.75")] == [cost.total for cost in run.values]
        assert [Decimal("0.5"), None, Decimal("0.25")] == [cost.last for cost in run.values]
        assert (run.values[-1].answers, run.values[-1].unpriced) == (3, 1)

    def test_an_estimate_is_marked(self) -> None:
        """The money is then an estimate too."""
        run = play(ops.cost(dollar), [Response(usage=Usage(output_tokens=10, estimated=True))])
        assert run.values[0].estimated

    def test_what_the_function_raises_ends_the_stream_with_it(self) -> None:
        """The upstream is let go."""

        def failing(response: Response) -> Decimal:
            raise Boom

        run = play(ops.cost(failing), [answered(1, 1), answered(1, 1)])
        assert isinstance(run.error, Boom)
        assert run.upstream_closed_at == 210

    def test_an_error_counts_before_it_goes_on(self) -> None:
        """Unless the function fails on it: then its error takes the place."""
        cut = StreamInterruptedError("cut", partial=answered(1, 5))
        assert [Decimal("0.5")] == [cost.total for cost in play(ops.cost(dollar), [], error=cut).values]

    def test_listed_prices_come_from_genai_prices(self) -> None:
        """Those of the vendor and model that answered; what is not listed is unpriced."""
        genai_prices = pytest.importorskip("genai_prices", reason="the extra `cost` is not installed")
        listed = answered(1_000_000, 1_000, provider="openai", model="gpt-4o-mini")
        ours = answered(10, 10, provider="local", model="smollm2")
        run = play(ops.cost(), [listed, ours, answered(None, None, provider="openai", model="gpt-4o-mini")])
        usage = genai_prices.Usage(input_tokens=1_000_000, output_tokens=1_000)
        expected = genai_prices.calc_price(usage, "gpt-4o-mini", provider_id="openai").total_price
        assert [expected, None, None] == [cost.last for cost in run.values]
        assert run.values[-1].total == expected
        assert expected > 0

    def test_without_genai_prices_the_error_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the first answer is to be priced."""
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        run = play(ops.cost(), [answered(1, 1)])
        assert isinstance(run.error, ConfigurationError)
        assert "rxllm[cost]" in str(run.error)

    @pytest.mark.parametrize(
        ("provider", "usage", "billed"),
        [
            ("openai", Usage(100, 5, 105, cached_input_tokens=80), (100, 80, 0, 5)),
            ("anthropic", Usage(10, 5, None, cached_input_tokens=80), (90, 80, 0, 5)),
            ("anthropic", Usage(10, 5, 115, cached_input_tokens=80), (110, 80, 20, 5)),
            ("gemini", Usage(10, 5, 40, reasoning_tokens=25), (10, 0, 0, 30)),
            ("gemini", Usage(10, 5), (10, 0, 0, 5)),
            ("openai", Usage(10, None), None),
        ],
    )
    def test_tokens_are_billed_as_each_vendor_counts(
        self, provider: str, usage: Usage, billed: tuple[int, int, int, int] | None
    ) -> None:
        """What a cache gave or took, and thoughts, are in every vendor's total and nowhere else alike."""
        assert billed == billed_tokens(Response(usage=usage, provider=provider))


class TestTap:
    """A look at the stream, and a log of it."""

    def test_a_function_sees_each_item_before_it_goes_on(self) -> None:
        """In order."""
        order: list[Any] = []
        reactivex.of(1, 2).pipe(ops.tap(lambda n: order.append(("tap", n)))).subscribe(
            lambda n: order.append(("main", n))
        )
        assert order == [("tap", 1), ("main", 1), ("tap", 2), ("main", 2)]

    def test_what_the_function_raises_ends_the_stream_with_it(self) -> None:
        """The upstream is let go."""

        def failing(item: int) -> None:
            raise Boom

        run = play(ops.tap(failing), [1, 2])
        assert isinstance(run.error, Boom)
        assert run.upstream_closed_at == 210
