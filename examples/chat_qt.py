"""A chat window with Qt: Markdown as it streams, code that can be copied, a tool with approval, stop, retry, edit.

    python examples/chat_qt.py                             the embedded model, no key needed
    python examples/chat_qt.py -m openai:gpt-5.4-mini      any other

Needs PySide6: pip install "rxllm[local,qt]".
"""

from __future__ import annotations

import sys

from PySide6.QtWidgets import QApplication
from shared import chat_session, models_from_command_line

import rxllm
from rxllm.ui import qt


def chat_window(model: rxllm.StreamingModel) -> qt.ChatView:
    """Return the window, not yet shown."""
    window = qt.ChatView(chat_session(model))
    window.setWindowTitle("rxllm chat")
    window.resize(640, 720)
    return window


def main() -> None:
    """Run the program."""
    (model, *_) = models_from_command_line("A chat window.").values()
    app = QApplication(sys.argv[:1])
    window = chat_window(model)
    window.show()
    app.exec()
    window.session.close()


if __name__ == "__main__":
    main()
