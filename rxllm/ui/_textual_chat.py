"""A chat session in Textual: a finished widget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar, TypeAlias

from rich.highlighter import Highlighter
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Paste
from textual.widget import Widget
from textual.widgets import Button, Collapsible, Input, Label, Markdown, Static

from .._text_without_controls import inert_text
from ..assistant import ChatMessage, ChatPart, ChatSession, ChatState, ErrorPart, ToolPart
from ..messages import ReasoningPart, TextPart
from ._binding import REST_FACTOR
from ._textual_text import follow_end, safe_parser
from ._transcript import SENDERS, STATUS_TEXTS, part_name, tool_texts

_LONGEST_REST_SECONDS = 0.5
"""After an update, in which other widgets of the app have the time."""

_Row: TypeAlias = tuple[str, ChatPart | str]
"""What one widget shows: a part of a message and the message's role; or a line, and its class in the style sheet."""


class _OneLine(Highlighter):
    """Shows a line end as a sign: an Input is one line high."""

    def highlight(self, text: Text) -> None:
        text.plain = text.plain.replace("\n", "⏎")


class _Message(Input):
    """An input that takes all of what is pasted; Textual's own drops all but the first line."""

    def _on_paste(self, event: Paste) -> None:
        event.stop()
        event.prevent_default()
        self.replace("\n".join(event.text.splitlines()), *self.selection)


class ChatView(Vertical):
    """A whole chat: Markdown, reasoning folded, tools with approval, stop, retry, errors.

    When the view is removed, the running answer is stopped; closing the session is up to you.

    Args:
        session: The session.
        id: The widget's id.
    """

    DEFAULT_CSS: ClassVar[str] = """
    ChatView { height: 1fr; }
    ChatView #messages { height: 1fr; }
    ChatView .sender { text-style: bold; margin-top: 1; }
    ChatView .error { color: $text-error; }
    ChatView .faint { color: $text-muted; }
    ChatView .card { height: auto; }
    ChatView Horizontal { height: auto; }
    ChatView Button { min-width: 8; }
    ChatView #input { width: 1fr; }
    ChatView Markdown { margin: 0; padding: 0; }
    """

    def __init__(self, session: ChatSession, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.session = session
        self._shown: list[tuple[_Row, Widget]] = []

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield VerticalScroll(id="messages")
        yield Label("", id="status")
        with Horizontal():
            yield _Message(placeholder="Say something", id="input", highlighter=_OneLine())
            yield Button("Send", id="send")
            yield Button("Stop", id="stop", variant="error", disabled=True)
            yield Button("Retry", id="retry", disabled=True)

    def on_mount(self) -> None:
        """Begin to show the session; the user can type at once, unless something else has the focus."""
        if self.screen.focused is None:
            self.query_one("#input", Input).focus()
        self.run_worker(self._show_changes(), exclusive=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send what is typed, unless an answer runs.

        Args:
            event: Textual's.
        """
        event.stop()
        text = event.value.strip()
        if text and not self.query_one("#send", Button).disabled:
            event.input.clear()
            self.session.send(text)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Run the action of a button.

        Args:
            event: Textual's.
        """
        event.stop()
        match event.button.id:
            case "send":
                await self.query_one("#input", Input).action_submit()
            case "stop":
                self.session.stop()
            case "retry":
                self.session.regenerate()
            case _:
                action, _, call_id = (event.button.name or "").partition("/")
                self.session.approve(call_id, action == "allow", "the user said no")
                self.query_one("#input", Input).focus()  # the button that had the focus goes

    async def _show_changes(self) -> None:
        """Show the session's state after each change, one at a time; stop the answer when the view is removed."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def change(_: ChatState) -> None:
            loop.call_soon_threadsafe(changed.set)

        states = self.session.states.subscribe(change)
        try:
            while await changed.wait():
                changed.clear()
                began_at = loop.time()
                try:
                    await self._show(self.session.state)
                except Exception:
                    if self.is_attached and self.display:  # else it is being removed, or the program is closing
                        raise
                await asyncio.sleep(min(REST_FACTOR * (loop.time() - began_at), _LONGEST_REST_SECONDS))
        finally:
            states.dispose()
            self.session.stop()

    async def _show(self, state: ChatState) -> None:
        """Append to grown texts, replace rows that have changed, and remove those that are gone."""
        box = self.query_one("#messages", VerticalScroll)
        follow_end(box)
        rows = [row for message in state.messages for row in _rows(message)]
        for at, row in enumerate(rows):
            shown, widget = self._shown[at] if at < len(self._shown) else (None, None)
            if row == shown:
                continue
            if shown is None or widget is None:
                fresh = _widget(row)
                await box.mount(fresh)
                self._shown.append((row, fresh))
            elif await _append_in_place(widget, shown, row):
                self._shown[at] = row, widget
            else:
                self._shown[at] = row, _widget(row)
                await box.mount(self._shown[at][1], after=widget)
                await widget.remove()
        for _, gone in self._shown[len(rows) :]:
            await gone.remove()
        del self._shown[len(rows) :]
        self.query_one("#send", Button).disabled = state.running
        self.query_one("#stop", Button).disabled = not state.running
        self.query_one("#retry", Button).disabled = state.running or not state.messages
        self.query_one("#status", Label).update(STATUS_TEXTS[state.status])


def _rows(message: ChatMessage) -> Iterator[_Row]:
    yield "sender", SENDERS[message.role]
    for part in message.parts:
        yield message.role, part
    if message.status == "stopped":
        yield "faint", "■ stopped"


async def _append_in_place(widget: Widget, old: _Row, new: _Row) -> bool:
    """Append to the widget of a text that has grown; return False for all else."""
    match widget, old[1], new[1]:
        case Markdown(), TextPart(before), TextPart(text) if text.startswith(before):
            await widget.append(inert_text(text[len(before) :]))
        case Collapsible(), ReasoningPart(), ReasoningPart(text):
            widget.query_one(Static).update(Content(inert_text(text)))
        case _:
            return False
    return True


def _widget(row: _Row) -> Widget:
    """Return the widget that shows a row."""
    match row:
        case "assistant", TextPart(text):
            return Markdown(inert_text(text), parser_factory=safe_parser)
        case _, TextPart(text):
            return Static(Content(inert_text(text)))
        case _, ReasoningPart(text):
            return Collapsible(Static(Content(inert_text(text))), title="Thinking")
        case _, ToolPart() as part:
            return _tool_card(part)
        case _, ErrorPart(text):
            return Static(Content(f"⚠ {inert_text(text)}"), classes="error")
        case style, str(line):
            return Static(Content(line), classes=style)
        case _, part:
            return Static(Content(part_name(part)), classes="faint")


def _tool_card(part: ToolPart) -> Widget:
    """Return the widget of a tool call, with buttons while it waits for a decision."""
    call, state, result = tool_texts(part)
    line = Static(Content(f"⚙ {call}  {state}\n  {result}".rstrip()), classes="faint")
    if part.state != "waiting":
        return line
    allow = Button("Allow", variant="success", name=f"allow/{part.id}")
    deny = Button("Deny", variant="warning", name=f"deny/{part.id}")
    return Vertical(line, Horizontal(allow, deny), classes="card")
