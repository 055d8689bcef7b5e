"""The chat examples, typed into: each is a `ChatView`, which has its own tests in tests/ui/test_chat_views.py."""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
import tkinter
from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import Input, Markdown

import rxllm
from rxllm.testing import Gate, LLMServer, Reply

LIMIT_SECONDS = 60.0

Models = dict[str, rxllm.StreamingModel]


def test_qt(models: Models, server: LLMServer, display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question and its answer."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    widgets = pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)
    app = widgets.QApplication.instance() or widgets.QApplication([])
    server.enqueue(Reply("Hello, **Ada**"))
    window: Any = importlib.import_module("chat_qt").chat_window(models["first"])
    window.show()
    window.input.setText("I am Ada")
    window.send_button.click()
    limit = time.monotonic() + LIMIT_SECONDS
    while "Hello, Ada" not in window.browser.toPlainText() or not window.send_button.isEnabled():
        assert time.monotonic() < limit
        app.processEvents()
    window.session.close()
    window.close()


def test_qml(models: Models, server: LLMServer, display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question and its answer, in rows; a stopped one stays."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("QT_QUICK_BACKEND", "software")
    widgets = pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)
    quick = pytest.importorskip("PySide6.QtQuick", reason="Qt Quick is not installed", exc_type=ImportError)
    app = widgets.QApplication.instance() or widgets.QApplication([])
    server.enqueue(Reply("Hello, **Ada**"), Reply("one two", gate=Gate(1)))
    engine: Any = importlib.import_module("chat_qml").chat_engine(models["first"])
    (window,) = engine.rootObjects()
    rows, line, stop = (window.findChild(quick.QQuickItem, name) for name in ("list", "input", "stop"))
    model = rows.property("model")
    names = {bytes(name).decode(): role for role, name in model.roleNames().items()}

    def cell(row: int, role: str) -> object:
        return model.data(model.index(row, 0), names[role])

    def wait_for(condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < limit
            app.processEvents()

    line.setProperty("text", "I am Ada")
    line.accepted.emit()
    wait_for(lambda: rows.property("count") == 2 and cell(1, "status") == "done")
    assert cell(1, "text") == "Hello, **Ada**"
    wait_for(lambda: not stop.property("enabled"))
    line.setProperty("text", "Count")
    line.accepted.emit()
    wait_for(lambda: rows.property("count") == 4 and cell(3, "text") == "one" and stop.property("enabled"))
    stop.clicked.emit()
    wait_for(lambda: cell(3, "status") == "stopped")
    assert server.wait_for_request(2).closed.wait(LIMIT_SECONDS)
    window.close()


def test_tk(models: Models, server: LLMServer, display: str) -> None:
    """A question and its answer."""
    server.enqueue(Reply("Hello, **Ada**"))
    root = tkinter.Tk()
    view = importlib.import_module("chat_tk").chat_view(root, models["first"])
    view.input.insert(0, "I am Ada")
    view.send_button.invoke()
    limit = time.monotonic() + LIMIT_SECONDS
    while "Hello, Ada" not in view.text.get("1.0", "end"):
        assert time.monotonic() < limit
        root.after(5, root.quit)
        root.mainloop()
    view.session.close()
    root.destroy()
    del root, view
    gc.collect()  # here: Tcl aborts the process when its interpreter is collected on another thread


def test_textual(models: Models, server: LLMServer) -> None:
    """A question and its answer."""
    server.enqueue(Reply("Hello, **Ada**"))
    app: Any = importlib.import_module("chat_textual").ChatApp(models["first"])

    async def main() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), app.run_test() as pilot:
            app.query_one(Input).focus()
            await pilot.press(*"Ada", "enter")
            while not app.query(Markdown) or app.query_one(Markdown).source != "Hello, **Ada**":
                await pilot.pause(0.01)

    asyncio.run(main())
    app.session.close()
