"""A chat in the terminal with Textual: Markdown as it streams, stop, retry, a choice of models, speed and cost.

    python examples/chat_textual.py                                   the embedded model, no key needed
    python examples/chat_textual.py -m openai:gpt-5.4-mini -m local    any others, to choose from

Needs: pip install "rxllm[local,textual]".
"""

from __future__ import annotations

from typing import ClassVar

from reactivex import Observable
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject
from shared import Conversation, models_from_command_line, status
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Footer, Input, Label, Markdown, Select

import rxllm
from rxllm import operators as ops
from rxllm.ui.textual import StopButton, bind_each, bind_enabled, bind_text


class ChatApp(App[None]):
    """A conversation, and a line to continue it."""

    TITLE = "rxllm chat"
    BINDINGS: ClassVar = [("ctrl+r", "retry", "Retry"), ("escape", "stop", "Stop")]
    CSS = """
    #conversation { height: 1fr; padding: 0 1; }
    .user { color: $accent; text-style: bold; margin: 1 0 0 0; }
    Markdown { padding: 0; margin: 1 0 0 0; }
    #bottom { height: 3; }
    #input { width: 1fr; }
    #status { color: $text-muted; padding: 0 1; }
    """

    def __init__(self, models: dict[str, rxllm.StreamingModel]) -> None:
        super().__init__()
        self.models = models
        self.conversation = Conversation()
        self.line = SerialDisposable()

    def compose(self) -> ComposeResult:
        """The screen."""
        yield Select.from_values(self.models, value=next(iter(self.models)), allow_blank=False, id="picker")
        yield VerticalScroll(id="conversation")
        yield Label(id="status")
        with Horizontal(id="bottom"):
            yield Input(placeholder="Say something", id="input")
            yield StopButton(id="stop")
            yield Button("Retry", id="retry", disabled=True)
        yield Footer()

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(Input).focus()

    @property
    def model(self) -> rxllm.StreamingModel:
        """The one that is picked."""
        return self.models[str(self.query_one(Select).value)]

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask what is in the line; it keeps that while an answer is under way."""
        text = event.value.strip()
        if text and self.query_one(StopButton).disabled:
            event.input.clear()
            await self.show_answer(f"You: {text}", self.conversation.ask(self.model, text))

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Retry; the stop button looks after itself."""
        await self.action_retry()

    async def action_retry(self) -> None:
        """Ask once more what was asked last."""
        if not self.query_one("#retry").disabled:
            await self.show_answer("once more", self.conversation.ask_again(self.model))

    def action_stop(self) -> None:
        """Stop the answer."""
        self.query_one(StopButton).press()

    async def show_answer(self, title: str, answer: Observable[rxllm.TokenEvent]) -> None:
        """Show an answer as it comes, and its speed and cost."""
        view = Markdown()
        await self.query_one("#conversation").mount(Label(title, classes="user", markup=False), view)
        events: Subject[rxllm.TokenEvent] = Subject()
        line = self.query_one("#status", Label)
        self.line.disposable = bind_each(line, line.update, status(events, self.model))
        self.answer = bind_text(view, answer.pipe(ops.tee(events)))
        self.query_one(StopButton).connect_to(self.answer)
        bind_enabled(self.query_one("#retry"), self.answer.idle)


def main() -> None:
    """Run it."""
    ChatApp(models_from_command_line("A chat in the terminal.")).run()


if __name__ == "__main__":
    main()
