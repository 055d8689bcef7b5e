"""The parser of Markdown that grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm.ui._markdown import MarkdownParser, Paragraph, PlainParser, Run
from rxllm.ui._markdown_view import table_lines

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

HUGE_ROW = "| a " * 900 + "|\n" + "|---" * 900 + "|\n"

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


def test_a_row_of_hundreds_of_cells() -> None:
    """The last cell has the rest of it: no widget shows so many columns in time."""
    (table,) = parsed(HUGE_ROW)
    assert len(table.rows[0]) == 30
    assert table.rows[0][0] == (Run("a"),)
    assert "".join(run.text for run in table.rows[0][-1]).count("a") == 900 - 29


@pytest.mark.parametrize("above", ["", "| a |\n" * 30])
def test_a_table_always_has_rows(above: str) -> None:
    """Also one that is only a rule: Qt makes no table without rows."""
    assert parsed(above + "|---|\n")[-1].rows == (((Run("---"),),),)


@pytest.mark.parametrize("size", [97, 15_999, 100_000])
@pytest.mark.parametrize(
    ("begin", "kinds"),
    [
        ("", [("text", 0, "")] * 3),
        ("# ", [("heading", 1, "")] * 3),
        ("- ", [("item", 0, "•"), ("item", 0, ""), ("item", 0, "")]),
        ("> ", [("quote", 0, "")] * 3),
        ("```py\n", [("code", 0, "py"), ("code", 2, "py"), ("code", 2, "py")]),
        ("    ", [("code", 0, ""), ("code", 2, ""), ("code", 2, "")]),
        ("| ", [("table", 0, ""), ("table", 1, ""), ("table", 1, "")]),
    ],
)
def test_a_very_long_line(begin: str, kinds: list[tuple[str, int, str]], size: int) -> None:
    """It is several paragraphs of its kind, cut at spaces, however it arrives; the next line is read as ever."""
    words = "word " * 7_600
    source = f"{begin}{words}\n{'```' if begin[0:1] == '`' else ''}\n# Next"
    found = parsed(*(source[at : at + size] for at in range(0, len(source), size)))
    assert [(p.kind, p.level, p.marker) for p in found[:-1]] == kinds
    shown = [plain(p) or "".join(run.text for row in p.rows for cell in row for run in cell) for p in found[:-1]]
    assert max(map(len, shown)) <= 16_000
    assert " ".join(shown).split() == ["word"] * 7_600
    assert (found[-1].kind, plain(found[-1])) == ("heading", "Next")


def test_a_very_long_line_without_spaces() -> None:
    """It is cut anywhere, and nothing is lost."""
    found = parsed("x" * 36_000 + "\n\nend")
    assert [len(plain(p)) for p in found] == [16_000, 16_000, 4_000, 3]


@pytest.mark.parametrize("size", [999, 100_000])
def test_the_data_of_an_image_is_not_shown(size: int) -> None:
    """Some gateways send an image as a link to its data, which no widget shows: its label stands for it."""
    text = f"one\n\na ![picture](data:image/png;base64,{'iVBORw0K' * 8_000}) b\n"
    found = parsed(*(text[at : at + size] for at in range(0, len(text), size)))
    assert [plain(paragraph) for paragraph in found] == ["one", "a picture b"]


def test_code_keeps_a_link_to_data() -> None:
    line = f"![picture](data:image/png;base64,{'A' * 36_000})"
    assert "".join(map(plain, parsed(f"```\n{line}\n```\n"))) == line


def test_a_paragraph_of_many_lines() -> None:
    """A new one begins after some thousand characters; each holds whole lines."""
    found = parsed("some words\n" * 4_000)
    assert [len(plain(p).split()) for p in found] == [3_200, 3_200, 1_600]
    assert {p.kind for p in found} == {"text"}


@pytest.mark.parametrize("size", [7, 100_000])
def test_plain_text_is_cut_at_line_ends(size: int) -> None:
    """However it arrives; a text that is shorter stays whole."""
    source = "a line\n" * 4_000 + "end"
    parser = PlainParser("quote")
    for at in range(0, len(source), size):
        parser.feed(source[at : at + size])
    assert "\n".join(map(plain, parser.paragraphs)) == source
    assert [(p.kind, len(plain(p)) < 16_000) for p in parser.paragraphs] == [("quote", True)] * 2


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
