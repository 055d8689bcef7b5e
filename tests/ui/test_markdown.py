"""The parser of Markdown that grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm.ui._markdown import MarkdownParser, Paragraph, Run, table_lines

SOURCE = """# Title

Text with **bold**, *italic*, ~~no~~ and `code`; [web](https://example.org/) <https://a.b/c>
goes on.

1. one
   more
2. two
   - nested

   below

Setext
===

> quote
> more

| a | b |
|:--|---|
| `1` | 2 |

---

~~~python
**code**

~~~

See [the docs][d].

[d]: https://example.org/docs
"""

HUGE_ROW = "| a " * 5_000 + "|\n" + "|---" * 5_000 + "|\n"

WORDS = st.sampled_from(
    [
        "# ",
        "- ",
        "1. ",
        "> ",
        "```\n",
        "~~~",
        "| a |",
        "|---|",
        "\n",
        "\n\n",
        "**",
        "*",
        "_",
        "`",
        "[a]",
        "(b)",
        "](",
        "]: c",
        "word ",
        "  ",
        "\\",
        "![",
        "<b>",
        "&amp;",
        "http://x.y",
        "===\n",
        "---\n",
        "a|b\n",
        "\t",
    ]
)


def parsed(*pieces: str) -> list[Paragraph]:
    """What the pieces come to."""
    parser = MarkdownParser()
    for piece in (*pieces, "\n"):
        parser.feed(piece)
    return parser.paragraphs


def plain(paragraph: Paragraph) -> str:
    """Its text."""
    return "".join(run.text for run in paragraph.runs)


def test_all_kinds() -> None:
    """With their levels and markers."""
    found = [(p.kind, p.level, p.marker, plain(p)) for p in parsed(SOURCE)]
    assert found == [
        ("heading", 1, "", "Title"),
        ("text", 0, "", "Text with bold, italic, no and code; web https://a.b/c goes on."),
        ("item", 0, "1.", "one more"),
        ("item", 0, "2.", "two"),
        ("item", 1, "•", "nested"),
        ("item", 1, "", "below"),
        ("heading", 1, "", "Setext"),
        ("quote", 0, "", "quote more"),
        ("table", 0, "", ""),
        ("rule", 0, "", ""),
        ("code", 0, "python", "**code**"),
        ("code", 1, "python", ""),
        ("text", 0, "", "See the docs."),
    ]


def test_blocks_of_code_below_each_other() -> None:
    """The first line of each has the level 0; an empty block has no line."""
    found = parsed("```sh\na\n\nb\n```\n```sh\nc\n```\n\n```\n```\n\n    d\n    e\n")
    assert [(p.level, plain(p)) for p in found] == [(0, "a"), (1, ""), (1, "b"), (0, "c"), (1, "d"), (1, "e")]


def test_a_row_of_thousands_of_cells() -> None:
    """The last cell has the rest of it: no widget shows so many columns in time."""
    (table,) = parsed(HUGE_ROW)
    assert len(table.rows[0]) == 30
    assert table.rows[0][0] == (Run("a"),)
    assert "".join(run.text for run in table.rows[0][-1]).count("a") == 5_000 - 29


def test_a_list_of_a_hundred_levels() -> None:
    """There is room for the text of the deepest."""
    items = parsed("".join("  " * level + "- x\n" for level in range(100)))
    assert [item.level for item in items] == [*range(9), *[9] * 91]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_however_it_is_cut(size: int) -> None:
    """The result is the same."""
    assert parsed(*(SOURCE[at : at + size] for at in range(0, len(SOURCE), size))) == parsed(SOURCE)


@given(st.lists(WORDS, max_size=30))
def test_any_text_however_it_is_cut(words: list[str]) -> None:
    """Nothing raises, and cuts do not matter."""
    assert parsed(*words) == parsed("".join(words))
    assert parsed(*"".join(words)) == parsed("".join(words))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a_b_c and 2 * 3 * 4", [Run("a_b_c and 2 * 3 * 4")]),
        ("***both***", [Run("both", ("bold", "italic"))]),
        ("**a *b* c**", [Run("a ", ("bold",)), Run("b", ("bold", "italic")), Run(" c", ("bold",))]),
        ("`` a`b ``", [Run("a`b", ("code",))]),
        (r"\*no\* &lt;", [Run("*no* <")]),
        ("![alt](file:///x)", [Run("alt")]),
        ("![alt](https://x/y.png)", [Run("alt", (), "https://x/y.png")]),
        ("[a](javascript:x) [b](o.md)", [Run("a b")]),
        ("https://x.y/z.", [Run("https://x.y/z", (), "https://x.y/z"), Run(".")]),
        ("[b]: https://x\n[a][b]", [Run("a", (), "https://x")]),
        ("two  \nlines", [Run("two\nlines")]),
        ("- [x] done", [Run("done")]),
    ],
)
def test_inline(source: str, expected: list[Run]) -> None:
    """Styles and links."""
    assert list(parsed(source)[0].runs) == expected


@pytest.mark.parametrize("mark", ["*a ", "[a ", "`a ", "**a ", "| ", "> ", "- ", "_a "])
def test_marks_without_end(mark: str) -> None:
    """An answer that means no good costs no more than a long one: 60,000 characters are parsed, whatever they are."""
    assert parsed(mark * (60_000 // len(mark)))


def test_a_table_as_text() -> None:
    """For widgets without tables."""
    (table,) = parsed("| a | long |\n|---|---|\n| 1234 | 2 |")
    text = "".join(run.text for run in table_lines(table))
    assert text.splitlines() == ["a    │ long", "─────┼─────", "1234 │ 2"]
