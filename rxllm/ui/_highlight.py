"""Colours of code, from Pygments if that is installed; loaded by a worker, as it takes up to a tenth of a second."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from msgspec.structs import replace
from reactivex.subject import Subject

from .._runtime.thread_cache import workers
from ._markdown import Paragraph, Run, Style, merged

_MOST_LANGUAGES = 100
"""A model can name any number of languages."""

_LONGEST_LINE = 1_000
"""Characters; a Tk text needs seconds for a line with thousands of colours."""

_STYLES: dict[str, Style] = {
    "Token.Keyword": "keyword",
    "Token.Literal.String": "string",
    "Token.Comment": "comment",
    "Token.Literal.Number": "number",
    "Token.Name.Function": "name",
    "Token.Name.Class": "name",
}
"""By the beginning of a token type of Pygments, as it prints it."""


class Highlighter:
    """Colours lines of code; those of a language whose lexer is not loaded yet stay as they are."""

    def __init__(self) -> None:
        self.loaded: Subject[str] = Subject()
        """Emits a language, on a worker, when its lexer has been loaded."""
        self.lexers: dict[str, Any] = {}
        self._asked: set[str] = set()
        self._load("python")

    def highlighted(self, paragraph: Paragraph) -> Paragraph:
        """Return a line of code with colours, and any other paragraph as it is; load the lexer if it is not."""
        if paragraph.kind != "code" or len(paragraph.runs) != 1:  # it is empty, or has colours
            return paragraph
        lexer = self.lexers.get(paragraph.marker)
        if lexer is None:
            self._load(paragraph.marker)
            return paragraph
        if len(paragraph.runs[0].text) > _LONGEST_LINE or paragraph.level == 2:  # or it goes on with such a line
            return paragraph
        tokens = lexer.get_tokens(paragraph.runs[0].text)
        return replace(paragraph, runs=merged(Run(text.rstrip("\n"), _styles_of(str(kind))) for kind, text in tokens))

    def _load(self, language: str) -> None:
        """Start to load a lexer, once. Without it, or without a thread for it, the code has no colours."""
        if not language or language in self._asked or len(self._asked) >= _MOST_LANGUAGES:
            return
        self._asked.add(language)
        try:
            workers.run("rxllm-lexer", partial(self._import_lexer, language))
        except RuntimeError:
            return

    def _import_lexer(self, language: str) -> None:
        try:
            lexer = import_module("pygments.lexers").get_lexer_by_name(language, stripnl=False)
        except Exception:  # it is not installed, or knows no such language
            return
        self.lexers[language] = lexer
        self.loaded.on_next(language)


def _styles_of(token: str) -> tuple[Style, ...]:
    """Return the styles for a token type of Pygments.

    >>> _styles_of("Token.Literal.String.Double"), _styles_of("Token.Text")
    (('string',), ())
    """
    return tuple(style for prefix, style in _STYLES.items() if token.startswith(prefix))
