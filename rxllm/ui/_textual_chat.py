"""A chat session in Textual: a finished widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Collapsible, Input, Label, Markdown, Static

from .._inert_text import inert_text
from ..assistant import ChatMessage, ChatPart, ChatSession, ChatState, ErrorPart, ToolPart
from ..messages import ReasoningPart, TextPart
from ._textual_text import Following
from ._transcript import STATUS_TEXTS, tool_texts


class ChatPane(Vertical):
    """The widgets of a chat view; `show` brings them up to date."""

    DEFAULT_CSS: ClassVar[str] = """
    ChatPane { height: 1fr; }
    ChatPane #messages { height: 1fr; }
    ChatPane .sender { text-style: bold; margin-top: 1; }
    ChatPane .error { color: $text-error; }
    ChatPane .faint { color: $text-muted; }
    ChatPane Horizontal { height: auto; }
    ChatPane Button { min-width: 8; }
    ChatPane #input { width: 1fr; }
    ChatPane Markdown { margin: 0; padding: 0; }
    """

    def __init__(self, session: ChatSession, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.session = session
        self._shown: list[tuple[ChatMessage, Vertical, list[Widget]]] = []
        self._following: Following | None = None

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield VerticalScroll(id="messages")
        yield Label("", id="status")
        with Horizontal():
            yield Input(placeholder="Say something", id="input")
            yield Button("Send", id="send")
            yield Button("Stop", id="stop", variant="error", disabled=True)
            yield Button("Retry", id="retry", disabled=True)

    async def show(self, state: ChatState) -> None:
        """Show a state of the session. Any error may come of it while the widgets are being removed."""
        box = self.query_one("#messages", VerticalScroll)
        same = 0
        for shown, message in zip(self._shown, state.messages, strict=False):
            if shown[0].id != message.id:
                break
            same += 1
        for _, old, _ in self._shown[same:]:
            await old.remove()
        del self._shown[same:]
        for at, message in enumerate(state.messages):
            if at == len(self._shown):
                pane = Vertical(Static("You" if message.role == "user" else "Assistant", classes="sender"))
                pane.styles.height = "auto"
                await box.mount(pane)
                self._shown.append((ChatMessage(message.id, message.role), pane, []))
            await self._update(at, message)
        self._following = self._following or Following(box)
        self._following.content_changed()
        self.query_one("#send", Button).disabled = state.running
        self.query_one("#stop", Button).disabled = not state.running
        self.query_one("#retry", Button).disabled = state.running or not state.messages
        self.query_one("#status", Label).update(STATUS_TEXTS[state.status])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send what is typed, unless an answer runs."""
        event.stop()
        text = event.value.strip()
        if text and not self.query_one("#send", Button).disabled:
            event.input.clear()
            self.session.send(text)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Run the action of a button."""
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

    async def _update(self, at: int, message: ChatMessage) -> None:
        """Show the new state of message `at`: append to grown texts, replace changed parts, remove extra widgets."""
        before, pane, widgets = self._shown[at]
        if message is before:
            return
        parts = [*message.parts, *_stopped_line(message)]
        old = [*before.parts, *_stopped_line(before)]
        for number, part in enumerate(parts):
            if number < len(widgets) and number < len(old) and old[number] == part:
                continue
            if number < len(widgets) and await _append_in_place(widgets[number], old[number], part):
                continue
            fresh = _widget(part, message)
            if number < len(widgets):
                await pane.mount(fresh, after=widgets[number])
                await widgets[number].remove()
                widgets[number] = fresh
            else:
                await pane.mount(fresh)
                widgets.append(fresh)
        for extra in widgets[len(parts) :]:
            await extra.remove()
        del widgets[len(parts) :]
        self._shown[at] = message, pane, widgets


def _stopped_line(message: ChatMessage) -> Sequence[str]:
    return ("■ stopped",) if message.status == "stopped" else ()


async def _append_in_place(widget: Widget, old: ChatPart | str, new: ChatPart | str) -> bool:
    """Append to the widget of a text that has grown; return False for all else."""
    match widget, old, new:
        case Markdown(), TextPart(before), TextPart(text) if text.startswith(before):
            await widget.append(inert_text(text[len(before) :]))
        case Collapsible(), ReasoningPart(), ReasoningPart(text):
            widget.query_one(Static).update(Content(inert_text(text)))
        case _:
            return False
    return True


def _widget(part: ChatPart | str, message: ChatMessage) -> Widget:
    """Return the widget that shows a part of a message."""
    match part:
        case TextPart(text) if message.role == "assistant":
            return Markdown(inert_text(text))
        case TextPart(text):
            return Static(Content(inert_text(text)))
        case ReasoningPart(text):
            return Collapsible(Static(Content(inert_text(text))), title="Thinking")
        case ToolPart():
            return _tool_card(part)
        case ErrorPart(text):
            return Static(Content(f"⚠ {inert_text(text)}"), classes="error")
        case str():
            return Static(Content(part), classes="faint")
        case _:
            return Static(Content(f"[{type(part).__name__.removesuffix('Part').lower()}]"), classes="faint")


def _tool_card(part: ToolPart) -> Widget:
    """Return the widget of a tool call, with buttons while it waits for a decision."""
    call, state, result = tool_texts(part)
    line = Static(Content(f"⚙ {call}  {state}\n  {result}".rstrip()), classes="faint")
    if part.state != "waiting":
        return line
    allow = Button("Allow", variant="success", name=f"allow/{part.id}")
    deny = Button("Deny", variant="warning", name=f"deny/{part.id}")
    card = Vertical(line, Horizontal(allow, deny))
    card.styles.height = "auto"
    return card
