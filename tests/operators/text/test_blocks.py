"""Code and Markdown in blocks: told early, never told wrong, the same for any cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rxllm import operators as ops
from rxllm.events import StreamReset, TextDelta, ToolCallStart
from rxllm.operators import CodeBlockDelta, CodeBlockEnd, CodeBlockEvent, CodeBlockStart, MarkdownBlock

from ..kit import Case, OperatorContract, answer, cuts, play

CASES = [
    Case(
        "code_blocks",
        ops.code_blocks,
        answer("a\n``", "`py\nx =", " 1\n```\nb"),
        [
            CodeBlockStart(0, "py"),
            CodeBlockDelta(0, "x ="),
            CodeBlockDelta(0, " 1\n"),
            CodeBlockEnd(0, "py", "x = 1\n", True),
        ],
    ),
    Case(
        "markdown_blocks",
        ops.markdown_blocks,
        answer("# A\nb", "c\n\n", "d"),
        [
            MarkdownBlock(0, "# A\n", True),
            MarkdownBlock(1, "b", False),
            MarkdownBlock(1, "bc\n\n", True),
            MarkdownBlock(2, "d", False),
            MarkdownBlock(2, "d", True),
        ],
    ),
]

MARKS = [
    "`",
    "```",
    "~~~",
    "````",
    " ",
    "\n",
    "a",
    "# ",
    "- ",
    "1. ",
    "2. ",
    "\n\n",
    "    ",
    "\r\n",
    "\r",
    "```py\n",
    "*",
    "b|c",
    "> ",
    "<pre>",
    "</pre>",
    "<!-- ",
    "-->",
    "\u00a0",
    "\u3000",
]
MARKDOWN = st.lists(st.sampled_from(MARKS), max_size=20).map("".join)


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES


def code(*pieces: str) -> list[CodeBlockEvent]:
    """The events of the code in `pieces`, neighbouring deltas joined."""
    joined: list[CodeBlockEvent] = []
    for event in play(ops.code_blocks(), pieces).values:
        if joined and isinstance(last := joined[-1], CodeBlockDelta) and isinstance(event, CodeBlockDelta):
            joined[-1] = CodeBlockDelta(event.index, last.text + event.text)
        else:
            joined.append(event)
    return joined


def ends(*pieces: str) -> list[tuple[str, str, bool]]:
    """Language, code, and closed or not, of each block."""
    return [(end.language, end.code, end.closed) for end in code(*pieces) if isinstance(end, CodeBlockEnd)]


def blocks(*pieces: str) -> list[str]:
    """The texts of the Markdown blocks in `pieces`."""
    return [block.text for block in play(ops.markdown_blocks(), pieces).values if block.closed]


class TestCodeBlocks:
    """Fenced code."""

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("```python title=x\na\n\nb\n```\n", [("python", "a\n\nb\n", True)]),
            ("~~~\n```\n~~~~ \nx", [("", "```\n", True)]),
            ("````\n```\n````", [("", "```\n", True)]),
            ("1. x\n   ```js\n   a\n     b\n   ```", [("js", "a\n  b\n", True)]),
            ("```\na", [("", "a", False)]),
            ("```py", [("py", "", False)]),
            ("```\n``` x\n```", [("", "``` x\n", True)]),
            ("```code``` inline\n``x``", []),
            ("a ```\nb", []),
            ("```\r\na\r\n```\r\n", [("", "a\r\n", True)]),
            ("```\n``", [("", "``", False)]),
        ],
    )
    def test_what_is_code(self, text: str, wanted: list[tuple[str, str, bool]]) -> None:
        """Fences are CommonMark's, at any indent, and all lines between them are code."""
        assert wanted == ends(text)

    @given(cuts(MARKDOWN))
    @example(("x" * 2, "`" * 2000, "\n"))
    def test_how_the_text_was_cut_is_invisible(self, pieces: tuple[str, ...]) -> None:
        """Any cut gives the same blocks, and the deltas joined are the code."""
        events = code(*pieces)
        assert code("".join(pieces)) == events
        for index in {event.index for event in events}:
            *_, end = own = [event for event in events if event.index == index]
            grown = "".join(event.text for event in own if isinstance(event, CodeBlockDelta))
            assert isinstance(own[0], CodeBlockStart)
            assert isinstance(end, CodeBlockEnd)
            assert grown == end.code

    def test_code_is_shown_as_it_comes(self) -> None:
        """Only the beginning of a line that may be the closing fence waits."""
        run = play(ops.code_blocks(), ["```\n", "ab", "cd\n`", "`x", "\n", "```", "\n"])
        assert run.values[1:] == [
            CodeBlockDelta(0, "ab"),
            CodeBlockDelta(0, "cd\n"),
            CodeBlockDelta(0, "``x"),
            CodeBlockDelta(0, "\n"),
            CodeBlockEnd(0, "", "abcd\n``x\n", True),
        ]
        assert run.times == [210, 220, 230, 240, 250, 270]

    def test_a_reset_begins_at_block_0_again(self) -> None:
        """A block that was open is void, without an end."""
        events = [TextDelta("```\na"), StreamReset("retry"), TextDelta("```\nb\n```\n")]
        wanted = [CodeBlockStart(0, ""), CodeBlockDelta(0, "a"), *code("```\nb\n```\n")]
        assert wanted == play(ops.code_blocks(), events).values

    def test_a_tool_call_ends_an_open_block(self) -> None:
        """It comes out as not closed, and later blocks go on counting."""
        events = [TextDelta("```\na"), ToolCallStart(0, "c", "f"), TextDelta("```\nb\n```")]
        run = play(ops.code_blocks(), events)
        assert [event for event in run.values if isinstance(event, CodeBlockEnd)] == [
            CodeBlockEnd(0, "", "a", False),
            CodeBlockEnd(1, "", "b\n", True),
        ]


