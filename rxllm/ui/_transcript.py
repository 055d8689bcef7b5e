"""A chat session's messages as paragraphs in a text widget: the part of a chat view that all toolkits share.

What a user may do with a message is a link in it, of the form ``rxllm:action/message/detail``. Text of a model cannot
contain such links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Literal, Protocol

import reactivex
from reactivex import Observable
from reactivex import operators as rx

from .._json import encode
from .._text_without_controls import inert_text
from ..assistant import ChatMessage, ChatPart, ChatSession, ChatStatus, ErrorPart, ToolPart
from ..messages import ReasoningPart, TextPart
from ._highlight import Highlighter
from ._markdown import SAFE_LINK, MarkdownParser, Paragraph, Run, Style
from ._markdown_view import MarkdownRegion, ParagraphView, common_length

_LONGEST_RESULT = 300
"""Characters of a tool's result that are shown."""

_LONGEST_CALL = 5_000
"""Characters of a tool call: enough to decide on it; a file of a megabyte in its arguments would freeze the window."""

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

SENDERS: dict[Literal["user", "assistant"], str] = {"user": "You", "assistant": "Assistant"}


class ChatActions(Protocol):
    """What a view does when a link needs the clipboard, the input or the browser."""

    def copy(self, text: str, /) -> None:
        """Put text on the clipboard."""

    def edit(self, text: str, /) -> None:
        """Let the user edit a text."""

    def open_link(self, address: str, /) -> None:
        """Open an http, https or mailto address."""


class Transcript:
    """Shows the messages of a session, each in a region of its own. All on the UI thread."""

    def __init__(self, session: ChatSession, new_region: Callable[[], MarkdownRegion], actions: ChatActions) -> None:
        """Begin with no message shown; `new_region` makes a region at the end of the widget."""
        self._session = session
        self._new_region = new_region
        self._actions = actions
        self._highlighter = Highlighter()
        self._shown: dict[str, _ShownMessage] = {}
        """By the id of the message."""
        self._edited_id = ""
        """The message that the next call of `send` replaces; empty for none."""

    @property
    def changes(self) -> Observable[object]:
        """Emits, on any thread, when there is something new to show; stops the answer when it is disposed."""
        loaded = self._highlighter.loaded
        states = self._session.states.pipe(rx.do_action(on_completed=loaded.on_completed))
        return reactivex.merge(states, loaded).pipe(rx.finally_action(self._session.stop))

    def send(self, text: str) -> None:
        """Send a text, or put it in the place of the message that the user edits, and drop what follows that."""
        edited_id, self._edited_id = self._edited_id, ""
        if not (edited_id and self._session.edit(edited_id, text)):
            self._session.send(text)

    def show(self, messages: Sequence[ChatMessage]) -> None:
        """Show these messages instead of the current ones. As far as the ids are the same, regions are kept."""
        ids = list(self._shown)
        for message_id in reversed(ids[common_length(ids, [each.id for each in messages]) :]):
            self._shown.pop(message_id).view.clear()
        for each in messages:
            if each.id not in self._shown:
                self._shown[each.id] = _ShownMessage(self._new_region(), self._highlighter)
            self._shown[each.id].show(each)

    def click(self, address: str) -> None:
        """Run the action of a link."""
        action, _, rest = address.removeprefix("rxllm:").partition("/")
        message_id, _, detail = rest.partition("/")
        if SAFE_LINK.match(address):
            self._actions.open_link(address)
        elif (shown := self._shown.get(message_id)) is None:
            return  # the message has been dropped since
        elif action == "edit":
            self._edited_id = message_id
            self._actions.edit(shown.message.text)
        elif action == "copy":
            self._actions.copy(shown.code_at(int(detail)))
        elif action == "fold":
            shown.toggle(int(detail))
        else:
            self._session.approve(detail, action == "allow", "the user said no")


