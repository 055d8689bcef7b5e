"""Streams in a Tk program: the scheduler and the bindings.

::

    answer = bind_markdown(text_widget, model.stream(prompt))    # shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.wire(answer)                                     # a StopButton

The bindings are made on Tk's thread. Each ends, and the connection closes, when it is disposed or its widget is
destroyed: by closing its window, for example.

Tk may be touched on its own thread only, and the calls that tkinter carries over from other threads block those and
fail outside mainloop(). So a wake-up from another thread never touches Tk: it writes one byte to a socket that Tk's
own loop watches (Linux, macOS). Where Tk cannot watch a socket (Windows), the loop looks into the inbox by itself:
at once while there is something to do, and 20 times a second while there is not.
"""

from __future__ import annotations

import math
import socket
import sys
import tkinter
from collections.abc import Callable
from functools import partial
from tkinter import ttk
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from ._bind import Binding, Streamed, as_each, as_events, as_markdown, as_text, bind, bind_state
from ._label import GrowingLabel
from ._pump import PumpScheduler
from ._stop_binding import Wire
from ._tk_text import GrowingMarkdown, GrowingText

T = TypeVar("T")

_POLL_SECONDS = 0.05


class TkScheduler(PumpScheduler):
    """Runs actions on the thread of `root`'s mainloop; make it on that thread, use it from any.

    `root` may be any widget of the program. When the program's root window is destroyed, the streams bound to widgets
    are disposed, and scheduling does nothing. What an action raises goes to `report_callback_exception`.
    `poll` has the loop look for work by itself instead of being woken; it is the only way on Windows.
    """

    def __init__(self, root: tkinter.Misc, *, poll: bool = sys.platform == "win32") -> None:
        super().__init__()
        self._root: tkinter.Tk = root.nametowidget(".")
        self._command = self._root.register(self._drain)
        self._timer: str | None = None
        self._longest = _POLL_SECONDS if poll else math.inf
        self._bell: _Bell | None = None
        if poll:
            self._arm(None)
        else:
            self._bell = _Bell(self._root, self._drain)
        self._root.bind("<Destroy>", self._destroyed, add="+")

    def _wake(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._root.tk.call("after", "cancel", self._timer)
            self._timer = None
        seconds = min(math.inf if seconds is None else seconds, self._longest)
        if seconds < math.inf:
            self._timer = self._root.tk.call("after", min(math.ceil(seconds * 1000), 0x7FFFFFFF), self._command)

    def _report(self, error: Exception) -> None:
        self._root.report_callback_exception(type(error), error, error.__traceback__)

    def _destroyed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if event.widget is not self._root:  # a window hears of its children's end, too
            return
        self._longest = math.inf
        self._arm(None)
        self._close()
        with self._lock:  # no producer is about to ring
            if self._bell is not None:
                self._bell.remove()
                self._bell = None


def bind_text(widget: tkinter.Text | tkinter.Label | ttk.Label, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to `widget`, a frame at a time, and the error it ends with.

    The view follows the end only if the end was in view. A disabled (read-only) Text is written to all the same.
    """
    view = GrowingText(widget) if isinstance(widget, tkinter.Text) else _label(widget)
    return _bind(widget, as_events(stream), as_text(view))


def bind_markdown(widget: tkinter.Text, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to `widget` as Markdown, styled as it comes; for the rest see `bind_text`."""
    return _bind(widget, as_events(stream), as_markdown(GrowingMarkdown(widget)))


def bind_enabled(widget: tkinter.Widget, when: Observable[bool]) -> Binding:
    """Enable and disable `widget` as `when` says, a binding's `running` or `idle` for example."""

    def enable(value: bool) -> None:
        widget["state"] = "normal" if value else "disabled"

    return _until_gone(widget, bind_state(when, _scheduler_of(widget), enable))


def bind_each(widget: tkinter.Misc, show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` on Tk's thread with each item of `stream`, a frame at a time, until `widget` is destroyed.

    An error is left to who shows the answer.
    """
    return _bind(widget, stream, as_each(show))


class StopButton(ttk.Button):
    """A button that disposes what it is wired to when it is clicked, and is enabled while that runs."""

    def __init__(self, master: tkinter.Misc | None = None, *, text: str = "Stop") -> None:
        self._wire = Wire(partial(bind_enabled, self))
        super().__init__(master, text=text, command=self._wire.stop, state="disabled")

    def wire(self, stream: Binding) -> None:
        """Be the button of `stream`, and no more of the one before."""
        self._wire.lead_to(stream)


def _label(widget: tkinter.Label | ttk.Label) -> GrowingLabel:
    def write(text: str) -> None:
        widget["text"] = text

    return GrowingLabel(lambda: str(widget["text"]), write)


_schedulers: dict[tkinter.Misc, TkScheduler] = {}
"""The bindings' schedulers, one for each root window."""

_bound: dict[tkinter.Misc, CompositeDisposable] = {}
"""What ends with each widget."""


def _bind(widget: tkinter.Misc, source: Observable[T], observer: abc.ObserverBase[T]) -> Binding:
    return _until_gone(widget, bind(source, _scheduler_of(widget), observer, settle=widget.after_idle))


def _until_gone(widget: tkinter.Misc, binding: Binding) -> Binding:
    """Have the binding end with its widget."""
    if widget not in _bound:
        _bound[widget] = CompositeDisposable()
        widget.bind("<Destroy>", lambda event: _forget(event.widget), add="+")
    _bound[widget].add(binding)
    binding.running.subscribe(on_completed=lambda: _unbound(widget, binding))
    return binding


def _scheduler_of(widget: tkinter.Misc) -> TkScheduler:
    root = widget.nametowidget(".")
    if root not in _schedulers:
        _schedulers[root] = scheduler = TkScheduler(root)
        scheduler.streams.add(Disposable(partial(_forget_root, root)))
    return _schedulers[root]


def _forget_root(root: tkinter.Misc) -> None:
    del _schedulers[root]


def _unbound(widget: tkinter.Misc, binding: Binding) -> None:
    if widget in _bound:
        _bound[widget].remove(binding)


def _forget(widget: tkinter.Misc) -> None:
    """The widget is destroyed; called for its children, too."""
    if widget in _bound:
        _bound.pop(widget).dispose()


class _Bell:
    """A socket pair: one end watched by Tk, the other written to by whoever rings."""

    def __init__(self, root: tkinter.Tk, answer: Callable[[], None]) -> None:
        self._tk = root.tk
        self._answer = answer
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._tk.createfilehandler(self._inside, tkinter.READABLE, self._rung)

    def ring(self) -> None:
        self._outside.send(b"!")

    def remove(self) -> None:
        self._tk.deletefilehandler(self._inside)
        self._inside.close()
        self._outside.close()

    def _rung(self, *_: object) -> None:
        self._inside.recv(64)
        self._answer()