class TestMarkdownBlocks:
    """Markdown for a renderer."""

    @pytest.mark.parametrize(
        "wanted",
        [
            ["Some text\nin lines.\n\n", "More.\n\n", "End"],
            ["# A\n", "b\n", "## C\n", "d"],
            ["a\n", "```py\nx\n\ny\n```\n", "b"],
            ["- a\n\n- b\n\n  more\n- c\n\n", "text"],
            ["1. a\n   ```\n\n   x\n   ```\n2. b\n\n", "# H\n", "10. c\n"],
            ["text\n", "- item\nlazy\n\n", "new"],
            ["was in\n2020. and\n#tag **b**\n\n", "x"],
            ["| a | b |\n|---|---|\n| 1 | 2 |\n\n", "> q\n> r\n\n", "---\n\n", "x"],
            ["\n\na\n\n", "\nb"],
            ["a\r\n\r\n", "b"],
            ["```\nopen"],
            ["- a\n", "```\nx\n```\n", "- b"],
            ["a\n", "```"],
        ],
    )
    def test_where_blocks_are_cut(self, wanted: list[str]) -> None:
        """Paragraphs, headings, lists with all that is in them, tables, code."""
        assert wanted == blocks("".join(wanted))

    @given(cuts(MARKDOWN))
    @example((" " * 1500, "a", "\n"))
    @example(("\r", "a\n", "b\n"))
    def test_how_the_text_was_cut_is_invisible(self, pieces: tuple[str, ...]) -> None:
        """Any cut gives the same blocks; joined they are the text, but for blank lines at its end."""
        text = "".join(pieces)
        assert blocks(text) == blocks(*pieces)
        joined = "".join(blocks(*pieces))
        assert text.startswith(joined)
        assert text[len(joined) :].strip() == ""

    @given(cuts(MARKDOWN))
    def test_only_the_last_block_changes(self, pieces: tuple[str, ...]) -> None:
        """Indexes count up; a block only grows, and once it is closed it is over."""
        last = MarkdownBlock(-1, "", True)
        for block in play(ops.markdown_blocks(), pieces).values:
            if last.closed:
                assert block.index == last.index + 1
            else:
                assert block.index == last.index
                assert block.text.startswith(last.text)
            last = block
        assert last.closed

    @given(cuts(MARKDOWN))
    def test_a_renderer_that_follows_shows_all_but_a_few_characters(self, pieces: tuple[str, ...]) -> None:
        """What is held back at any moment is part of one line that cannot be told yet."""
        shown: list[str] = []
        run = play(ops.markdown_blocks(), pieces)
        for n in range(len(pieces)):
            for block in _at(run.values, run.times, 210 + 10 * n):
                shown[block.index :] = [block.text]
            held = "".join(pieces[: n + 1]).removeprefix("".join(shown))
            assert "\n" not in held.strip()

    def test_a_reset_begins_at_block_0_again(self) -> None:
        """A renderer that puts a block in the place of its index is right after a StreamReset."""
        events = [TextDelta("a\n\nb"), StreamReset("retry"), TextDelta("c")]
        assert play(ops.markdown_blocks(), events).values[-2:] == [
            MarkdownBlock(0, "c", False),
            MarkdownBlock(0, "c", True),
        ]


def _at(values: Sequence[Any], times: Sequence[float], time: float) -> list[Any]:
    return [value for value, at in zip(values, times, strict=True) if at == time]
