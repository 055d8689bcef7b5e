"""A chat session's messages as paragraphs in a text widget: the part of a chat view that all toolkits share.

What a user may do with a message is a link in it, of the form ``rxllm:action/message/detail``. Text of a model cannot
contain such links.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any, Literal, Protocol

from .._inert_text import inert_text
from .._json import encode
from ..assistant import ChatMessage, ChatPart, ChatSession, ChatStatus, ErrorPart, ToolPart
from ..messages import ReasoningPart, TextPart
from ._markdown import SAFE_LINK, MarkdownParser, Paragraph, Run, Style, merged
from ._markdown_view import MarkdownRegion, ParagraphView

_LONGEST_RESULT = 300
"""Characters of a tool's result that are shown."""

_TOOL_STATES = {
    "called": "…",
    "waiting": "needs your approval",
    "running": "runs …",
    "done": "✓",
    "failed": "failed",
    "refused": "refused",
    "cancelled": "cancelled",
}

STATUS_TEXTS: dict[ChatStatus, str] = {"ready": "", "submitted": "Asking …", "streaming": "Answering …", "error": ""}
"""What a view shows beside its input."""

_SENDERS: dict[Literal["user", "assistant"], str] = {"user": "You", "assistant": "Assistant"}


class ChatActions(Protocol):
    """What a view does for links that the session cannot see to."""

    def copy(self, text: str, /) -> None:
        """Put text on the clipboard."""

    def edit(self, text: str, /) -> None:
        """Let the user edit a text."""

    def open_link(self, address: str, /) -> None:
        """Open an http, https or mailto address."""


class Transcript:
    """Shows the messages of a session, each in a region of its own. All on the UI thread."""

    def __init__(self, session: ChatSession, new_region: Callable[[], MarkdownRegion], actions: ChatActions) -> None:
        self._session = session
        self._new_region = new_region
        self._actions = actions
        self._shown: list[_ShownMessage] = []
        self._edited = ""
        """The message that the next one that is sent replaces."""

    def send(self, text: str) -> None:
        """Send a text, or put it in the place of the message that the user edits, and drop what follows that."""
        edited, self._edited = self._edited, ""
        if not (edited and self._session.edit(edited, text)):
            self._session.send(text)

    def show(self, messages: Sequence[ChatMessage]) -> None:
        """Show these messages instead of the current ones. The first ones with the same ids keep their regions."""
        same = sum(1 for _ in takewhile(_has_same_id, zip(self._shown, messages, strict=False)))
        for shown in reversed(self._shown[same:]):
            shown.remove()
        del self._shown[same:]
        for shown, message in zip(self._shown, messages, strict=False):
            shown.show(message)
        for message in messages[same:]:
            self._shown.append(shown := _ShownMessage(self._new_region()))
            shown.show(message)

    def click(self, address: str) -> None:
        """Run the action of a link."""
        action, _, rest = address.removeprefix("rxllm:").partition("/")
        name, _, detail = rest.partition("/")
        shown = next((shown for shown in self._shown if shown.message and shown.message.id == name), None)
        if SAFE_LINK.match(address):
            self._actions.open_link(address)
        elif shown is None or shown.message is None:
            return  # the message has been dropped since
        elif action == "edit":
            self._edited = name
            self._actions.edit(shown.message.text)
        elif action == "copy":
            self._actions.copy(shown.code_at(int(detail)))
        elif action == "fold":
            shown.toggle(int(detail))
        else:
            self._session.approve(detail, action == "allow", "the user said no")


