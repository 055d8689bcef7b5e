"""A chat session's messages as paragraphs in a text widget: the part of a chat view that all toolkits share.

What a user may do with a message is a link in it, of the form ``rxllm:action/message/detail``. Text of a model cannot
contain such links.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Literal, Protocol

import reactivex
from reactivex import Observable
from reactivex import operators as rx
from reactivex.subject import Subject

from .._json import encode
from .._text_without_controls import inert_text
from ..assistant import ChatMessage, ChatPart, ChatSession, ChatStatus, ErrorPart, ToolPart
from ..messages import ReasoningPart, TextPart
from ._binding import UPDATE_SECONDS
from ._chunk_size import ChunkSize
from ._highlight import Highlighter
from ._markdown import SAFE_LINK, MarkdownParser, Paragraph, PlainParser, Run, Style
from ._markdown_view import MarkdownRegion, ParagraphView, common_length

_LONGEST_RESULT = 300
"""Characters of a tool's result that are shown."""

_LONGEST_CALL = 5_000
"""Characters of a tool call: enough to decide on it; a file of a megabyte in its arguments would freeze the window."""

_MOST_RECOLOURED = 300
"""Paragraphs of a text that are written again when a language has been loaded; more would freeze the window."""

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
        self._more: Subject[object] = Subject()
        """Emits when an update has not shown everything."""
        self._chunk = ChunkSize(UPDATE_SECONDS)
        self._shown: dict[str, _ShownMessage] = {}
        """By the id of the message."""
        self.edited_id = ""
        """The message that the next call of `send` replaces; empty for none."""

    @property
    def changes(self) -> Observable[object]:
        """Emits at once, and on any thread when there is more to show; stops the answer when it is disposed."""
        changes = reactivex.merge(self._session.states, self._highlighter.loaded, self._more)
        return changes.pipe(rx.start_with(None), rx.finally_action(self._session.stop))

    def send(self, text: str) -> None:
        """Send a text, or put it in the place of the message that the user edits, and drop what follows that."""
        edited_id, self.edited_id = self.edited_id, ""
        if not (edited_id and self._session.edit(edited_id, text)):
            self._session.send(text)

    def typed(self, text: str) -> None:
        """End the edit of a message, if nothing is left in the input."""
        if not text:
            self.edited_id = ""

    def show(self, messages: Sequence[ChatMessage]) -> None:
        """Show these messages instead of the current ones. As far as the ids are the same, regions are kept.

        One update shows what it can in a few milliseconds, and `changes` emits for the rest.
        """
        until = time.monotonic() + UPDATE_SECONDS
        ids = list(self._shown)
        for message_id in reversed(ids[common_length(ids, [each.id for each in messages]) :]):
            self._shown.pop(message_id).view.clear()
        for each in messages:
            if each.id not in self._shown:
                self._shown[each.id] = _ShownMessage(self._new_region(), self._highlighter, self._chunk)
            while self._shown[each.id].show_more(each):
                if time.monotonic() > until:
                    self._more.on_next(None)
                    return

    def clear(self) -> None:
        """Show nothing: the next call of `show` writes everything again."""
        for shown in self._shown.values():
            shown.view.clear()
        self._shown.clear()

    def click(self, address: str) -> None:
        """Run the action of a link."""
        action, _, rest = address.removeprefix("rxllm:").partition("/")
        message_id, _, detail = rest.partition("/")
        if SAFE_LINK.match(address):
            self._actions.open_link(address)
        elif (shown := self._shown.get(message_id)) is None:
            return  # the message has been dropped since
        elif action == "edit":
            self._actions.edit(shown.message.text)
            self.edited_id = message_id
        elif action == "copy":
            self._actions.copy(shown.code_at(int(detail)))
        elif action == "fold":
            shown.toggle(int(detail))
            self._more.on_next(None)
        else:
            self._session.approve(detail, action == "allow", "the user said no")


class _Parsed:
    """The text of a part, as far as it has been parsed."""

    def __init__(self, parser: MarkdownParser | PlainParser) -> None:
        """Begin with nothing."""
        self.text = ""
        self.parser: MarkdownParser | PlainParser | None = parser
        """None once the part has ended."""
        self.coloured: list[Paragraph] = []
        """The parser's paragraphs, with colours."""


