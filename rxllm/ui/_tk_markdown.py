r"""Markdown as styled pieces of text, as far as a Tk text widget can show it: no pictures, tables as they are written.

>>> styled("- **Bold** `code`\n")
[('•  ', ('md-item',)), ('Bold', ('md-item', 'md-bold')), (' ', ('md-item',)), ('code', ('md-item', 'md-code'))]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Piece: TypeAlias = tuple[str, tuple[str, ...]]
"""Text and the tags it bears."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_ITEM = re.compile(r"([ \t]*)(?:[-*+]|(\d{1,9}[.)]))\s+(.*)")
_QUOTE = re.compile(r" {0,3}> ?(.*)")
_RULE = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*$")
_INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\*\*(?P<bold>\S(?:.*?\S)?)\*\*"
    r"|(?<!\w)(?P<mark>[*_])(?P<italic>\S(?:.*?\S)?)(?P=mark)(?!\w)"
    r"|\[(?P<link>[^\]]+)\]\([^)]*\)"
)
_HEADING_SIZES = (1.7, 1.4, 1.2, 1.1, 1.0, 1.0)


def styled(markdown: str) -> list[Piece]:
    """One block of Markdown in pieces, without a line end at its end."""
    pieces: list[Piece] = []
    fence = ""
    for line in markdown.rstrip("\n").split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif fence:
            _add_line(pieces, [(line, ("md-block",))])
        elif own := list(_line_of_its_own(line)):
            _add_line(pieces, own)
        elif line.strip():
            _continue(pieces, line.strip())
    return pieces


def looks(family: str, size: int, mono: str) -> Iterator[tuple[str, dict[str, str | int | tuple[str | int, ...]]]]:
    """Each tag, and how it looks in a text of this font; later ones win."""
    yield "md-text", {"spacing3": 6}
    for level, scale in enumerate(_HEADING_SIZES, 1):
        yield f"md-heading{level}", {"font": (family, round(size * scale), "bold"), "spacing1": 8, "spacing3": 4}
    yield "md-item", {"lmargin1": 16, "lmargin2": 32, "spacing3": 2}
    yield "md-quote", {"lmargin1": 20, "lmargin2": 20, "foreground": "#666666", "spacing3": 6}
    yield "md-block", {"font": (mono, size), "background": "#f0f0f4", "lmargin1": 8, "lmargin2": 8, "wrap": "none"}
    yield "md-code", {"font": (mono, size), "background": "#f0f0f4"}
    yield "md-bold", {"font": (family, size, "bold")}
    yield "md-italic", {"font": (family, size, "italic")}
    yield "md-link", {"foreground": "#1a5fb4", "underline": True}


def _line_of_its_own(line: str) -> Iterator[Piece]:
    """The pieces of a heading, item, quote, rule or row of a table; nothing for other lines."""
    if heading := _HEADING.match(line):
        yield from _inline(heading[2], f"md-heading{len(heading[1])}")
    elif _RULE.match(line):
        yield "─" * 24, ("md-quote",)
    elif item := _ITEM.match(line):
        yield f"{item[1]}{item[2] or '•'}  ", ("md-item",)
        yield from _inline(item[3], "md-item")
    elif quote := _QUOTE.match(line):
        yield from _inline(quote[1], "md-quote")
    elif line.lstrip().startswith("|"):
        yield line, ("md-block",)


def _continue(pieces: list[Piece], text: str) -> None:
    """Add text to the paragraph or item under way."""
    tag = pieces[-1][1][0] if pieces else "md-text"
    if pieces:
        pieces.append((" ", (tag,)))
    pieces.extend(_inline(text, tag))


def _add_line(pieces: list[Piece], line: list[Piece]) -> None:
    if pieces:
        pieces.append(("\n", pieces[-1][1][:1]))
    pieces.extend(line)


def _inline(text: str, tag: str) -> Iterator[Piece]:
    at = 0
    for match in _INLINE.finditer(text):
        if match.start() > at:
            yield text[at : match.start()], (tag,)
        kind = match.lastgroup or ""
        yield match[kind], (tag, f"md-{kind}")
        at = match.end()
    if at < len(text):
        yield text[at:], (tag,)
