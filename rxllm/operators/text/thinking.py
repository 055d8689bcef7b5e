"""`think_tags`: reasoning that a model writes into its text, between tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import starmap
from typing import NamedTuple

from ..._core.delta_merge import merge_deltas
from ..._json import table
from ...errors import ConfigurationError
from ...events import ReasoningDelta, TextDelta, TokenEvent
from .._operator import Operator
from .filters import possible_start
from .text_operator import filter_text


def think_tags(*tags: str | tuple[str, str], opened: bool = False) -> Operator[TokenEvent, TokenEvent]:
    """Turn text between tags such as `<think>` and `</think>` into `ReasoningDelta`, also if a delta cuts a tag.

    A tag opens reasoning only at the start of a run of text (after white space or other reasoning): an answer may
    mention `<think>`. An opening tag that is repeated at once is dropped, and so are `<think/>` and a closing tag at
    the start (of reasoning that the server has sent as such, or that was in the prompt). Tags inside the
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
    forms = tuple(map(_form_of, tags)) or _known_forms()
    return filter_text("think_tags", lambda: _ThinkTags(forms, opened))


class _Form(NamedTuple):
    """One way to mark reasoning."""

    tag: re.Pattern[str]
    """Matches an `opening` or `closing` tag, or as `maybe` the end of the text that may become one."""
    closing: str
    """The text of the closing tag; "" if what is opened is the answer."""
    end: str = ""
    """What the vendor writes after the answer; it is dropped."""


_NAME = re.compile(r"[\w-]+")
_BLANK = re.compile(r"[\s\ufeff\u200b]*")
"""What may stand before the tag: white space, a byte order mark, a space of no width."""


def _form(opening: str, maybe_opening: str, closing: str, end: str = "") -> _Form:
    """Return the form of an opening tag (the patterns of it, and of its beginnings) and the text of a closing tag."""
    closed = f"|(?P<closing>{re.escape(closing)})" if closing else ""
    maybe = rf"(?P<maybe>{maybe_opening}|{_beginnings(closing)})\Z"
    return _Form(re.compile(f"(?P<opening>{opening}){closed}|{maybe}"), closing, end)


def _pair(opening: str, closing: str, end: str = "") -> _Form:
    return _form(re.escape(opening), _beginnings(opening), closing, end)


def _named(name: str) -> _Form:
    """Return the form of a name: its opening tag may have attributes of up to 200 characters, or close itself."""
    opening = rf"<{name}(?:\s[^<>]{{0,200}}?)?"
    return _form(rf"{opening}(?P<closes_itself>/)?>", f"{opening}/?|{_beginnings(f'<{name}')}", f"</{name}>")


def _beginnings(text: str) -> str:
    """Return the pattern of the beginnings of `text`: of "tag", `t(?:a)?`."""
    begun = text[:-1]
    return "(?:".join(map(re.escape, begun)) + ")?" * (len(begun) - 1)


@cache
def _known_forms() -> tuple[_Form, ...]:
    """Return the forms of known models; made at the first use, as their patterns take milliseconds to compile.

    A row of `think_tags.json` is an opening tag, a closing tag, and what the model writes after the answer.
    """
    pairs = table("rxllm.operators.text", "think_tags.json", list[tuple[str, str, str]])
    return (*map(_named, ("think", "thinking", "thought")), *starmap(_pair, pairs))


def _form_of(tag: object) -> _Form:
    """Return the form of a name or a pair; raise `ConfigurationError` for anything else."""
    match tag:
        case str() if _NAME.fullmatch(tag):
            return _named(tag)
        case (str() as opening, str() as closing) if opening and closing:
            return _pair(opening, closing)
        case _:
            raise ConfigurationError(
                f"think_tags() takes names such as 'think' and pairs such as ('[THINK]', '[/THINK]'); got {tag!r}"
            )


