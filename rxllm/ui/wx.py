"""Streams in a wxPython program: the scheduler and the bindings.

::

    answer = bind_text(text_ctrl, model.stream(prompt))    # on the UI thread; shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.wire(answer)                               # a StopButton

A binding ends, and the connection closes, when it is disposed or its widget is destroyed: by closing its window, for
example. wx is looked for when it is first needed, not when this module is imported.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from reactivex import Observable

from ..errors import ConfigurationError
from ._bind import Binding, Streamed, as_each, as_events, as_text, bind, bind_state
from ._label import GrowingLabel
from ._pump import PumpScheduler
from ._stop_binding import Wire
from ._wx_text import GrowingText

T = TypeVar("T")


class Window(Protocol):
    """What is asked of any wx.Window."""

    def Enable(self, enable: bool = True) -> bool:  # noqa: N802 - wx's name
        """Enable or disable."""
        ...


class WxScheduler(PumpScheduler):
    """Runs actions on the thread of the running wx.App; make it on that thread, use it from any.

    When the app is gone, the streams bound to widgets are disposed, and scheduling does nothing. Raises
    `ConfigurationError` where there is no app yet. What an action raises goes to `sys.excepthook`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wx = wx = _wx()
        if wx.GetApp() is None:
            raise ConfigurationError("WxScheduler needs a wx.App; create that first")
        self._owner = wx.EvtHandler()
        self._timer = wx.Timer(self._owner)
        self._owner.Bind(wx.EVT_TIMER, self._timed_out)

    @property
    def gone(self) -> bool:
        """The app is."""
        return self._closed

    def _wake(self) -> None:
        try:
            self._wx.CallAfter(self._drain)
        except (AssertionError, RuntimeError):  # there is no app any more
            self._close()

    def _arm(self, seconds: float | None) -> None:
        if seconds is None:
            self._timer.Stop()
        else:
            self._timer.StartOnce(max(1, min(math.ceil(seconds * 1000), 0x7FFFFFFF)))

    def _timed_out(self, _: object) -> None:
        self._drain()

    def _report(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)


def bind_text(widget: Window, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to a TextCtrl or StaticText, a frame at a time, and the error it ends with.

    The view follows the end only if it was at the end; a read-only control is written to all the same.
    """
    view = GrowingText(_wx(), widget) if hasattr(widget, "WriteText") else _label(widget)
    return _until_gone(widget, bind(as_events(stream), _scheduler(), as_text(view)))


def bind_enabled(widget: Window, when: Observable[bool]) -> Binding:
    """Enable and disable `widget` as `when` says, a binding's `running` or `idle` for example."""
    return _until_gone(widget, bind_state(when, _scheduler(), widget.Enable))


def bind_each(widget: Window, show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` on wx's thread with each item of `stream`, a frame at a time, until `widget` is gone.

    ``bind_each(label, label.SetLabelText, texts)`` for example. An error is left to who shows the answer.
    """
    return _until_gone(widget, bind(stream, _scheduler(), as_each(show)))


if TYPE_CHECKING:

    class StopButton(Window):
        """A wx.Button that disposes what it is wired to when it is clicked, and is enabled while that runs."""

        def __init__(self, parent: Window, label: str = "Stop") -> None: ...

        def wire(self, stream: Binding) -> None:
            """Be the button of `stream`, and no more of the one before."""

else:

    def __getattr__(name: str) -> type:
        """Find `StopButton`, which cannot be made without wx."""
        if name == "StopButton":
            return _stop_button(_wx())
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _stop_button(wx: Any) -> type:
    class StopButton(wx.Button):  # type: ignore[misc] # a class of the wx that was found
        def __init__(self, parent: Any, label: str = "Stop") -> None:
            wx.Button.__init__(self, parent, label=label)
            self.Disable()
            self._wire = Wire(functools.partial(bind_enabled, self))
            self.Bind(wx.EVT_BUTTON, self._wire.stop)

        def wire(self, stream: Binding) -> None:
            self._wire.lead_to(stream)

    return StopButton


def _label(widget: Any) -> GrowingLabel:
    return GrowingLabel(widget.GetLabelText, widget.SetLabelText)


_current: list[WxScheduler] = []
"""The bindings' scheduler, until its app is gone."""


def _scheduler() -> WxScheduler:
    if not _current or _current[-1].gone:
        _current[:] = [WxScheduler()]
    return _current[-1]


def _until_gone(widget: Any, binding: Binding) -> Binding:
    """Have the binding end with its widget."""
    wx = _wx()

    def destroyed(event: Any) -> None:
        event.Skip()
        if event.GetEventObject() is widget:  # a window hears of its children's end, too
            binding.dispose()

    widget.Bind(wx.EVT_WINDOW_DESTROY, destroyed)

    def over() -> None:
        if widget:  # it is false once it is destroyed
            widget.Unbind(wx.EVT_WINDOW_DESTROY, handler=destroyed)

    binding.running.subscribe(on_completed=over)
    return binding


def _wx() -> Any:
    try:
        return import_module("wx")
    except ImportError as error:
        raise ConfigurationError("wxPython is missing; pip install wxPython (Debian: python3-wxgtk4.0)") from error
