"""The scheduler for Qt's thread, and which Qt for Python the program uses: PySide6 or PyQt6."""

from __future__ import annotations

import functools
import math
import sys
import weakref
from importlib import import_module
from typing import Any

from ..errors import ConfigurationError
from ._loop_scheduler import LoopScheduler
from ._pyside_refcount_fix import keep_singletons_alive, loses_references

_BINDINGS = ("PySide6", "PyQt6")
_OLD_BINDINGS = ("PyQt5", "PySide2", "PyQt4", "PySide")


def qt_module(module: str) -> Any:
    """Return a module of Qt, such as "QtCore", of the binding that the program uses, or else of an installed one.

    Raises `ConfigurationError` if neither PySide6 nor PyQt6 can be imported.
    """
    for name in sorted(_BINDINGS, key=_rank_by_use):
        try:
            found = import_module(f"{name}.{module}")
        except ImportError:
            continue
        if name == "PySide6" and loses_references(sys.modules[name].__version_info__[:3], sys.version_info[:3]):
            keep_singletons_alive()
        return found
    old = next((name for name in _OLD_BINDINGS if name in sys.modules), None)
    if old is not None:
        raise ConfigurationError(f"rxllm.ui.qt works with PySide6 and PyQt6; this program uses {old}")
    raise ConfigurationError("Qt for Python is missing; pip install PySide6-Essentials (or PyQt6)")


def check_widget(widget: object, *needed: str) -> None:
    """Raise `TypeError` if `widget` is not an instance of one of the `needed` classes of QtWidgets.

    Raises `ConfigurationError` for a widget of an old binding.
    """
    binding = type(widget).__module__.partition(".")[0]
    if binding in _OLD_BINDINGS:
        raise ConfigurationError(f"rxllm.ui.qt works with PySide6 and PyQt6; this widget is {binding}'s")
    widgets = qt_module("QtWidgets")
    if not isinstance(widget, tuple(getattr(widgets, name) for name in needed)):
        raise TypeError(f"this needs a {' or '.join(needed)}; got {type(widget).__name__}")


class QtScheduler(LoopScheduler):
    """Runs actions on the thread of the QCoreApplication. May be made on any thread.

    There is one per application: each call returns the same. When the event loop ends (`aboutToQuit`), the streams
    bound to widgets are disposed; when the application is gone, scheduling does nothing. The error of an action goes
    to `sys.excepthook`.

    Raises:
        ConfigurationError: There is no application yet, or no Qt for Python.
    """

    _current: QtScheduler | None = None

    def __new__(cls) -> QtScheduler:
        """Return the application's scheduler."""
        app = qt_module("QtCore").QCoreApplication.instance()
        if app is None:
            raise ConfigurationError("QtScheduler needs a QApplication or QCoreApplication; create that first")
        if cls._current is None or cls._current._app() is not app:
            made = super().__new__(cls)
            made._set_up(app)
            cls._current = made
        return cls._current

    def __init__(self) -> None:
        """Do nothing: all is done in `__new__`, as there is one scheduler per application."""

    def _set_up(self, app: Any) -> None:
        """Make the timers that drain the queue, and stop when the application quits or is collected."""
        core = qt_module("QtCore")
        self._app = weakref.ref(app, lambda _: self.close())  # it may go without having quit
        soon, self._later = (_timer_class(core)(app, self._drain) for _ in range(2))
        queued = core.Qt.ConnectionType.QueuedConnection
        # A queued call of the timer's own slot: one posted event, which neither waits nor needs a class of our own.
        super().__init__(lambda _: core.QMetaObject.invokeMethod(soon, "start", queued))
        app.aboutToQuit.connect(self._stop)

    def _arm(self, seconds: float | None) -> None:
        if seconds is None:
            self._later.stop()
        else:
            self._later.start(min(math.ceil(seconds * 1000), 0x7FFFFFFF))

    def _stop(self) -> None:
        """Dispose the streams: the event loop ends. Another may begin."""
        self.streams.clear()


@functools.cache
def _timer_class(core: Any) -> Any:
    """Return a class of timers, for the Qt that was found."""

    class Timer(core.QTimer):  # type: ignore[misc] # a class of the Qt that was found
        """Calls `drain` on the application's thread, whichever thread makes it.

        By an override: a signal's connection to a Python function belongs to the thread that makes it (PyQt6).
        """

        def __init__(self, app: Any, drain: Any) -> None:
            core.QTimer.__init__(self)
            self._drain = drain
            self.setTimerType(core.Qt.TimerType.PreciseTimer)
            self.moveToThread(app.thread())
            self.setParent(app)

        def timerEvent(self, _: object) -> None:  # noqa: N802 - Qt's name
            self.stop()
            self._drain()

    return Timer


def _rank_by_use(name: str) -> int:
    """Return 0 for a binding that has an application, 1 for one that is imported, else 2."""
    if name not in sys.modules:
        return 2
    core = sys.modules.get(f"{name}.QtCore")
    return 0 if core is not None and core.QCoreApplication.instance() is not None else 1