class _ThinkTags:
    """The filter of `think_tags`."""

    def __init__(self, forms: Sequence[_Form], opened: bool) -> None:
        self._forms = forms
        self._out: list[TextDelta | ReasoningDelta] = []
        self._start_run(forms[0] if opened else None)

    def _start_run(self, form: _Form | None) -> None:
        """Forget the run of text before; `form` is the reasoning that the next run begins in."""
        self._form = form
        """The tags of the reasoning; None outside of it."""
        self._end_of_answer = ""
        """What the vendor of the newest tags writes after the answer."""
        self._in_answer = False
        """Text that is not reasoning has begun: from here on tags are text."""
        self._thought_begun = False
        """A character of the reasoning, other than white space, has come. Until then another opening tag is dropped."""
        self._nested = 0
        """Opening tags within the reasoning that have no closing tag yet."""
        self._after_closing: str | None = None
        """Text after a closing tag that may have been a nested one."""
        self._held: str = ""
        """The end of the text so far, which may become a tag."""

    def feed(self, text: str, /) -> Sequence[TextDelta | ReasoningDelta]:
        """Return the reasoning and the answer in `text`; hold back what may be a tag."""
        text, self._held = self._held + text, ""
        while text and not self._in_answer:
            text = self._read_start(text) if self._form is None else self._read_thought(text, self._form)
        if self._end_of_answer and text:
            text = text.replace(self._end_of_answer, "")
            safe = possible_start(text, self._end_of_answer)
            text, self._held = text[:safe], text[safe:]
        self._add(TextDelta, text)
        return self._take()

    def close(self) -> Sequence[TextDelta | ReasoningDelta]:
        """Return what was held back, and start anew: the next run of text may think again."""
        in_thought = self._form is not None and self._after_closing is None
        self._add(ReasoningDelta if in_thought else TextDelta, (self._after_closing or "") + self._held)
        self._start_run(None)
        return self._take()

    def _read_start(self, text: str) -> str:
        """Read up to the first opening tag; return the rest. A closing tag before it is dropped."""
        begin = _BLANK.match(text).end()  # type: ignore[union-attr]  # it always matches
        self._add(TextDelta, text[:begin])
        text = text[begin:]
        for form in self._forms:
            match = form.tag.match(text)
            if match is None:
                continue
            if match.lastgroup == "maybe":
                self._held = text
                return ""
            if match.lastgroup == "opening" and not _closes_itself(match):
                self._end_of_answer = form.end
                self._form = form if form.closing else None
                self._in_answer = not form.closing
                self._thought_begun = False
            return text[match.end() :]
        self._in_answer = bool(text)
        return text

    def _read_thought(self, text: str, form: _Form) -> str:
        """Read up to the next tag; return the rest. A nested tag stays in the reasoning, a repeated one does not."""
        match = form.tag.search(text)
        if match is None:
            self._think(text)
            return ""
        before, tag = text[: match.start()], match[0]
        opens = match.lastgroup == "opening" and not _closes_itself(match)
        is_repeated = opens and not self._thought_begun and not before.strip()
        self._nested += opens and not is_repeated
        self._think(before + tag if match.lastgroup == "opening" and not is_repeated else before)
        if match.lastgroup == "maybe":
            self._held = tag
        elif match.lastgroup == "closing":
            self._close_thought(form)
        return text[match.end() :]

    def _close_thought(self, form: _Form) -> None:
        """End the reasoning at a closing tag; whether one of nested tags was the last is known after the next one."""
        if self._after_closing is not None:  # the closing tag before this one was a nested one
            self._add(ReasoningDelta, form.closing + self._after_closing)
        self._form, self._after_closing = (form, "") if self._nested else (None, None)
        self._nested = max(0, self._nested - 1)

    def _think(self, text: str) -> None:
        """Add reasoning; hold it back if a closing tag before it may have been the last: it may be answer."""
        if self._after_closing is not None:
            self._after_closing += text
            return
        self._thought_begun = self._thought_begun or bool(text.strip())
        self._add(ReasoningDelta, text)

    def _add(self, kind: type[TextDelta] | type[ReasoningDelta], text: str) -> None:
        if text:
            self._out.append(kind(text))

    def _take(self) -> Sequence[TextDelta | ReasoningDelta]:
        """Return what was added, adjacent deltas of a kind as one."""
        out, self._out = self._out, []
        return out if len(out) < 2 else merge_deltas(out)


def _closes_itself(opening: re.Match[str]) -> bool:
    """Return whether the opening tag closes itself: `<think/>`."""
    return bool(opening.groupdict().get("closes_itself"))
