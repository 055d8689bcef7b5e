"""Qt: PySide6, or PyQt6."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from .hosts import LIMIT_SECONDS, Stop, TextWidget, WidgetHost


class QtHost(WidgetHost):
    """PySide6, or PyQt6: one of them in a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, binding: str = "PySide6") -> None:
        super().__init__()
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        self.core = pytest.importorskip(f"{binding}.QtCore", reason=f"{binding} is not installed")
        self.widgets = pytest.importorskip(
            f"{binding}.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError
        )
        qt = importlib.import_module("rxllm.ui.qt")

        self.ui = qt
        self._windows: list[QtText] = []
        self.app = self.widgets.QApplication.instance() or self.widgets.QApplication([])
        self.app.setQuitOnLastWindowClosed(False)  # the loop of the next test would end with the windows of this one
        self.scheduler = qt.QtScheduler()
        self._timers: list[Any] = []
        monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: self.errors.append(error))

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.core.QTimer.singleShot(0, lambda: body(self.app.quit))
        limit = self.core.QTimer()
        limit.setSingleShot(True)
        limit.timeout.connect(self._give_up)
        limit.start(int(LIMIT_SECONDS * 1000))
        self.app.exec()
        limit.stop()

    def _give_up(self) -> None:
        self.timed_out = True
        self.app.quit()

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until a condition holds."""
        limit = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < limit
            loop = self.core.QEventLoop()
            self.core.QTimer.singleShot(5, loop.quit)
            loop.exec()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        timer = self.core.QTimer()
        timer.timeout.connect(call)
        timer.start(int(seconds * 1000))
        self._timers.append(timer)

    def nested(self, until: Callable[[Stop], object]) -> None:
        loop = self.core.QEventLoop()
        until(loop.quit)
        loop.exec()

    def text(self) -> QtText:
        self._windows.append(window := QtText(self.widgets))
        return window

    def label(self, text: TextWidget) -> tuple[Any, Callable[[], str]]:
        label = self.widgets.QLabel(text.window)
        return label, label.text

    def button(self, text: TextWidget) -> Any:
        button = self.ui.StopButton()
        text.widget.window().layout().addWidget(button)
        return button

    def click(self, button: Any) -> None:
        button.click()

    def enabled(self, button: Any) -> bool:
        return bool(button.isEnabled())

    def close(self) -> None:
        for timer in self._timers:
            timer.stop()
        for window in self._windows:
            window.destroy()
        self.app.setQuitOnLastWindowClosed(True)


class QtText:
    """A QPlainTextEdit, read-only."""

    def __init__(self, widgets: Any) -> None:
        self.window = widgets.QWidget()
        self.widget = widgets.QPlainTextEdit()
        self.widget.setReadOnly(True)
        widgets.QVBoxLayout(self.window).addWidget(self.widget)
        self.window.show()

    def content(self) -> str:
        return str(self.widget.toPlainText())

    def at_end(self) -> bool:
        bar = self.widget.verticalScrollBar()
        return bool(bar.value() == bar.maximum())

    def scroll_to_start(self) -> None:
        self.widget.verticalScrollBar().setValue(0)

    def destroy(self) -> None:
        binding = type(self.widget).__module__.partition(".")[0]
        deleter = "shiboken6" if binding == "PySide6" else "PyQt6.sip"
        with suppress(RuntimeError):  # it may be gone
            importlib.import_module(deleter).delete(self.window)
