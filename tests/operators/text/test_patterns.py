"""Patterns replaced and characters kept whole, across deltas."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm import ConfigurationError, StreamInterruptedError
from rxllm import operators as ops
from rxllm.events import ReasoningDelta, StreamEnd, StreamReset, TextDelta
from rxllm.operators.text.patterns import Match, _Replacing

from ..kit import Boom, Case, OperatorContract, Run, answer, cuts, play, whole

regex = pytest.importorskip("regex", reason='the extra "text" is not installed')

CASES = [
    Case(
        "replace",
        lambda: ops.replace("ca+t", "dog"),
        answer("a c", "aat", "!"),
        [TextDelta("a "), TextDelta("dog!"), StreamEnd(whole("a dog!"))],
    ),
    Case(
        "redact",
        lambda: ops.redact(r"sk-\w+"),
        answer("key sk", "-ab", "c."),
        [TextDelta("key "), TextDelta("[redacted]."), StreamEnd(whole("key [redacted]."))],
    ),
    Case(
        "grapheme_safe",
        ops.grapheme_safe,
        answer("e", "\u0301", "x"),
        [TextDelta("e\u0301"), TextDelta("x"), StreamEnd(whole("e\u0301x"))],
    ),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def end_text(run: Run) -> str:
    """The text of the response in the last event."""
    assert isinstance(run.values[-1], StreamEnd)
    return run.values[-1].response.text


def said(run: Run) -> str:
    """The text of the deltas; the response must agree with it."""
    text = "".join(event.text for event in run.values if isinstance(event, TextDelta))
    assert text == run.values[-1].response.text
    return text


def marked(match: Match) -> str:
    """A replacement that tells what was matched."""
    return f"<{match[0]}>"


class TestReplace:
    """Matches replaced."""

    @pytest.mark.parametrize(
        "pattern",
        [
            "abc",
            "ab(cdefg)?",
            "a.*z|c",
            r"[a-z]+@[a-z]+",
            r"(?<=x)ab\b",
            "a(?!bc)",
            r"\bab\b",
            "(ab|abc)d",
            "x+",
            "b|$",
        ],
    )
    @given(pieces=cuts(st.text(st.sampled_from("abcdxz@ "), max_size=14)))
    def test_how_the_text_was_cut_is_invisible(self, pattern: str, pieces: tuple[str, ...]) -> None:
        """Any cut gives what `re.sub` gives for the whole text."""
        wanted = re.sub(pattern, lambda match: f"<{match[0]}>" if match[0] else "", "".join(pieces))
        assert wanted == said(play(ops.replace(pattern, marked), answer(*pieces)))

    def test_templates_and_compiled_patterns(self) -> None:
        """Groups are filled in as in `re.sub`, and a compiled pattern's flags hold."""
        pattern = re.compile(r"(?P<first>\w+) (\w+)", re.IGNORECASE | re.ASCII)
        assert said(play(ops.replace(pattern, r"\2, \g<first>"), answer("Ada L", "ovelace"))) == "Lovelace, Ada"
        assert said(play(ops.replace(re.compile("ab", re.I), "x"), answer("aB", "A", "b"))) == "xx"

    def test_only_what_may_still_match_is_held_back(self) -> None:
        """Text that no match can begin in is passed on with its delta."""
        run = play(ops.replace("STOP", "x"), [TextDelta("a S"), TextDelta("b"), TextDelta("c")])
        assert run.values == [TextDelta("a "), TextDelta("Sb"), TextDelta("c")]

    def test_what_the_function_raises_goes_to_on_error(self) -> None:
        """The user's own exception, and the upstream is let go."""
        boom = Boom()

        def failing(_: Match) -> str:
            raise boom

        run = play(ops.replace("a", failing), answer("xab"))
        assert run.error is boom
        assert run.upstream_closed_at == 210

    def test_what_the_function_raises_over_a_partial_response_goes_to_on_error(self) -> None:
        """An upstream error whose partial response cannot be changed ends in the user's exception, not in silence."""
        boom = Boom()

        def failing(_: Match) -> str:
            raise boom

        error = StreamInterruptedError("cut", partial=whole("ab"))
        assert play(ops.replace("a", failing), [], error=error).error is boom

    def test_waiting_is_bounded(self) -> None:
        """A pattern that may match to the end of the text is not waited for longer than `longest`."""
        run = play(ops.replace(r"(?s)<.*>", "x", longest=10), answer("<", *"abcdefghijklmnop"))
        assert run.values[0] == TextDelta("<abcdefghi")
        assert said(run) == "<abcdefghijklmnop"

    def test_what_went_before_is_seen_however_long_ago_the_text_began(self) -> None:
        """Look-behind and word borders see the text that was passed on already."""
        pieces = [*["no word here "] * 40, "x", "a", " a ", "xa"]
        wanted = re.sub(r"(?<=x)a|\ba\b", "<>", "".join(pieces))
        assert wanted == said(play(ops.replace(r"(?<=x)a|\ba\b", "<>"), answer(*pieces)))

    def test_empty_matches_are_left_alone(self) -> None:
        """A pattern that matches nothing, literally, changes nothing."""
        assert said(play(ops.replace("x*", "-"), answer("ab", "xx", "c"))) == "ab-c"

    def test_a_reset_drops_what_was_held(self) -> None:
        """Half a match before a StreamReset is void."""
        run = play(ops.replace("ab", "x"), [TextDelta("a"), StreamReset("retry"), TextDelta("b")])
        assert run.values == [StreamReset("retry"), TextDelta("b")]

    def test_a_wrong_pattern_is_refused_at_once(self) -> None:
        """It is a ConfigurationError, with the place in the pattern."""
        with pytest.raises(ConfigurationError, match="pattern"):
            ops.replace("(", "x")
        with pytest.raises(ConfigurationError, match="pattern"):
            ops.redact(None)  # type: ignore[arg-type]