class _ShownMessage:
    """One message in its region."""

    def __init__(self, region: MarkdownRegion, highlighter: Highlighter) -> None:
        """Show nothing yet."""
        self.message = ChatMessage("", "user")
        self.view = ParagraphView(region)
        self._highlighter = highlighter
        self._languages: int = 0
        """How many languages could be highlighted when this was shown last."""
        self._paragraphs: list[Paragraph] = []
        self._parsed: dict[int, tuple[str, MarkdownParser, list[Paragraph]]] = {}
        """By the index of a part: the text that is parsed, its parser, and the paragraphs with colours."""
        self._open: set[int] = set()
        """The indexes of the parts with reasoning that are unfolded."""

    def show(self, message: ChatMessage) -> None:
        """Show the message, unless neither it nor the set of known languages has changed."""
        languages = len(self._highlighter.lexers)
        if languages != self._languages:
            self._parsed.clear()
        elif message is self.message:
            return
        self.message, self._languages = message, languages
        self._render()

    def toggle(self, part: int) -> None:
        """Fold or unfold reasoning."""
        self._open ^= {part}
        self._render()

    def _render(self) -> None:
        self._paragraphs = list(self._all_paragraphs())
        self.view.show(self._paragraphs)

    def code_at(self, at: int) -> str:
        """Return the code below the paragraph with this index."""
        lines = takewhile(lambda paragraph: paragraph.kind == "code", self._paragraphs[at + 1 :])
        return "".join("".join(run.text for run in line.runs) + "\n" for line in lines)

    def _all_paragraphs(self) -> Iterator[Paragraph]:
        """Yield the paragraphs, with the sender and a header above each block of code."""
        message, title = self.message, [Run(SENDERS[self.message.role])]
        if message.role == "user":
            title += [Run("   ", ("faint",)), Run("edit", ("faint",), f"rxllm:edit/{message.id}")]
        yield Paragraph("heading", tuple(title), 5)
        at, kind = 1, ""
        for number, part in enumerate(message.parts):
            for paragraph in self._of_part(number, part, message):
                if paragraph.kind == "code" and (kind != "code" or not paragraph.level):
                    yield _code_header(paragraph, message.id, at)
                    at += 1
                kind = paragraph.kind
                yield paragraph
                at += 1
        if message.status == "stopped":
            yield _line("■ stopped")
        elif message.status == "streaming" and not message.parts:
            yield _line("…")

    def _of_part(self, number: int, part: ChatPart, message: ChatMessage) -> Iterator[Paragraph]:
        """Yield the paragraphs of a part; links inside them fold, allow or deny."""
        match part:
            case TextPart(text) if message.role == "assistant":
                yield from self._markdown(number, text, ended=message.status != "streaming")
            case TextPart(text):
                yield Paragraph("text", (Run(inert_text(text)),))
            case ReasoningPart(text):
                sign = "▾" if number in self._open else "▸"
                yield _line(f"{sign} Thinking", link=f"rxllm:fold/{message.id}/{number}")
                if number in self._open:
                    yield Paragraph("quote", (Run(inert_text(text)),))
            case ToolPart():
                yield from _tool_card(part, message.id)
            case ErrorPart(text):
                yield _line(f"⚠ {inert_text(text)}", "error")
            case _:
                yield _line(part_name(part))

    def _markdown(self, number: int, text: str, *, ended: bool) -> Sequence[Paragraph]:
        """Parse what a part has grown by; only what the parser has changed gets its colours again."""
        before, parser, coloured = self._parsed.get(number, ("", MarkdownParser(), []))
        if not text.startswith(before):
            before, parser, coloured = "", MarkdownParser(), []
        plain = list(parser.paragraphs)
        parser.feed(inert_text(text[len(before) :]) + "\n" * ended)
        first = common_length(plain, parser.paragraphs)
        coloured[first:] = map(self._highlighter.highlighted, parser.paragraphs[first:])
        self._parsed[number] = text, parser, coloured
        if ended:
            del self._parsed[number]
        return coloured


def _line(text: str, style: Style = "faint", link: str = "") -> Paragraph:
    return Paragraph("text", (Run(text, (style,), link),))


def tool_texts(part: ToolPart) -> tuple[str, str, str]:
    """Return what is shown of a tool call, inert: the call, its state, its result."""
    arguments = ", ".join(f"{name}={encode(value).decode()}" for name, value in part.arguments.items())
    progress = f"  {part.progress}" if part.state == "running" and part.progress is not None else ""
    call = _shortened(f"{part.name}({arguments})", _LONGEST_CALL)
    state = f"{_TOOL_STATES[part.state]}{progress[:_LONGEST_RESULT]}"
    return inert_text(call), inert_text(state), inert_text(_shortened(part.result, _LONGEST_RESULT))


def part_name(part: ChatPart) -> str:
    """Return what is shown of a part that has no text, such as an image."""
    return f"[{type(part).__name__.removesuffix('Part').lower()}]"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


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
