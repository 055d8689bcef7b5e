"""Patterns replaced and characters kept whole, across deltas."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm import ConfigurationError, StreamInterruptedError
from rxllm import operators as ops
from rxllm.events import StreamEnd, StreamReset, TextDelta
from rxllm.operators.text.patterns import Match

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
        assert run.values[0] == TextDelta("<abcdefghij")
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
