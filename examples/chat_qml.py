"""A chat window in QML, on `qt.ChatModel`.

    python examples/chat_qml.py                             the embedded model, no key needed
    python examples/chat_qml.py -m openai:gpt-5.4-mini      any other

Needs PySide6: pip install "rxllm[local,qt]".
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import Property, QObject, Signal, Slot
from PySide6.QtQml import QQmlApplicationEngine
from PySide6.QtWidgets import QApplication
from shared import chat_session, models_from_command_line

import rxllm
from rxllm.assistant import ChatSession
from rxllm.ui import LoopScheduler, bind_each, qt


class Chat(QObject):
    """The commands of a session, for QML."""

    changed = Signal()

    def __init__(self, session: ChatSession, scheduler: LoopScheduler) -> None:
        super().__init__()
        self.session = session
        self._running = False
        bind_each(scheduler, self._show, session.status, latest=True)

    def _show(self, status: str) -> None:
        self._running = status in ("submitted", "streaming")
        self.changed.emit()

    @Property(bool, notify=changed)
    def running(self) -> bool:
        """Whether an answer runs."""
        return self._running

    @Slot(str)
    def send(self, text: str) -> None:
        """Ask."""
        self.session.send(text)

    @Slot()
    def stop(self) -> None:
        """Stop the answer."""
        self.session.stop()


def chat_engine(model: rxllm.StreamingModel) -> QQmlApplicationEngine:
    """Return the engine with its window, which is shown."""
    engine = QQmlApplicationEngine()
    session = chat_session(model)
    chat, messages = Chat(session, qt.QtScheduler()), qt.ChatModel(session, engine)
    chat.setParent(engine)
    engine.rootContext().setContextProperty("chat", chat)
    engine.rootContext().setContextProperty("messages", messages)
    engine.load(Path(__file__).with_suffix(".qml"))
    engine.destroyed.connect(session.close)
    return engine


def main() -> None:
    """Run the program."""
    (model, *_) = models_from_command_line("A chat window in QML.").values()
    app = QApplication(sys.argv[:1])
    engine = chat_engine(model)
    app.exec()
    del engine


if __name__ == "__main__":
    main()
