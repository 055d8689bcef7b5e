"""Streams in a Qt program, PySide6 or PyQt6, whichever it uses: the scheduler and the bindings.

Qt is looked for when it is first needed, not when this module is imported.
"""

from __future__ import annotations

import math
import sys
from importlib import import_module
from typing import Any

from ..errors import ConfigurationError
from ._immortal import keep_singletons_alive, loses_references
from ._pump import PumpScheduler


class QtScheduler(PumpScheduler):
    """Runs actions on the thread of the running QCoreApplication; make one on any thread, as often as you like.

    There is one per application: each call gives the same. When the event loop ends (`aboutToQuit`), the streams bound
    to widgets are disposed; when the application is gone, scheduling does nothing. Raises `ConfigurationError` where
    there is no application yet. What an action raises goes to `sys.excepthook`.
    """

    _current: QtScheduler | None = None

    def __new__(cls) -> QtScheduler:
        """The application's scheduler."""
        app = _qt("QtCore").QCoreApplication.instance()
        if app is None:
            raise ConfigurationError("QtScheduler needs a QApplication or QCoreApplication; create that first")
        if cls._current is None or cls._current._app is not app:
            cls._current = super().__new__(cls)
            cls._current._set_up(app)
        return cls._current

    def __init__(self) -> None:
        """Everything is done in `__new__`: there is one scheduler per application."""

    def _set_up(self, app: Any) -> None:
        super().__init__()
        core = _qt("QtCore")
        self._app = app
        self._start_soon = core.QMetaObject.invokeMethod
        self._queued = core.Qt.ConnectionType.QueuedConnection
        self._soon, self._later = (_timer(core, app, self._drain) for _ in range(2))
        app.aboutToQuit.connect(self._stop)

    def _wake(self) -> None:
        # A queued call of the timer's own slot: one posted event, which neither waits nor needs a class of ours.
        try:
            self._start_soon(self._soon, "start", self._queued)
        except RuntimeError:  # the application, and the timer with it, has been deleted
            self._close()

    def _arm(self, seconds: float | None) -> None:
        if seconds is None:
            self._later.stop()
        else:
            self._later.start(min(math.ceil(seconds * 1000), 0x7FFFFFFF))

    def _report(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)

    def _stop(self) -> None:
        """The event loop ends; another may begin."""
        self.streams.clear()


def _timer(core: Any, app: Any, drain: Any) -> Any:
    timer = core.QTimer()
    timer.setSingleShot(True)
    timer.setTimerType(core.Qt.TimerType.PreciseTimer)
    timer.timeout.connect(drain)
    timer.moveToThread(app.thread())
    timer.setParent(app)
    return timer


def _qt(module: str) -> Any:
    """A module of the binding that the program has loaded; else of the one installed."""
    for name in sorted(("PySide6", "PyQt6"), key=lambda name: name not in sys.modules):
        try:
            found = import_module(f"{name}.{module}")
        except ImportError:
            continue
        if name == "PySide6" and loses_references(sys.modules[name].__version_info__[:3], sys.version_info[:3]):
            keep_singletons_alive()
        return found
    raise ConfigurationError("Qt for Python is missing; pip install PySide6-Essentials (or PyQt6)")
