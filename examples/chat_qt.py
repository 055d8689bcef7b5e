"""A chat window with Qt: Markdown as it streams, stop, retry, a choice of models, speed and cost.

    python examples/chat_qt.py                                   the embedded model, no key needed
    python examples/chat_qt.py -m openai:gpt-5.4-mini -m local    any others, to choose from

Needs PySide6: pip install "rxllm[local,qt]".
"""

from __future__ import annotations

import sys

from PySide6.QtGui import QColor, QTextBlockFormat, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)
from reactivex import Observable
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject
from shared import Conversation, models_from_command_line, status

import rxllm
from rxllm import operators as ops
from rxllm.ui import qt


class ChatWindow(QWidget):
    """A conversation, and a line to continue it."""

    def __init__(self, models: dict[str, rxllm.StreamingModel]) -> None:
        super().__init__()
        self.setWindowTitle("rxllm chat")
        self.resize(640, 720)
        self.models = models
        self.conversation = Conversation()

        self.picker = QComboBox()
        self.picker.addItems(list(models))
        self.view = QTextBrowser()
        self.input = QLineEdit()
        self.input.setPlaceholderText("Say something")
        self.send = QPushButton("Send")
        self.retry = QPushButton("Retry")
        self.retry.setEnabled(False)
        self.stop = qt.StopButton()
        self.status = QLabel()
        self.line = SerialDisposable()

        bottom = QHBoxLayout()
        for widget in (self.input, self.send, self.stop, self.retry):
            bottom.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.addWidget(self.picker)
        layout.addWidget(self.view)
        layout.addWidget(self.status)
        layout.addLayout(bottom)

        self.send.clicked.connect(self.on_send)
        self.input.returnPressed.connect(self.send.click)
        self.retry.clicked.connect(self.on_retry)
        self.input.setFocus()

    @property
    def model(self) -> rxllm.StreamingModel:
        """The one that is picked."""
        return self.models[self.picker.currentText()]

    def on_send(self) -> None:
        """Ask what is in the line."""
        text = self.input.text().strip()
        if text:
            self.input.clear()
            self.write(f"You: {text}")
            self.show_answer(self.conversation.ask(self.model, text))

    def on_retry(self) -> None:
        """Ask once more what was asked last."""
        self.write("once more")
        self.show_answer(self.conversation.ask_again(self.model))

    def write(self, text: str) -> None:
        """Add a line that no model said, and look there."""
        cursor = QTextCursor(self.view.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        if cursor.position() > 0:
            cursor.insertBlock(QTextBlockFormat())
        blue = QTextCharFormat()
        blue.setForeground(QColor("#1a5fb4"))
        cursor.insertText(text, blue)
        self.view.verticalScrollBar().setValue(self.view.verticalScrollBar().maximum())

    def show_answer(self, answer: Observable[rxllm.TokenEvent]) -> None:
        """Show an answer as it comes, and its speed and cost."""
        events: Subject[rxllm.TokenEvent] = Subject()
        self.line.disposable = qt.bind_each(self.status, self.status.setText, status(events, self.model))
        self.answer = qt.bind_markdown(self.view, answer.pipe(ops.tee(events)))
        self.stop.connect_to(self.answer)
        for widget in (self.send, self.retry):
            qt.bind_enabled(widget, self.answer.idle)


def main() -> None:
    """Run it."""
    models = models_from_command_line("A chat window.")
    app = QApplication(sys.argv[:1])
    window = ChatWindow(models)
    window.show()
    sys.exit(app.exec())


if __name__ == "__main__":
    main()
