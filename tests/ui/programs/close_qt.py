"""A window whose stream is under way is closed: python close_qt.py PySide6|PyQt6. Prints what came of it."""

import sys
from importlib import import_module

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui import qt

core, widgets = (import_module(f"{sys.argv[1]}.{name}") for name in ("QtCore", "QtWidgets"))

with LLMServer(Reply("one two three", gate=Gate(1))) as server:
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
    app = widgets.QApplication([])
    window = widgets.QMainWindow()
    view = widgets.QPlainTextEdit()
    button = qt.StopButton()
    window.setCentralWidget(view)
    window.statusBar().addWidget(button)
    window.show()
    answer = qt.bind_text(view, model.stream("Hi"))
    button.connect_to(answer)

    def close_when_shown() -> None:
        if view.toPlainText() and button.isEnabled():
            window.close()
        else:
            core.QTimer.singleShot(5, close_when_shown)

    close_when_shown()
    app.exec()
    print(view.toPlainText(), server.wait_for_request().closed.wait(60), answer.stopped)
