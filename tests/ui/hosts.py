"""UI loops to run tests on: each gives its scheduler and runs its loop until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

import pytest

from rxllm.ui._pump import PumpScheduler

LIMIT_SECONDS = 30.0

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


class QtHost(Host):
    """PySide6."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        from PySide6 import QtCore, QtWidgets

        from rxllm.ui.qt import QtScheduler

        self.core = QtCore
        self.app = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        self.scheduler = QtScheduler()
        self._timers: list[QtCore.QTimer] = []
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

    def close(self) -> None:
        for timer in self._timers:
            timer.stop()


class TkHost(Host):
    """tkinter."""

    def __init__(self, *, poll: bool = False) -> None:
        super().__init__()
        import tkinter

        from rxllm.ui.tk import TkScheduler

        self.tkinter = tkinter
        self.root = tkinter.Tk()
        self.root.report_callback_exception = lambda kind, error, trace: self.errors.append(error)  # type: ignore[method-assign, assignment] # tkinter's documented hook
        self.scheduler = TkScheduler(self.root, poll=poll)

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
        over = self.tkinter.BooleanVar(self.root)
        until(lambda: over.set(True))
        self.root.wait_variable(over)

    def close(self) -> None:
        with suppress(self.tkinter.TclError):  # the test may have done so
            self.root.destroy()
        del self.root, self.scheduler
        gc.collect()  # here: Tcl aborts the process when its interpreter is collected on another thread


class AsyncioHost(Host):
    """A loop of asyncio's or uvloop's."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        from rxllm.ui.asyncio import AsyncIOScheduler

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
