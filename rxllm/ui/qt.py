"""Streams in a Qt program, PySide6 or PyQt6, whichever it uses: the scheduler and the bindings.

::

    answer = bind_markdown(browser, model.stream(prompt))    # on the UI thread; shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.wire(answer)                                 # a StopButton

A binding ends, and the connection closes, when it is disposed, its widget is destroyed, the widget's window is
closed or hidden, or the event loop ends. Qt is looked for when it is first needed, not when this module is imported.
Annotations speak of PySide6; PyQt6 has the same classes.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable, abc

from ..errors import ConfigurationError
from ._bind import Binding, Streamed, as_each, as_events, as_markdown, as_text, bind, bind_state
from ._label import GrowingLabel
from ._pump import PumpScheduler
from ._pyside_refcount_fix import keep_singletons_alive, loses_references
from ._qt_text import GrowingMarkdown, GrowingText
from ._stop_binding import Wire

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent
    from PySide6.QtWidgets import QLabel, QPlainTextEdit, QPushButton, QTextEdit, QWidget

T = TypeVar("T")


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


def bind_text(widget: QPlainTextEdit | QTextEdit | QLabel, stream: Streamed, *, while_hidden: bool = False) -> Binding:
    """Append the visible text of `stream` to `widget`, a frame at a time, and the error it ends with.

    The view follows the end only if it was at the end. With `while_hidden` the stream goes on when the window is
    hidden, into the tray for example; then closing the window does not end it, unless that destroys it.
    """
    view = GrowingText(_qt("QtGui"), widget) if hasattr(widget, "document") else _label(widget)
    return _bind(widget, as_events(stream), as_text(view), while_hidden=while_hidden)


def bind_markdown(widget: QTextEdit, stream: Streamed, *, while_hidden: bool = False) -> Binding:
    """Append the visible text of `stream` to `widget` (a QTextBrowser, say) as Markdown, rendered as it comes.

    HTML in it is shown as text. For the rest see `bind_text`.
    """
    view = GrowingMarkdown(_qt("QtGui"), widget)
    return _bind(widget, as_events(stream), as_markdown(view), while_hidden=while_hidden)


def bind_enabled(widget: QWidget, when: Observable[bool]) -> Binding:
    """Enable and disable `widget` as `when` says, a binding's `running` or `idle` for example."""
    return _until_gone(widget, bind_state(when, QtScheduler(), widget.setEnabled), while_hidden=True)


def bind_each(widget: QWidget, show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` on the UI thread with each item of `stream`, a frame at a time, until `widget` is gone.

    ``bind_each(label, label.setText, texts)`` for example. An error is left to who shows the answer.
    """
    return _bind(widget, stream, as_each(show))


if TYPE_CHECKING:

    class StopButton(QPushButton):
        """A button that disposes what it is wired to when it is clicked, and is enabled while that runs."""

        def __init__(self, text: str = "Stop", parent: QWidget | None = None) -> None: ...

        def wire(self, stream: Binding) -> None:
            """Be the button of `stream`, and no more of the one before."""

else:

    def __getattr__(name: str) -> type:
        """Find `StopButton`, which cannot be made before it is known which Qt it is for."""
        if name == "StopButton":
            return _stop_button(_qt("QtWidgets"))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _stop_button(widgets: Any) -> type:
    class StopButton(widgets.QPushButton):  # type: ignore[misc] # a class of the Qt that was found
        def __init__(self, text: str = "Stop", parent: QWidget | None = None) -> None:
            widgets.QPushButton.__init__(self, text, parent)
            self.setEnabled(False)
            self._wire = Wire(functools.partial(bind_enabled, self))
            self.clicked.connect(self._wire.stop)

        def wire(self, stream: Binding) -> None:
            self._wire.lead_to(stream)

    return StopButton


@functools.cache
def _watcher(core: Any) -> type:
    class Watcher(core.QObject):  # type: ignore[misc] # a class of the Qt that was found
        """A child of a widget, which ends with it, and sees it being hidden."""

        def __init__(self, widget: QWidget, binding: Binding) -> None:
            core.QObject.__init__(self, widget)
            self._widget = widget
            self._binding = binding
            self.destroyed.connect(binding.dispose)

        def eventFilter(self, watched: object, event: QEvent) -> bool:  # noqa: N802 - Qt's name
            if event.type() == core.QEvent.Type.Hide:
                QtScheduler().schedule(self._look)  # when the window is hidden, too, if it is to be
            return False

        def _look(self, *_: object) -> None:
            if not self._binding.stopped and not self._widget.window().isVisible():
                self._binding.dispose()

    return Watcher


def _label(widget: Any) -> GrowingLabel:
    widget.setTextFormat(_qt("QtCore").Qt.TextFormat.PlainText)
    return GrowingLabel(widget.text, widget.setText)


def _bind(widget: Any, source: Observable[T], observer: abc.ObserverBase[T], *, while_hidden: bool = False) -> Binding:
    return _until_gone(widget, bind(source, QtScheduler(), observer), while_hidden=while_hidden)


def _until_gone(widget: Any, binding: Binding, *, while_hidden: bool) -> Binding:
    """Have the binding end with its widget, or the widget's window."""
    watcher = _watcher(_qt("QtCore"))(widget, binding)
    if not while_hidden:
        widget.installEventFilter(watcher)
    binding.running.subscribe(on_completed=watcher.deleteLater)
    return binding


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
