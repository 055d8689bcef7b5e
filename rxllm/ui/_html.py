"""Markdown paragraphs as HTML that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ._markdown import Paragraph, Run

_TAGS = {"bold": "b", "italic": "i", "strike": "s", "code": "code"}

_GOES_ON = "</table><table continued>"
"""Between the parts of a long table; text cannot contain it, as its `<` is escaped."""


def to_html(paragraphs: Iterable[Paragraph]) -> str:
    """Return paragraphs as HTML.

    >>> to_html([Paragraph("text", (Run("<b>", ("bold",)), Run("x", (), "https://a.b/?c&d")))])
    '<p><b>&lt;b&gt;</b><a href="https://a.b/?c&amp;d" rel="noopener noreferrer">x</a></p>'
    """
    return "".join(map(_paragraph, paragraphs)).replace(_GOES_ON, "")


def _paragraph(paragraph: Paragraph) -> str:
    text = _runs(paragraph.runs)
    match paragraph.kind:
        case "heading":
            return f"<h{paragraph.level}>{text}</h{paragraph.level}>"
        case "item":
            return f'<div style="margin-left:{1.5 * paragraph.level + 1}em">{escape(paragraph.marker)} {text}</div>'
        case "quote":
            return f"<blockquote>{text}</blockquote>"
        case "code":
            return f'<pre style="margin:0">{text or " "}</pre>'
        case "rule":
            return "<hr>"
        case "table":
            rows = "".join(
                "<tr>" + "".join(f"<td>{_runs(cell)}</td>" for cell in row) + "</tr>" for row in paragraph.rows
            )
            return f"<table continued>{rows}</table>" if paragraph.level else f"<table>{rows}</table>"
        case _:
            return f"<p>{text}</p>"


def _runs(runs: Sequence[Run]) -> str:
    return "".join(map(_run, runs))


def _run(run: Run) -> str:
    text = escape(run.text).replace("\n", "<br>")
    for style in run.styles:
        if tag := _TAGS.get(style):
            text = f"<{tag}>{text}</{tag}>"
    if run.link:
        text = f'<a href="{escape(run.link)}" rel="noopener noreferrer">{text}</a>'
    return text
