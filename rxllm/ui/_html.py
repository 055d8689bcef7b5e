"""Markdown paragraphs as HTML that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ._markdown import Paragraph, Run

_TAGS = {"bold": "b", "italic": "i", "strike": "s", "code": "code"}

_FORMS = {
    "heading": "<h{level}>{text}</h{level}>",
    "item": '<div style="margin-left:{indent}em">{marker} {text}</div>',
    "quote": "<blockquote>{text}</blockquote>",
    "code": '<pre style="margin:0">{text}</pre>',
    "rule": "<hr>",
}

_GOES_ON = "</table><table continued>"
"""Between the parts of a long table; text cannot contain it, as its `<` is escaped."""


def to_html(paragraphs: Iterable[Paragraph]) -> str:
    """Return paragraphs as HTML.

    >>> to_html([Paragraph("text", (Run("<b>", ("bold",)), Run("x", (), "https://a.b/?c&d")))])
    '<p><b>&lt;b&gt;</b><a href="https://a.b/?c&amp;d" rel="noopener noreferrer">x</a></p>'
    """
    return "".join(map(_paragraph, paragraphs)).replace(_GOES_ON, "")


def _paragraph(paragraph: Paragraph) -> str:
    """Return one paragraph as HTML."""
    if paragraph.kind == "table":
        rows = ("".join(f"<td>{_runs(cell)}</td>" for cell in row) for row in paragraph.rows)
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table continued>{table}</table>" if paragraph.level else f"<table>{table}</table>"
    level, marker = paragraph.level, escape(paragraph.marker)
    form = _FORMS.get(paragraph.kind, "<p>{text}</p>")
    return form.format(level=level, marker=marker, indent=1.5 * level + 1, text=_runs(paragraph.runs) or " ")


def _runs(runs: Sequence[Run]) -> str:
    return "".join(map(_run, runs))


def _run(run: Run) -> str:
    """Return one run as HTML: its styles as tags, its link as an anchor."""
    text = escape(run.text).replace("\n", "<br>")
    for style in run.styles:
        if tag := _TAGS.get(style):
            text = f"<{tag}>{text}</{tag}>"
    if run.link:
        text = f'<a href="{escape(run.link)}" rel="noopener noreferrer">{text}</a>'
    return text
