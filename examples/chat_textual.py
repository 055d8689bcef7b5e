"""A chat in the terminal with Textual: Markdown as it streams, a tool with approval, stop and retry.

    python examples/chat_textual.py                             the embedded model, no key needed
    python examples/chat_textual.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local,textual]".
"""

from __future__ import annotations

from shared import chat_session, models_from_command_line
from textual.app import App, ComposeResult
from textual.widgets import Header

import rxllm
from rxllm.ui.textual import ChatView


class ChatApp(App[None]):
    """A conversation, and a line to continue it."""

    TITLE = "rxllm chat"

    def __init__(self, model: rxllm.StreamingModel) -> None:
        super().__init__()
        self.session = chat_session(model)

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Header()
        yield ChatView(self.session)


def main() -> None:
    """Run the program."""
    (model, *_) = models_from_command_line("A chat in the terminal.").values()
    app = ChatApp(model)
    app.run()
    app.session.close()


if __name__ == "__main__":
    main()