class TestRedact:
    """Secrets masked."""

    @given(cuts(st.text(st.sampled_from("sk-x. "), max_size=20)))
    def test_no_delta_shows_any_part_of_a_match(self, pieces: tuple[str, ...]) -> None:
        """At no moment does the text so far hold what the whole text will have masked."""
        wanted = re.sub(r"sk-x+", "[redacted]", "".join(pieces))
        run = play(ops.redact(r"sk-x+"), answer(*pieces))
        shown = ""
        for event in run.values[:-1]:
            shown += event.text
            assert wanted.startswith(shown)
        assert wanted == said(run)

    @pytest.mark.parametrize("pattern", ["a+b", "(?s)<.*>", "ab*c|bb+", r"<[^c]*>"])
    @given(pieces=cuts(st.text(st.sampled_from("aabbc<>"), max_size=30)), longest=st.integers(1, 8))
    def test_a_match_that_is_too_long_is_treated_alike_for_any_cut(
        self, pattern: str, pieces: tuple[str, ...], longest: int
    ) -> None:
        """Masked to the end of the run, or, with `replace`, decided at that very length."""
        for operator in (ops.redact(pattern, "#", longest=longest), ops.replace(pattern, "#", longest=longest)):
            by_character = said(play(operator, answer(*"".join(pieces))))
            assert by_character == said(play(operator, answer(*pieces)))
            assert end_text(play(operator, answer(*pieces))) == by_character

    @pytest.mark.parametrize("size", [1, 7, 4000])
    @pytest.mark.parametrize(
        "secret",
        [
            "eyJ" + "a" * 600 + ".eyJ" + "b" * 900 + "." + "c" * 300,
            "-----BEGIN RSA PRIVATE KEY-----\n" + ("A" * 64 + "\n") * 25 + "-----END RSA PRIVATE KEY-----",
            "sk-ant-api03-" + "x_Y-" * 300,
            "sk-proj-abcdefghijklmnop1234",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_" + "a1B2" * 9,
            "AIza" + "SyA1b2C3d4" * 4,
            "xoxb-1234567890-abcdef",
        ],
    )
    def test_no_key_is_shown_whatever_its_length(self, secret: str, size: int) -> None:
        """Tokens and private keys of thousands of characters, in deltas of any size."""
        text = f"Here it is: {secret} and that was it."
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        run = play(ops.redact(ops.API_KEYS), answer(*pieces))
        assert said(run) == "Here it is: [redacted] and that was it."
        assert end_text(run) == said(run)

    def test_what_is_longer_than_the_limit_is_masked_to_the_end(self) -> None:
        """It fails closed: no tail is shown. The next run of text is searched as before."""
        events = [*map(TextDelta, ["k sk-", *["z" * 90] * 300, " end"]), ReasoningDelta("hm"), TextDelta("next")]
        run = play(ops.redact("sk-z{20,}"), events)
        assert [TextDelta("k "), TextDelta("[redacted]"), ReasoningDelta("hm"), TextDelta("next")] == run.values

    def test_a_key_that_is_cut_off_by_the_end_is_masked(self) -> None:
        """A private key whose end never comes."""
        run = play(ops.redact(ops.API_KEYS), answer("-----BEGIN PRIVATE KEY-----\n", "MIIE" * 40))
        assert said(run) == "[redacted]"

    @pytest.mark.parametrize(
        ("pattern", "text", "shown"),
        [
            (ops.CARD_NUMBERS, "card 4111 1111 1111 1111, ok", "card [redacted], ok"),
            (ops.CARD_NUMBERS, "call 555-1234 in 2026 or 12345", "call 555-1234 in 2026 or 12345"),
            (
                ops.CARD_NUMBERS,
                "4111\u00a01111\u202f1111\u20091111 4111\u20111111\u20131111-1111",
                "[redacted] [redacted]",
            ),
            (ops.EMAIL_ADDRESSES, "müller@bücher.example 给ann@x.org。", "[redacted] [redacted]。"),
            (ops.API_KEYS, "密钥sk-" + "x" * 20 + "。MY_AKIAIOSFODNN7EXAMPLE_", "密钥[redacted]。MY_[redacted]_"),
            (ops.API_KEYS, "mask-" + "x" * 20, "mask-" + "x" * 20),
            (
                ops.API_KEYS,
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ=\n-----END PGP PRIVATE KEY BLOCK-----\nok",
                "[redacted]\nok",
            ),
            (ops.EMAIL_ADDRESSES, "ask ada.l+x@mail.example.org. Or not@", "ask [redacted]. Or not@"),
            (f"{ops.CARD_NUMBERS}|{ops.EMAIL_ADDRESSES}", "a@b.cc 4111111111111111", "[redacted] [redacted]"),
        ],
    )
    def test_ready_made_patterns(self, pattern: str, text: str, shown: str) -> None:
        """Cards and addresses, whole and by character, alone and joined."""
        assert [shown] * 2 == [said(play(ops.redact(pattern), answer(*pieces))) for pieces in ([text], text)]

    @given(cuts(st.text(st.sampled_from("x\ny"), max_size=8)), st.sampled_from(["^x$", "x$", "(?m)^x$", "x\n?$"]))
    def test_the_end_of_the_text_is_no_line_feed_that_more_follows(self, pieces: tuple[str, ...], pattern: str) -> None:
        """A "$" matches before a line feed only if that is the last character of the answer."""
        wanted = re.sub(pattern, "#", "".join(pieces))
        assert wanted == said(play(ops.redact(pattern, "#"), answer(*pieces)))

    def test_a_pattern_that_backtracks_is_refused(self) -> None:
        """Within a fraction of a second, loudly, and what was held is not shown."""
        run = play(ops.redact(r"(a|aa)+$c"), answer("x " + "a" * 40 + "b"))
        assert run.values == []
        assert isinstance(run.error, ConfigurationError)
        assert "backtracks" in str(run.error)

    def test_a_long_hold_costs_no_square(self) -> None:
        """20,000 characters by two, held all the time: as many searches as a logarithm, not as deltas."""
        searches = 0
        compiled = regex.compile(r"(?s)<.*>")

        class Counting:
            pattern = compiled.pattern
            fullmatch = staticmethod(compiled.fullmatch)
            match = staticmethod(compiled.match)

            def search(self, *arguments: Any, **options: Any) -> Any:
                nonlocal searches
                searches += 1
                return compiled.search(*arguments, **options)

        filtering = _Replacing(Counting(), lambda match: "x", 20_000, None)  # type: ignore[arg-type]  # all that is used of one
        filtering.feed("<")
        for _ in range(9_000):
            filtering.feed("ab")
        assert searches < 300

    @pytest.mark.parametrize("longest", [0, -1])
    def test_a_limit_below_one_is_refused(self, longest: int) -> None:
        """At once."""
        with pytest.raises(ConfigurationError, match="longest"):
            ops.redact("a", longest=longest)

    def test_the_mask_is_not_a_template(self) -> None:
        """Backslashes in the mask are themselves."""
        assert said(play(ops.redact("a", r"\1"), answer("ab"))) == r"\1b"


