"""`think_tags`: reasoning that a model writes into its text, between tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import ConfigurationError
from ...events import ReasoningDelta, TextDelta, TokenEvent
from .._operator import Operator
from .filters import possible_start
from .text_operator import filter_text


def think_tags(*tags: str | tuple[str, str], opened: bool = False) -> Operator[TokenEvent, TokenEvent]:
    """Turn text between tags such as `<think>` and `</think>` into `ReasoningDelta`, also if a delta cuts a tag.

    A tag opens reasoning only at the start of a run of text (after white space or other reasoning): an answer may
    mention `<think>`. An opening tag that is repeated at once is dropped, and so is `<think/>`. Tags inside the
    reasoning nest; they stay in it. If the reasoning holds an opening tag of its own, text after the first closing
    tag is held back until a further closing tag comes, or the run ends: only then is it certain which of the two
    closed the reasoning. Reasoning that is never closed lasts to the end of the run.

    Args:
        tags: Names ("think" stands for `<think>` and `</think>`, the opening tag may have attributes), or pairs of an
            opening and a closing text. Default: all forms that are known of models: `<think>`, `<thinking>`,
            `<thought>`, `[THINK]` (Mistral), `◁think▷` (Kimi), the channels of Harmony (gpt-oss) and of Gemma.
        opened: The answer begins inside the reasoning of the first tag, because the chat template has put the opening
            tag into the prompt.

    Raises:
        ConfigurationError: A tag is neither a name of letters, digits, "_" and "-", nor a pair of two texts.
    """
    forms = tuple(map(_form_of, tags)) or _KNOWN_FORMS
    return filter_text("think_tags", lambda: _ThinkTags(forms, opened))


class _Form(NamedTuple):
    """One way to mark reasoning."""

    opening: str
    """The text of the opening tag; of a name, without ">", as attributes may follow."""
    closing: str
    """The text of the closing tag; "" if what is opened is the answer."""
    has_attributes: bool = False
    end: str = ""
    """What the vendor writes after the answer; it is dropped."""


_MAX_TAG = 200
"""Characters of an opening tag with attributes."""

_LATER = -1
"""In place of an end: more text is needed to find it."""

_NAME = re.compile(r"[\w-]+")
_BLANK = re.compile(r"[\s\ufeff\u200b]*")
"""What may stand before the tag: white space, a byte order mark, a space of no width."""


def _named(name: str) -> _Form:
    return _Form(f"<{name}", f"</{name}>", has_attributes=True)


_KNOWN_FORMS = (
    _named("think"),
    _named("thinking"),
    _named("thought"),
    _Form("[THINK]", "[/THINK]"),
    _Form("◁think▷", "◁/think▷"),
    _Form("<|channel>thought\n", "<channel|>"),
    *(
        _Form(f"{start}<|channel|>{opening}<|message|>", closing, end="<|return|>")
        for start in ("", "<|start|>assistant")
        for opening, closing in (("analysis", "<|end|><|start|>assistant<|channel|>final<|message|>"), ("final", ""))
    ),
)


def _form_of(tag: object) -> _Form:
    match tag:
        case str() if _NAME.fullmatch(tag):
            return _named(tag)
        case (str() as opening, str() as closing) if opening and closing:
            return _Form(opening, closing)
        case _:
            raise ConfigurationError(
                f"think_tags() takes names such as 'think' and pairs such as ('[THINK]', '[/THINK]'); got {tag!r}"
            )


class _ThinkTags:
    """The filter of `think_tags`."""

    def __init__(self, forms: Sequence[_Form], opened: bool) -> None:
        self._forms = forms
        self._start_run(forms[0] if opened else None)

    def _start_run(self, form: _Form | None) -> None:
        self._form = form
        """The tags of the reasoning; None outside of it."""
        self._last_form: _Form | None = None
        """The tags of the newest reasoning."""
        self._in_answer = False
        """Text that is no reasoning has begun."""
        self._thought_begun = False
        """A character of the reasoning, other than white space, has come."""
        self._nested = 0
        self._after_closing: str | None = None
        """Text after a closing tag that may have been a nested one."""
        self._held: str = ""

    def feed(self, text: str, /) -> Sequence[TextDelta | ReasoningDelta]:
        text, self._held = self._held + text, ""
        out: list[TextDelta | ReasoningDelta] = []
        while text and not self._in_answer:
            text = self._read_start(text, out) if self._form is None else self._read_thought(text, out, self._form)
        if text:
            self._add_answer(text, out)
        return out

    def close(self) -> Sequence[TextDelta | ReasoningDelta]:
        """Return what was held back, and start anew: the next run of text may think again."""
        out: list[TextDelta | ReasoningDelta] = []
        if self._after_closing is not None:
            _add(out, TextDelta, self._after_closing + self._held)
        else:
            _add(out, TextDelta if self._form is None else ReasoningDelta, self._held)
        self._start_run(None)
        return out

    def _read_start(self, text: str, out: list[TextDelta | ReasoningDelta]) -> str:
        """Read up to the first opening tag; return the rest."""
        begin = _BLANK.match(text).end()  # type: ignore[union-attr]  # it always matches
        _add(out, TextDelta, text[:begin])
        text = text[begin:]
        for form in self._forms:
            end = _opening_end(form, text, 0)
            if end > 0:
                if not _is_empty(text, end, form):
                    self._last_form = form
                    self._form = form if form.closing else None
                    self._in_answer = not form.closing
                    self._thought_begun = False
                return text[end:]
            if end == _LATER:
                self._held = text
                return ""
        self._in_answer = bool(text)
        return text

    def _read_thought(self, text: str, out: list[TextDelta | ReasoningDelta], form: _Form) -> str:
        """Read up to the next tag; return the rest."""
        closing = text.find(form.closing)
        opening, opening_end = _find_opening(form, text, closing if closing >= 0 else len(text))
        if opening_end > 0:
            if _is_empty(text, opening_end, form):
                self._add_thought(text[:opening_end], out)
            elif not self._thought_begun and not text[:opening].strip():  # a repeated opening tag
                self._add_thought(text[:opening], out)
            else:
                self._nested += 1
                self._add_thought(text[:opening_end], out)
            return text[opening_end:]
        if closing >= 0:
            return self._read_closing(text, closing, out, form)
        safe = min(opening, possible_start(text, form.closing))
        self._add_thought(text[:safe], out)
        self._held = text[safe:]
        return ""

    def _read_closing(self, text: str, at: int, out: list[TextDelta | ReasoningDelta], form: _Form) -> str:
        """Read a closing tag at `at`; whether one of nested tags was the last is known only after the next one."""
        self._add_thought(text[:at], out)
        if self._after_closing is not None:  # the closing tag before this one was a nested one
            _add(out, ReasoningDelta, form.closing + self._after_closing)
            self._after_closing = None
        if self._nested == 0:
            self._form = None
        else:
            self._nested -= 1
            self._after_closing = ""
        return text[at + len(form.closing) :]

    def _add_thought(self, text: str, out: list[TextDelta | ReasoningDelta]) -> None:
        if self._after_closing is not None:
            self._after_closing += text
            return
        self._thought_begun = self._thought_begun or bool(text.strip())
        _add(out, ReasoningDelta, text)

    def _add_answer(self, text: str, out: list[TextDelta | ReasoningDelta]) -> None:
        end = self._last_form.end if self._last_form is not None else ""
        if end:
            text = text.replace(end, "")
            safe = possible_start(text, end)
            text, self._held = text[:safe], text[safe:]
        _add(out, TextDelta, text)


def _opening_end(form: _Form, text: str, at: int) -> int:
    """Return where the opening tag at `at` ends; 0 if there is none, `_LATER` if more text is needed."""
    if not text.startswith(form.opening, at):
        return _LATER if form.opening.startswith(text[at:]) else 0
    end = at + len(form.opening)
    if not form.has_attributes:
        return end
    if end == len(text):
        return _LATER
    if text[end] == ">":
        return end + 1
    if text[end] == "/":
        return end + 2 if text[end + 1 : end + 2] == ">" else _LATER if end + 1 == len(text) else 0
    if not text[end].isspace():
        return 0
    last = text.find(">", end, at + _MAX_TAG)
    if last >= 0:
        return 0 if "<" in text[end:last] else last + 1
    return _LATER if len(text) - at < _MAX_TAG and "<" not in text[end:] else 0


def _is_empty(text: str, end: int, form: _Form) -> bool:
    """Return whether the opening tag that ends at `end` closes itself: `<think/>`."""
    return form.has_attributes and text[end - 2] == "/"


def _find_opening(form: _Form, text: str, before: int) -> tuple[int, int]:
    """Return where the next opening tag begins, and ends; (where it may begin, `_LATER`) if more text is needed."""
    at = text.find(form.opening[0], 0, before)
    while at >= 0:
        end = _opening_end(form, text, at)
        if end > 0 or (end == _LATER and before == len(text)):
            return at, end
        at = text.find(form.opening[0], at + 1, before)
    return len(text), 0


def _add(out: list[TextDelta | ReasoningDelta], kind: type[TextDelta] | type[ReasoningDelta], text: str) -> None:
    """Append `text`, as part of the last delta if that is of its kind."""
    if not text:
        return
    if out and type(out[-1]) is kind:
        out[-1] = kind(out[-1].text + text)
    else:
        out.append(kind(text))
