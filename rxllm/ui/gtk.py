"""Streams in a GTK program, GTK 4 or 3 (PyGObject): the scheduler and the bindings.

::

    answer = bind_text(text_view, model.stream(prompt))    # on the UI thread; shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.wire(answer)                               # a StopButton

A binding ends, and the connection closes, when it is disposed, its widget or the window around it is destroyed, or the
application shuts down. GTK is looked for when it is first needed, in the version that the program has required, else
in version 4.
"""

from __future__ import annotations

import functools
import math
import sys
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from reactivex import Observable

from ..errors import ConfigurationError
from ._bind import Binding, Streamed, as_each, as_events, as_text, bind, bind_state
from ._gtk_text import GrowingText
from ._label import GrowingLabel
from ._pump import PumpScheduler
from ._stop_binding import Wire

T = TypeVar("T")


class Widget(Protocol):
    """What is asked of any Gtk.Widget."""

    def set_sensitive(self, sensitive: bool, /) -> None:
        """Enable or disable."""


class GtkScheduler(PumpScheduler):
    """Runs actions on the thread that runs GLib's main loop; make it on that thread, use it from any.

    When the Gtk.Application that there was when it was made shuts down, the streams bound to widgets are disposed, and
    scheduling does nothing. What an action raises goes to `sys.excepthook`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._glib = _gi("GLib")
        self._timer = 0
        app = _gi("Gio").Application.get_default()
        if app is not None:
            app.connect("shutdown", self._shut_down)

    @property
    def gone(self) -> bool:
        """The application has shut down."""
        return self._closed

    def _wake(self) -> None:
        self._glib.idle_add(self._rung, priority=self._glib.PRIORITY_DEFAULT)

    def _rung(self) -> bool:
        self._drain()
        return False

    def _arm(self, seconds: float | None) -> None:
        if self._timer:
            self._glib.source_remove(self._timer)
            self._timer = 0
        if seconds is not None:
            milliseconds = min(math.ceil(seconds * 1000), 0x7FFFFFFF)
            self._timer = self._glib.timeout_add(milliseconds, self._timed_out)

    def _timed_out(self) -> bool:
        self._timer = 0
        self._drain()
        return False

    def _report(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)

    def _shut_down(self, _: object) -> None:
        self._close()

    def _close(self) -> None:
        self._arm(None)
        super()._close()


def bind_text(widget: Widget, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to a TextView or Label, a frame at a time, and the error it ends with.

    The view follows the end only if it was at the end; a view that is not editable is written to all the same.
    """
    view = GrowingText(widget) if hasattr(widget, "get_buffer") else _label(widget)
    return _until_gone(widget, bind(as_events(stream), _scheduler(), as_text(view)))


def bind_enabled(widget: Widget, when: Observable[bool]) -> Binding:
    """Make `widget` sensitive or not as `when` says, a binding's `running` or `idle` for example."""
    return _until_gone(widget, bind_state(when, _scheduler(), widget.set_sensitive))


def bind_each(widget: Widget, show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` on GTK's thread with each item of `stream`, a frame at a time, until `widget` is gone.

    ``bind_each(label, label.set_text, texts)`` for example. An error is left to who shows the answer.
    """
    return _until_gone(widget, bind(stream, _scheduler(), as_each(show)))


if TYPE_CHECKING:

    class StopButton(Widget):
        """A Gtk.Button that disposes what it is wired to when it is clicked, and is sensitive while that runs."""

        def __init__(self, label: str = "Stop") -> None: ...

        def wire(self, stream: Binding) -> None:
            """Be the button of `stream`, and no more of the one before."""

else:

    def __getattr__(name: str) -> type:
        """Find `StopButton`, which cannot be made before it is known which GTK it is for."""
        if name == "StopButton":
            return _stop_button(_gi("Gtk"))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _stop_button(gtk: Any) -> type:
    class StopButton(gtk.Button):  # type: ignore[misc] # a class of the GTK that was found
        __gtype_name__ = "RxllmStopButton"

        def __init__(self, label: str = "Stop") -> None:
            gtk.Button.__init__(self, label=label, sensitive=False)
            itself: Any = weakref.ref(self)  # no cycle: those are collected on any thread, which crashes GTK
            self._wire = Wire(lambda running: bind_enabled(itself(), running))
            self.connect("clicked", self._wire.stop)

        def wire(self, stream: Binding) -> None:
            self._wire.lead_to(stream)

    return StopButton


def _label(widget: Any) -> GrowingLabel:
    return GrowingLabel(widget.get_text, widget.set_text)


_current: list[GtkScheduler] = []
"""The bindings' scheduler, until its application has shut down."""


def _scheduler() -> GtkScheduler:
    if not _current or _current[-1].gone:
        _current[:] = [GtkScheduler()]
    return _current[-1]


def _until_gone(widget: Any, binding: Binding) -> Binding:
    """Have the binding end with its widget, or the widget's window."""

    def look(*_: object) -> None:
        if not widget.get_realized():
            binding.dispose()

    def unrealized(_: object) -> None:
        _scheduler().schedule(look)  # it may only be on its way to another place

    handler = widget.connect("unrealize", unrealized)
    binding.running.subscribe(on_completed=lambda: widget.disconnect(handler))
    return binding


def _gi(module: str) -> Any:
    """A module of GTK's in the version that the program has required, else of GTK 4."""
    try:
        gi: Any = import_module("gi")
        if gi.get_required_version("Gtk") is None:
            gi.require_version("Gtk", "4.0")
        return import_module(f"gi.repository.{module}")
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            "GTK for Python is missing; apt-get install python3-gi gir1.2-gtk-4.0, or see pygobject.gnome.org"
        ) from error