CLUSTERS = ["a", "e\u0301", "👨‍👩‍👧", "🇩🇪", "🇫🇷", "\r\n", "\n", "क्षि", "👍🏽", "가", "\u0301"]


class TestGraphemeSafe:
    """Grapheme clusters kept whole."""

    @given(cuts(st.lists(st.sampled_from(CLUSTERS), max_size=8).map("".join)))
    def test_every_delta_ends_where_a_cluster_does(self, pieces: tuple[str, ...]) -> None:
        """The borders of deltas are among those of the whole text's clusters."""
        text = "".join(pieces)
        borders = {match.end() for match in regex.finditer(r"\X", text)}
        run = play(ops.grapheme_safe(), answer(*pieces))
        at = 0
        for event in run.values[:-1]:
            at += len(event.text)
            assert at in borders
        assert text == said(run)

    def test_a_line_feed_is_not_held_back(self) -> None:
        """Nothing can join it, so a line comes when it ends."""
        assert play(ops.grapheme_safe(), [TextDelta("ab\n")]).times == [210]

    def test_an_endless_cluster_is_let_go(self) -> None:
        """A thousand marks on one letter do not hold the stream up for ever."""
        run = play(ops.grapheme_safe(), [TextDelta("e"), TextDelta("\u0301" * 1001), TextDelta("\u0301")])
        assert run.values == [TextDelta("e" + "\u0301" * 1001), TextDelta("\u0301")]


@pytest.mark.parametrize("make", [lambda: ops.redact("x"), ops.grapheme_safe])
def test_without_the_package_the_error_says_what_to_install(
    make: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigurationError at once, that names the extra."""
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(ConfigurationError, match=r"rxllm\[text\]"):
        make()
