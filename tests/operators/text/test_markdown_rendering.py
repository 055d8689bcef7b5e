"""Markdown rendered block by block is the Markdown rendered as a whole, by CommonMark's rules (markdown-it-py)."""

from __future__ import annotations

import random

import pytest

from rxllm import operators as ops
from rxllm.operators import MarkdownBlock

from ..kit import play

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")

FENCE = "```"
PARTS = [
    "# A title\n",
    "## Another one ##\ntext right below\n",
    "A line\nand the next.\n",
    "Plain *emphasis*, **strong**, `code` and snake_case.\n",
    "Under\n=====\n\nthis\n----\n",
    "- one\n- two\n",
    "- loose\n\n- items\n\n- here\n",
    "* a\n  continued\n\n  a second paragraph\n* b\n",
    "- outer\n  - inner\n    - innermost\n\n      its text\n\n  - again\n",
    "1. first\n2. second\n",
    "1) with\n2) brackets\n",
    "3. from three\n4. on\n",
    f"1. code:\n\n   {FENCE}py\n   x = 1\n\n   y = 2\n   {FENCE}\n\n2. more\n",
    f"{FENCE}js\nlet a = 1\n\nlet b\n{FENCE}\n",
    f"Text\n{FENCE}\ncode\n{FENCE}\ntext again\n",
    f"~~~\n{FENCE}\n~~~\n",
    f"````md\n{FENCE}\ninner\n{FENCE}\n````\n",
    "    indented\n\n    code\n",
    "    # no title\n\n    - no item\n",
    "Before.\n\n    four spaces\n\n\n    after two blank lines\nBehind.\n",
    "A paragraph\n    with an indented line.\n",
    "\ttab\n\n\tcode\n",
    "<pre>\n1\n\n**2**\n</pre>\n",
    "<script>\nlet a\n\nlet b = '*c*'\n</script>\n",
    "<style>\np {\n\n}\n</style> the rest of the line\n",
    "<!-- a comment\n\n*with* a blank line -->\n",
    "<!-- one line -->\nnot *HTML* any more\n",
    "<?php\n\necho '*'\n?>\n",
    "<![CDATA[\n\n*raw*\n]]>\n",
    "<!DOCTYPE html>\ntext\n",
    "<div>\n*raw*\n\n*Markdown*\n</div>\n",
    "<details>\n<summary>More</summary>\n\n- a\n\n</details>\n",
    "Text\n<pre>\nin between\n\n</pre>\nafter\n",
    "> quoted\nlazily\n\n> again\n",
    "> - a list\n>\n> in a quote\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "One\n\n---\n\ntwo\n***\nthree\n",
    "- item\n\n---\n\n- other list\n",
    "- one\n- two\n\n* another\n* marker\n",
    "no item\n2. here\n\n2. but here\n",
    "#hashtag\n\n#\n\n## \ntext\n",
    "See [one][1] and [two].\n\n[1]: https://a.example/\n[two]: <https://b.example/> 'Two'\n",
    '[first]: /x "X"\n\nUse [first], [ First ][first] and ![pic][first].\n',
    "- [in a list][later]\n\ntext\n\n[later]: https://c.example\n",
    "> [quoted]: /q 'Q'\n> [second]: /s\n\n[quoted] and [second]\n",
    "[late] and [code]\n\n- item\n\n  [late]: /l\n- ```\n\n  [code]: /c\n  ```\n",
    "> - [deep]: /d\n>   [no\n\n> text\n> [text]: /t\n\n[deep] [text]\n",
    "[not a definition]: \n\nreally [not a definition]\n",
    "\u00a0\nno blank line\n\u3000\neither\n",
    "\u3000Indented by an ideographic space.\n\n\u3000Again.\n",
    "form\n\x0c\nfeed\n",
    "hard  \nbreak\\\nand \\# escape\n",
    "Line\u2028separator and next\u0085line\n",
    "[x]: <a b> 'no title\n\nhere'\n\n[x]\n",
    "windows\r\n\r\n- line\r\n- ends\r\n\r\nhere\r\n",
    "1999. A year\n\n1999\\. Another\n",
    "<https://auto.example> and <b>inline</b> HTML\n",
    "a | b\n- | -\n1 | 2\n",
]


def documents() -> list[str]:
    """Each part alone, then parts at random behind one another, 110 documents; some end without a line end."""
    rng = random.Random(7)
    whole = ["\n".join(rng.sample(PARTS, rng.randint(2, 5))) for _ in range(55)]
    return [*PARTS, *whole, f"unfinished\n\n{FENCE}py\nx = 1\n\ny", "*last*\n\n- a\n- b"]


def final_blocks(pieces: list[str]) -> list[MarkdownBlock]:
    """What a renderer that keeps a block per index ends with."""
    kept: dict[int, MarkdownBlock] = {}
    for block in play(ops.markdown_blocks(), pieces).values:
        kept = {index: each for index, each in kept.items() if index < block.index}
        kept[block.index] = block
    return list(kept.values())


@pytest.mark.parametrize("text", documents())
def test_block_by_block_is_the_whole(text: str) -> None:
    """The same HTML, the same blocks for any cut, and no text lost."""
    markdown = markdown_it.MarkdownIt("commonmark").enable("table")
    blocks = final_blocks([text])
    assert all(block.closed for block in blocks)
    assert "".join(block.text for block in blocks).rstrip() == text.rstrip()
    rendered = "".join(markdown.render(block.markdown) for block in blocks)
    assert rendered.replace("\n", "") == markdown.render(text).replace("\n", "")
    rng = random.Random(text)
    for _ in range(3):
        borders = sorted(rng.sample(range(1, len(text)), min(len(text) - 1, 25)))
        pieces = [text[start:end] for start, end in zip([0, *borders], [*borders, len(text)], strict=True)]
        assert blocks == final_blocks(pieces)
    assert blocks == final_blocks([*text])


def test_there_are_enough_documents() -> None:
    """At least 80."""
    assert len(set(documents())) >= 80