class _ShownMessage:
    """One message in its region."""

    def __init__(self, region: MarkdownRegion, highlighter: Highlighter, chunk: ChunkSize) -> None:
        """Show nothing yet."""
        self.message = ChatMessage("", "user")
        self.view = ParagraphView(region)
        self._highlighter = highlighter
        self._chunk = chunk
        self._added = 0
        """Characters that have been parsed for this update."""
        self._behind = False
        """Whether there is more text than has been parsed."""
        self._languages: int = 0
        """How many languages could be highlighted when this was shown last."""
        self._paragraphs: list[Paragraph] = []
        self._parsed: dict[int, _Parsed] = {}
        """By the index of a part."""
        self._open: set[int] = set()
        """The indexes of the parts with reasoning that are unfolded."""

    def show_more(self, message: ChatMessage) -> bool:
        """Show a chunk of what is new in the message or has got colours; return False if there was nothing."""
        languages = len(self._highlighter.lexers)
        if languages == self._languages and message is self.message and not self._behind:
            return False
        if languages != self._languages:
            for parsed in self._parsed.values():
                if len(parsed.coloured) <= _MOST_RECOLOURED:
                    parsed.coloured[:] = map(self._highlighter.highlighted, parsed.coloured)
        self.message, self._languages = message, languages
        self._added, began_at = 0, time.thread_time()
        self._render()
        self._chunk.learn(self._added, time.thread_time() - began_at)
        return True

    def toggle(self, part: int) -> None:
        """Fold or unfold reasoning."""
        self._open ^= {part}
        self._render()

    def _render(self) -> None:
        self._behind = False
        self._paragraphs = list(self._all_paragraphs())
        self.view.show(self._paragraphs)

    def code_at(self, at: int) -> str:
        """Return the code below the paragraph with this index; what goes on with a very long line has the level 2."""
        code = takewhile(lambda paragraph: paragraph.kind == "code", self._paragraphs[at + 1 :])
        lines = ("\n" * (piece.level < 2) + "".join(run.text for run in piece.runs) for piece in code)
        return "".join(lines)[1:] + "\n"

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
            if self._behind:
                return
        if message.status == "stopped":
            yield _line("■ stopped")
        elif message.status == "streaming" and not message.parts:
            yield _line("…")

    def _of_part(self, number: int, part: ChatPart, message: ChatMessage) -> Iterator[Paragraph]:
        """Yield the paragraphs of a part; links inside them fold, allow or deny."""
        match part:
            case TextPart(text) if message.role == "assistant":
                yield from self._parse(number, text, MarkdownParser, ended=message.status != "streaming")
            case TextPart(text):
                yield from self._parse(number, text, partial(PlainParser, "text"))
            case ReasoningPart(text):
                sign = "▾" if number in self._open else "▸"
                yield _line(f"{sign} Thinking", link=f"rxllm:fold/{message.id}/{number}")
                if number in self._open:
                    yield from self._parse(number, text, partial(PlainParser, "quote"))
            case ToolPart():
                yield from _tool_card(part, message.id)
            case ErrorPart(text):
                yield _line(f"⚠ {inert_text(text)}", "error")
            case _:
                yield _line(part_name(part))

    def _parse(
        self, number: int, text: str, new_parser: Callable[[], MarkdownParser | PlainParser], *, ended: bool = False
    ) -> Sequence[Paragraph]:
        """Parse a chunk of what a part has grown by; only what the parser has changed gets its colours again."""
        parsed = self._parsed.get(number)
        if parsed is None or not text.startswith(parsed.text) or (parsed.parser is None and text != parsed.text):
            parsed = self._parsed[number] = _Parsed(new_parser())
        if parsed.parser is None:
            return parsed.coloured
        begin = len(parsed.text)
        end = min(begin + self._chunk.size, len(text))
        self._behind = end < len(text)
        if begin < end or ended:
            plain = list(parsed.parser.paragraphs)
            parsed.parser.feed(inert_text(text[begin:end]) + "\n" * (ended and not self._behind))
            first = common_length(plain, parsed.parser.paragraphs)
            parsed.coloured[first:] = map(self._highlighter.highlighted, parsed.parser.paragraphs[first:])
            parsed.text = text[:end]
            self._added += end - begin
        if ended and not self._behind:
            parsed.parser = None
        return parsed.coloured


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
