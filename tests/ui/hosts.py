"""UI loops to run tests on: each gives its scheduler and runs its loop until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import tkinter
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Protocol

import pytest

from rxllm.ui import tk
from rxllm.ui._pump import PumpScheduler
from rxllm.ui.asyncio import AsyncIOScheduler

LIMIT_SECONDS = 30.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
"""The kinds of asyncio loops there are here."""

if find_spec("uvloop") is not None:
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop

Stop = Callable[[], None]


class Host(ABC):
    """A loop and its scheduler. `errors` holds what the toolkit reported of callbacks that raised."""

    scheduler: PumpScheduler

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.timed_out = False

    def run(self, body: Callable[[Stop], object]) -> None:
        """Call `body` on the UI thread with what stops the loop, and run the loop until then."""
        self._run(body)
        assert not self.timed_out, f"the loop was not stopped within {LIMIT_SECONDS:g} s"

    @abstractmethod
    def _run(self, body: Callable[[Stop], object]) -> None: ...

    @abstractmethod
    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """A repeated timer of the toolkit's own."""

    def nested(self, until: Callable[[Stop], object]) -> None:
        """From a callback: run a loop inside the loop until it is stopped, as a modal dialog does."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """End the UI."""


class TextWidget(Protocol):
    """A text widget in a window of its own."""

    widget: Any
    window: Any

    def content(self) -> str:
        """The text in it."""
        ...

    def at_end(self) -> bool:
        """Whether the end is in view."""
        ...

    def scroll_to_start(self) -> None:
        """As the user does."""
        ...

    def destroy(self) -> None:
        """Destroy the window."""
        ...


class WidgetHost(Host):
    """A loop with widgets. `ui` is the module with the toolkit's bindings."""

    ui: Any

    @abstractmethod
    def text(self) -> TextWidget:
        """A text widget in a window that is shown."""

    @abstractmethod
    def button(self, text: TextWidget) -> Any:
        """A `StopButton` beside it."""

    @abstractmethod
    def click(self, button: Any) -> None:
        """Click it, as far as it is enabled."""

    @abstractmethod
    def enabled(self, button: Any) -> bool:
        """Whether it can be clicked."""


class QtHost(WidgetHost):
    """PySide6."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        self.core = pytest.importorskip("PySide6.QtCore", reason="PySide6 is not installed")
        self.widgets = importlib.import_module("PySide6.QtWidgets")
        qt = importlib.import_module("rxllm.ui.qt")

        self.ui = qt
        self._windows: list[QtText] = []
        self.app = self.widgets.QApplication.instance() or self.widgets.QApplication([])
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
        with suppress(RuntimeError):  # it may be gone
            importlib.import_module("shiboken6").delete(self.window)


class TkHost(WidgetHost):
    """tkinter."""

    def __init__(self, *, poll: bool = False) -> None:
        super().__init__()
        self.ui = tk
        self.root = tkinter.Tk()
        self.root.report_callback_exception = lambda kind, error, trace: self.errors.append(error)
        self.scheduler = tk.TkScheduler(self.root, poll=poll)

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.root.after(0, lambda: body(self.root.quit))
        limit = self.root.after(int(LIMIT_SECONDS * 1000), self._give_up)
        self.root.mainloop()
        self.root.after_cancel(limit)

    def _give_up(self) -> None:
        self.timed_out = True
        self.root.quit()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            call()
            self.root.after(int(seconds * 1000), tick)

        self.root.after(int(seconds * 1000), tick)

    def nested(self, until: Callable[[Stop], object]) -> None:
        over = tkinter.BooleanVar(self.root)
        until(lambda: over.set(True))
        self.root.wait_variable(over)

    def text(self) -> TkText:
        return TkText(self.root)

    def button(self, text: TextWidget) -> Any:
        button = tk.StopButton(text.widget.winfo_toplevel())
        button.pack()
        return button

    def click(self, button: Any) -> None:
        button.invoke()

    def enabled(self, button: Any) -> bool:
        return bool(str(button["state"]) == "normal")

    def close(self) -> None:
        with suppress(tkinter.TclError):  # the test may have done so
            self.root.destroy()
        del self.root, self.scheduler
        gc.collect()  # here: Tcl aborts the process when its interpreter is collected on another thread


class TkText:
    """A Text, disabled as read-only ones are."""

    def __init__(self, root: tkinter.Tk) -> None:
        self.window = tkinter.Toplevel(root)
        self.widget = tkinter.Text(self.window, state="disabled")
        self.widget.pack()
        self.window.update()

    def content(self) -> str:
        return self.widget.get("1.0", "end-1c")

    def at_end(self) -> bool:
        self.widget.update_idletasks()
        return self.widget.dlineinfo("end-1c") is not None

    def scroll_to_start(self) -> None:
        self.widget.yview_moveto(0)

    def destroy(self) -> None:
        self.window.destroy()


class AsyncioHost(Host):
    """A loop of asyncio's or uvloop's."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self.loop = new_loop()
        self.loop.set_exception_handler(lambda loop, context: self.errors.append(context["exception"]))
        self.scheduler = AsyncIOScheduler(self.loop)

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.loop.call_soon(lambda: body(self.loop.stop))
        limit = self.loop.call_later(LIMIT_SECONDS, self._give_up)
        self.loop.run_forever()
        limit.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self.loop.stop()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            call()
            self.loop.call_later(seconds, tick)

        self.loop.call_later(seconds, tick)

    def close(self) -> None:
        self.loop.close()