class _ShownMessage:
    """One message in its region."""

    def __init__(self, region: MarkdownRegion) -> None:
        self.message: ChatMessage | None = None
        self._region = region
        self._view = ParagraphView(region)
        self._paragraphs: list[Paragraph] = []
        self._parsers: dict[int, tuple[str, MarkdownParser]] = {}
        self._open: set[int] = set()
        """The parts with reasoning that are unfolded."""

    def show(self, message: ChatMessage) -> None:
        if message is self.message:
            return
        self.message = message
        self._render()

    def remove(self) -> None:
        self._region.reset()

    def toggle(self, part: int) -> None:
        """Fold or unfold reasoning."""
        self._open ^= {part}
        self._render()

    def code_at(self, at: int) -> str:
        """Return the code below the paragraph with this index."""
        lines = takewhile(lambda paragraph: paragraph.kind == "code", self._paragraphs[at + 1 :])
        return "".join("".join(run.text for run in line.runs) + "\n" for line in lines)

    def _render(self) -> None:
        before, self._paragraphs = self._paragraphs, list(self._all_paragraphs())
        first = sum(1 for _ in takewhile(_equal_paragraphs, zip(before, self._paragraphs, strict=False)))
        if first < max(len(before), len(self._paragraphs)):
            with self._region.change():
                self._view.show(self._paragraphs, first)

    def _all_paragraphs(self) -> Iterator[Paragraph]:
        """Yield the paragraphs of the message, with its sender and a header above each block of code."""
        message = self.message
        if message is None:
            return
        edit = (
            (Run("   ", ("faint",)), Run("edit", ("faint",), f"rxllm:edit/{message.id}"))
            if message.role == "user"
            else ()
        )
        yield Paragraph("heading", (Run(_SENDERS[message.role]), *edit), 5)
        at, kind = 1, ""
        for number, part in enumerate(message.parts):
            for paragraph in self._of_part(number, part, message):
                if paragraph.kind == "code" and kind != "code":
                    yield _code_header(paragraph, message.id, at)
                    at += 1
                kind = paragraph.kind
                yield paragraph
                at += 1
        if message.status == "stopped":
            yield Paragraph("text", (Run("■ stopped", ("faint",)),))
        elif message.status == "streaming" and not message.parts:
            yield Paragraph("text", (Run("…", ("faint",)),))

    def _of_part(self, number: int, part: ChatPart, message: ChatMessage) -> Iterator[Paragraph]:
        """Yield the paragraphs of a part; links inside them fold, allow or deny."""
        match part:
            case TextPart(text) if message.role == "assistant":
                for paragraph in self._markdown(number, text, ended=message.status != "streaming"):
                    yield _highlighted(paragraph) if paragraph.kind == "code" else paragraph
            case TextPart(text):
                yield Paragraph("text", (Run(inert_text(text)),))
            case ReasoningPart(text):
                sign = "▾" if number in self._open else "▸"
                yield Paragraph("text", (Run(f"{sign} Thinking", ("faint",), f"rxllm:fold/{message.id}/{number}"),))
                if number in self._open:
                    yield Paragraph("quote", (Run(inert_text(text)),))
            case ToolPart():
                yield from _tool_card(part, message.id)
            case ErrorPart(text):
                yield Paragraph("text", (Run(f"⚠ {inert_text(text)}", ("error",)),))
            case _:
                yield Paragraph("text", (Run(f"[{type(part).__name__.removesuffix('Part').lower()}]", ("faint",)),))

    def _markdown(self, number: int, text: str, *, ended: bool) -> Sequence[Paragraph]:
        """Parse what a part has grown by."""
        before, parser = self._parsers.get(number, ("", MarkdownParser()))
        if not text.startswith(before):
            before, parser = "", MarkdownParser()
        parser.feed(inert_text(text[len(before) :]))
        self._parsers[number] = text, parser
        if ended:
            del self._parsers[number]
            parser.finish()
        return parser.paragraphs


def tool_texts(part: ToolPart) -> tuple[str, str, str]:
    """Return what is shown of a tool call, inert: the call, its state, its result."""
    arguments = ", ".join(f"{name}={encode(value).decode()}" for name, value in part.arguments.items())
    progress = f"  {part.progress}" if part.state == "running" and part.progress is not None else ""
    call, state = f"{part.name}({arguments})", f"{_TOOL_STATES[part.state]}{progress[:_LONGEST_RESULT]}"
    result = part.result[:_LONGEST_RESULT] + "…" * (len(part.result) > _LONGEST_RESULT)
    return inert_text(call), inert_text(state), inert_text(result)


def _tool_card(part: ToolPart, message: str) -> Iterator[Paragraph]:
    """Yield the paragraphs of a tool's call, with links to allow or deny it while it waits."""
    call, state, result = tool_texts(part)
    looks: tuple[Style, ...] = ("error",) if part.state in ("failed", "refused") else ("faint",)
    runs = [Run("⚙ ", ("faint",)), Run(call, ("code",)), Run(f"  {state}", looks)]
    if part.state == "waiting":
        for action, label in (("allow", "Allow"), ("deny", "Deny")):
            runs += [Run("   "), Run(label, ("bold",), f"rxllm:{action}/{message}/{part.id}")]
    yield Paragraph("text", tuple(runs))
    if result:
        yield Paragraph("quote", (Run(result, ("faint",)),))


def _code_header(code: Paragraph, message: str, at: int) -> Paragraph:
    """Return the line above code, with its language and a link that copies it."""
    language = f"{code.marker}   " if code.marker else ""
    return Paragraph("text", (Run(language, ("faint",)), Run("copy", ("faint",), f"rxllm:copy/{message}/{at}")))


def _highlighted(code: Paragraph) -> Paragraph:
    """Return a line of code with the colours that Pygments gives it; unchanged if Pygments is not installed."""
    lexer = _lexer(code.marker)
    if lexer is None or not code.runs:
        return code
    tokens = lexer.get_tokens(code.runs[0].text)
    return code._replace(runs=merged(Run(text.rstrip("\n"), _styles_of(str(kind))) for kind, text in tokens))


@functools.cache
def _lexer(language: str) -> Any:
    """Return the lexer of Pygments for a language; None if there is none."""
    try:
        return import_module("pygments.lexers").get_lexer_by_name(language, stripnl=False)
    except Exception:  # it is not installed, or knows no such language
        return None


def _styles_of(token: str) -> tuple[Style, ...]:
    """Return the styles for a token type of Pygments, as it prints it.

    >>> _styles_of("Token.Literal.String.Double"), _styles_of("Token.Text")
    (('string',), ())
    """
    found: dict[str, Style] = {
        "Token.Keyword": "keyword",
        "Token.Literal.String": "string",
        "Token.Comment": "comment",
        "Token.Literal.Number": "number",
        "Token.Name.Function": "name",
        "Token.Name.Class": "name",
    }
    return tuple(style for prefix, style in found.items() if token.startswith(prefix))


def _has_same_id(pair: tuple[_ShownMessage, ChatMessage]) -> bool:
    shown, message = pair
    return shown.message is not None and shown.message.id == message.id


def _equal_paragraphs(pair: tuple[Paragraph, Paragraph]) -> bool:
    return pair[0] == pair[1]
