"""Sentences: where they end, where they do not, and that no cut of the text matters."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rxllm import operators as ops
from rxllm.errors import ConfigurationError
from rxllm.events import StreamReset, TextDelta

from ..kit import Case, OperatorContract, answer, cuts, play
from .golden_sentences import GOLDEN, WITHOUT_SPACES

CASES = [
    Case("sentences", ops.sentences, answer("Hi. Wh", "o? Me", "! So"), ["Hi.", "Who?", "Me!", "So"]),
    Case("sentences of str", ops.sentences, ["Hi. Wh", "o?"], ["Hi.", "Who?"]),
]

# ruff: noqa: RUF001  full-width stops and curly quotes are what is tested


class TestContract(OperatorContract):
    """The contract."""

    cases = CASES


def split(*pieces: str) -> list[str]:
    """The sentences of the text in `pieces`."""
    return list(play(ops.sentences(), pieces).values)


@pytest.mark.parametrize(
    "text",
    [
        "Hello world.|How are you?|Fine!",
        "He paid $3.50 for v1.2.3 of example.com.|Then he left.",
        "Dr. Who met Mrs. Smith vs. Prof. X, e.g. today.|They spoke.",
        "J. S. Bach wrote it.|It is long.",
        "Vitamin C. Elegans is a worm",
        "I like vitamin C.|It helps.",
        "The U.S. Senate voted.|I live in the U.S.|How about you?",
        "The U.S. has states, and so has Apple Inc. now.|End.",
        "At 5 p.m. Mr. Smith came.|He left at 6 a.m.|Then nothing.",
        "Apple Inc. makes phones, etc.|They sell.",
        "See Fig. 3 and No. 5 on p. 7.|No.|I will not.",
        "It was in 1999.|Then came 2000.",
        "Wait... what?|Well…|Okay.|I'm fine... thanks!",
        "“Stop!” he said.|“Really?”|“Yes.”|(So it was.)|Done.",
        "**Bold.**|Next one.|_Also._|`code.` then",
        "What?!|No!!|Yes.",
        "all lower case. and what follows.|Then a capital.",
        "你好。|今天很好！|是吗？|好",
        "「行く。」と言った。|はい。|３．１４だ。",
        "ﾊｲ｡|次",
        "Done!✅|Next up: 👩‍🚀 flies.😀👍🏽|Good.|✅ is a sign!🎉 and so on.",
        "今天很好。【4†source】【12:3†a.pdf】|【新闻】好。[1]|然后。|It is so.【4†source】|Next.",
        "1. First thing.|Really.\n|2. Second",
        "A. Option one",
        "“Yes”, he said; then (quietly) left",
    ],
)
def test_where_sentences_end(text: str) -> None:
    """Each `|` is a border, and no other place is."""
    plain = text.replace(".|", ". ").replace("。|", "。").replace("｡|", "｡").replace("！|", "！").replace("？|", "？")
    wanted = [sentence.strip() for sentence in text.split("|")]
    assert wanted == split(plain.replace("|", " "))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# Title\nText goes\non here\n\nNext", ["# Title", "Text goes\non here", "Next"]),
        ("Two:\n- one\n- two\n\nEnd", ["Two:", "- one", "- two", "End"]),
        ("1. one\n12. two\n2020 was\n3) three", ["1. one", "12. two\n2020 was", "3) three"]),
        ("a\r\n\r\nb", ["a", "b"]),
        ("> quote\n> more\n| a | b |\n```py", ["> quote", "> more", "| a | b |", "```py"]),
        ("One.\n\nTwo", ["One.", "Two"]),
        ("e.g.\n\nTwo", ["e.g.", "Two"]),
        ("  \n ", []),
        ("...", ["..."]),
    ],
)
def test_where_lines_end_sentences(text: str, wanted: list[str]) -> None:
    """Blank lines, headings and list items end a sentence; a line that only wraps does not."""
    assert wanted == split(text)


WORDS = "Dr|.|..| |\n|\n\n|The|u.s|U.S|C|1|-|#|!|?|。|」|と|”|(|word|etc|…|\t|* |``|```|p|．|✅|【4†a】|[1]"
PROSE = st.lists(st.sampled_from(WORDS.split("|")), max_size=25).map("".join)


@given(cuts(PROSE))
@example(("." * 63, "." * 10, " A"))
@example(("a.", " " * 63, " ", "B"))
@example(("in the U.S. Th", "ey rule."))
@example(("a\n", " " * 63, " ", "- B"))
def test_how_the_text_was_cut_is_invisible(pieces: tuple[str, ...]) -> None:
    """Any cut of a text gives the sentences of the text in one piece."""
    assert split("".join(pieces)) == split(*pieces)


@given(cuts(PROSE))
def test_nothing_but_space_is_lost(pieces: tuple[str, ...]) -> None:
    """The sentences hold all characters that are not space, in order."""
    assert "".join("".join(pieces).split()) == "".join("".join(split(*pieces)).split())


def test_a_sentence_comes_with_the_next_ones_first_letter() -> None:
    """Not a word later than it is certain: speech can begin."""
    run = play(ops.sentences(), [TextDelta("One."), TextDelta(" T"), TextDelta("wo."), TextDelta("\n\n")])
    assert run.values == ["One.", "Two."]
    assert run.times == [220, 240]


def test_a_reset_drops_the_sentence_under_way() -> None:
    """Half a sentence before a StreamReset is void."""
    assert play(ops.sentences(), [TextDelta("A. old"), StreamReset("retry"), TextDelta("New.")]).values == ["New."]


@pytest.mark.parametrize(("language", "wanted"), [(key, each) for key, texts in GOLDEN.items() for each in texts])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_golden_sentences(language: str, wanted: list[str], size: int) -> None:
    """In each language, for any cut."""
    for separator in (" ", "") if language in WITHOUT_SPACES else (" ",):
        text = separator.join(wanted)
        assert wanted == split(*(text[at : at + size] for at in range(0, len(text), size)))


class TestLongest:
    """Text without an end is cut all the same."""

    @given(cuts(st.text(st.sampled_from("ab ,.。\n"), max_size=150)), st.integers(20, 40))
    def test_the_cap_is_kept_for_any_cut(self, pieces: tuple[str, ...], longest: int) -> None:
        """No more than the limit, what a stop decides behind it, and a bounded run of stops; nothing is lost."""
        text = "".join(pieces)
        found = play(ops.sentences(longest=longest), pieces).values
        assert found == play(ops.sentences(longest=longest), [*text]).values
        assert "".join("".join(found).split()) == "".join(text.split())
        assert all(len(each) <= longest + 100 for each in found)

    def test_at_a_comma_else_at_a_space(self) -> None:
        """As a speaker would pause."""
        found = play(ops.sentences(longest=20), ["one two three, four five six seven"]).values
        assert ["one two three,", "four five six seven"] == found
        found = play(ops.sentences(longest=20), ["one two three four five six"]).values
        assert ["one two three four", "five six"] == found
        assert ["a" * 20, "a" * 20, "a" * 5] == play(ops.sentences(longest=20), ["a" * 45]).values

    def test_a_limit_below_twenty_is_refused(self) -> None:
        """It would cut words."""
        with pytest.raises(ConfigurationError, match="longest"):
            ops.sentences(longest=5)


def test_many_sentences_come_one_by_one() -> None:
    """200 in Hindi are 200 emissions, each with its last character but one."""
    assert len(play(ops.sentences(), ["यह एक वाक्य है। "] * 200).values) == 200
