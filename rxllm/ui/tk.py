"""Streams in a Tk program: the scheduler and the bindings.

::

    answer = bind_markdown(text_widget, model.stream(prompt))    # shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.connect_to(answer)                               # a StopButton

The bindings are made on Tk's thread. Each ends, and the connection closes, when it is disposed or its widget is
destroyed: by closing its window, for example. The widgets of customtkinter may be given, too.

Tk may be touched on its own thread only, and the calls that tkinter carries over from other threads block those and
fail outside mainloop(). So a wake-up from another thread never touches Tk: it writes one byte to a socket that Tk's
own loop watches (Linux, macOS). If Tk cannot watch a socket (Windows), the loop looks into the inbox by itself:
at once while there is something to do, and 20 times a second while there is not.
"""

from __future__ import annotations

import math
import socket
import sys
import tkinter
import webbrowser
from collections.abc import Callable
from functools import partial
from tkinter import ttk
from typing import Any, TypeVar, cast

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from ..assistant import ChatSession
from ._binding import Binding, StreamBinding, Streamed, as_each, as_events, as_text
from ._binding import bind_enabled as bind_enabled_on
from ._loop_scheduler import LoopScheduler
from ._markdown_view import MarkdownView
from ._stop_button import StopBinding
from ._text_region import TextRegion
from ._tk_text import TkRegion
from ._transcript import STATUS_TEXTS, Transcript

__all__ = ["ChatView", "StopButton", "TkScheduler", "bind_each", "bind_enabled", "bind_markdown", "bind_text"]

T = TypeVar("T")

_POLL_SECONDS = 0.05


class TkScheduler(LoopScheduler):
    """Runs actions on the thread of a program's mainloop; make it on that thread, use it from any.

    When the program's root window is destroyed, the streams bound to widgets are disposed, and scheduling does
    nothing. The error of an action goes to `report_callback_exception`.

    Args:
        root: Any widget of the program.
        poll: True has the loop look for work by itself instead of being woken; the only way on Windows.
    """

    def __init__(self, root: tkinter.Misc, *, poll: bool = sys.platform == "win32") -> None:
        """Create a scheduler at rest, woken by a socket or by a timer."""
        super().__init__(self._ring)
        self._root: tkinter.Tk = root.nametowidget(".")
        self._command = self._root.register(self._drain)
        self._after: str | None = None
        self._longest = _POLL_SECONDS if poll else math.inf
        self._bell: tuple[socket.socket, socket.socket] | None = None
        """Tk watches the first socket, any thread writes to the second; none if the loop polls."""
        if poll:
            self._arm(None)
        else:
            self._bell = socket.socketpair()
            for end in self._bell:
                end.setblocking(False)
            self._root.tk.createfilehandler(self._bell[0], tkinter.READABLE, self._rung)
        self._root.bind("<Destroy>", self._destroyed, add="+")

    def _ring(self, _: object) -> None:
        if self._bell is not None:
            self._bell[1].send(b"!")

    def _rung(self, bell: socket.socket, _: object) -> None:
        bell.recv(64)
        self._drain()

    def _arm(self, seconds: float | None) -> None:
        if self._after is not None:
            self._root.tk.call("after", "cancel", self._after)
            self._after = None
        seconds = min(math.inf if seconds is None else seconds, self._longest)
        if seconds < math.inf:
            self._after = self._root.tk.call("after", min(math.ceil(seconds * 1000), 0x7FFFFFFF), self._command)

    def _report(self, error: Exception) -> None:
        self._root.report_callback_exception(type(error), error, error.__traceback__)

    def _destroyed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        """Close when the root window is destroyed."""
        if event.widget is not self._root:  # a window gets the events of its children, too
            return
        self._longest = math.inf
        self._arm(None)
        self.close()
        with self._lock:  # no producer is about to ring
            if self._bell is not None:
                self._root.tk.deletefilehandler(self._bell[0])
                for end in self._bell:
                    end.close()
                self._bell = None


def bind_text(widget: tkinter.Text | tkinter.Label | ttk.Label, stream: Streamed) -> Binding:
    """Append the visible text of a stream to a widget, at most once per frame, and the error that it ends with.

    Args:
        widget: A Text or Label, or customtkinter's. A disabled (read-only) Text is written to all the same, and follows
            the end while the end is in view. A Label is for short texts: all of it is drawn each time.
        stream: A model's events, or strings. Subscribed to at once, which makes the request.

    Returns:
        The binding; disposing it stops the stream.

    Raises:
        TypeError: The widget is of another class.
    """
    is_label = isinstance(widget, tkinter.Label | ttk.Label) or type(widget).__name__ == "CTkLabel"
    view = _label(widget) if is_label else TkRegion(_text_of(widget))
    return _bind(widget, as_events(stream), as_text(view))


def bind_markdown(widget: tkinter.Text, stream: Streamed) -> Binding:
    """Append the visible text of a stream to a widget as Markdown, styled as it comes, and the error it ends with.

    HTML is shown as text, images as links; nothing is loaded. A click on a link opens http, https and mailto
    addresses in the desktop's browser.

    Args:
        widget: A Text, or customtkinter's CTkTextbox.
        stream: A model's events, or strings. Subscribed to at once, which makes the request.

    Returns:
        The binding; disposing it stops the stream.

    Raises:
        TypeError: The widget is of another class.
    """
    view = MarkdownView(TkRegion(_text_of(widget)))
    return _bind(widget, as_events(stream), as_text(view, view.finish))


def bind_enabled(widget: tkinter.Widget, when: Observable[bool]) -> Binding:
    """Enable and disable a widget; a read-only Entry or Combobox is read-only again when it is enabled.

    Args:
        widget: Any widget that has a state.
        when: For example a binding's `running` or `idle`. When it fails, the widget is disabled.

    Returns:
        The binding; it ends with `when` or with the widget.
    """
    state = str(widget.cget("state"))
    enabled = state if state == "readonly" else "normal"
    configure: Callable[..., object] = widget.configure

    def enable(value: bool) -> None:
        configure(state=enabled if value else "disabled")

    return _until_gone(widget, bind_enabled_on(_scheduler_of(widget), enable, when))


def bind_each(
    widget: tkinter.Misc, show: Callable[[T], Any], stream: Observable[T], *, latest: bool = False
) -> Binding:
    """Call a function on Tk's thread with each item of a stream, until a widget is destroyed.

    Args:
        widget: The binding ends with it.
        show: Called at most once per frame.
        stream: Subscribed to at once. Its error is left to the binding that shows the answer.
        latest: True shows only the newest of the items that wait: for a value that replaces the one before.

    Returns:
        The binding.

    Example:
        ``bind_each(label, lambda text: label.configure(text=text), events.pipe(ops.accumulate()), latest=True)``
    """
    return _bind(widget, stream, as_each(show), latest=latest)


class ChatView(tkinter.Frame):
    """A whole chat: Markdown, code with colours and a link that copies it, reasoning folded, tools with approval.

    Its widgets are `text`, `input`, `send_button`, `stop_button`, `retry_button` and `status`. When the view is
    destroyed, the running answer is stopped; closing the session is up to you.

    Args:
        master: The parent widget.
        session: The session.
    """

    def __init__(self, master: tkinter.Misc | None, session: ChatSession) -> None:
        super().__init__(master, padx=6, pady=6)
        self.session = session
        self.text = tkinter.Text(self, state="disabled", wrap="word", padx=8, pady=8, font="TkTextFont", takefocus=True)
        # A disabled Text takes no focus by itself, and without it none of its text can be copied by the keyboard.
        self.text.bind("<Button-1>", lambda _: self.text.focus_set())
        scroll = cast("Callable[..., None]", self.text.yview)  # pyright: ignore[reportUnknownMemberType] - not typed
        bar = tkinter.Scrollbar(self, command=scroll)
        self.text.configure(yscrollcommand=bar.set)
        self.status = tkinter.Label(self)
        self.input = tkinter.Entry(self)
        self.send_button = tkinter.Button(self, text="Send", command=self.submit)
        self.stop_button = tkinter.Button(self, text="Stop", command=session.stop)
        self.retry_button = tkinter.Button(self, text="Retry", command=session.regenerate)
        self.text.grid(row=0, column=0, columnspan=4, sticky="nsew")
        bar.grid(row=0, column=4, sticky="ns")
        self.status.grid(row=1, column=0, columnspan=5, sticky="w")
        for column, widget in enumerate((self.input, self.send_button, self.stop_button, self.retry_button)):
            widget.grid(row=2, column=column, sticky="ew", padx=2, pady=4)
        self.columnconfigure(0, weight=1)
        self.rowconfigure(0, weight=1)
        for key in ("<Return>", "<KP_Enter>"):
            self.input.bind(key, lambda _: self.submit())
        self.input.bind("<Escape>", self._cancel_edit)
        # Not a variable with a trace: its finalizer calls Tk, on any thread.
        self.input.configure(validate="key", validatecommand=(self.register(self._typed), "%P"))
        self._transcript = Transcript(session, lambda: TkRegion(self.text, self._click), self)
        bind_each(self, self._show, self._transcript.changes, latest=True)

    def _show(self, _: object) -> None:
        """Show the session's state."""
        state = self.session.state
        self._transcript.show(state.messages)
        self.send_button.configure(state="disabled" if state.running else "normal")
        self.stop_button.configure(state="normal" if state.running else "disabled")
        self.retry_button.configure(state="normal" if state.messages and not state.running else "disabled")
        self.status.configure(text=STATUS_TEXTS[state.status])

    def submit(self) -> None:
        """Send what is typed, unless an answer runs."""
        text = self.input.get().strip()
        if not text or str(self.send_button["state"]) == "disabled":
            return
        self._transcript.send(text)
        self.input.delete(0, "end")

    def copy(self, text: str) -> None:
        """Put text on the clipboard.

        Args:
            text: The text.
        """
        self.clipboard_clear()
        self.clipboard_append(text)

    def edit(self, text: str) -> None:
        """Put a text into the input.

        Args:
            text: The text.
        """
        self.input.delete(0, "end")
        self.input.insert(0, text)
        self.input.focus_set()

    def open_link(self, address: str) -> None:
        """Open an address in the desktop's browser.

        Args:
            address: The address.
        """
        webbrowser.open(address)

    def _click(self, address: str) -> None:
        self._transcript.click(address)

    def _typed(self, text: str) -> bool:
        self._transcript.typed(text)
        return True

    def _cancel_edit(self, _: object) -> str | None:
        """End the edit of a message, if there is one; else leave the key to the window."""
        if not self._transcript.edited_id:
            return None
        self.input.delete(0, "end")
        return "break"


class StopButton(tkinter.Button):
    """A button that stops the stream that it is connected to, and is enabled while that runs.

    Args:
        master: The parent widget.
        text: The caption.
    """

    def __init__(self, master: tkinter.Misc | None = None, *, text: str = "Stop") -> None:
        self._binding = StopBinding(partial(bind_enabled, self))
        super().__init__(master, text=text, command=self._binding.stop, state="disabled")

    def connect_to(self, stream: Binding) -> None:
        """Connect the button to a stream, in place of the one before.

        Args:
            stream: What a click disposes.
        """
        self._binding.connect(stream)


def _text_of(widget: object) -> tkinter.Text:
    """Return the Text itself, or the one inside of a CTkTextbox; raise TypeError for another widget."""
    inner = getattr(widget, "_textbox", widget)
    if not isinstance(inner, tkinter.Text):
        raise TypeError(f"this needs a Text; got {type(widget).__name__}")
    return inner


def _label(widget: Any) -> TextRegion:
    return TextRegion(lambda: str(widget.cget("text")), lambda text: widget.configure(text=text))


_schedulers: dict[tkinter.Misc, TkScheduler] = {}
"""The bindings' schedulers, one for each root window."""

_bound: dict[tkinter.Misc, CompositeDisposable] = {}
"""What is disposed with each widget."""


def _bind(
    widget: tkinter.Misc, source: Observable[T], observer: abc.ObserverBase[T], *, latest: bool = False
) -> Binding:
    return _until_gone(
        widget, StreamBinding(source, _scheduler_of(widget), observer, settle=widget.after_idle, latest=latest)
    )


def _until_gone(widget: tkinter.Misc, binding: Binding) -> Binding:
    """End the binding when its widget is destroyed."""
    if widget not in _bound:
        _bound[widget] = CompositeDisposable()
        # Not `widget.bind`: customtkinter's binds the widgets inside of it.
        tkinter.Misc.bind(widget, "<Destroy>", lambda event: _forget(event.widget), add="+")
    binding.end_with(_bound[widget])
    return binding


def _scheduler_of(widget: tkinter.Misc) -> TkScheduler:
    root = widget.nametowidget(".")
    if root not in _schedulers:
        _schedulers[root] = scheduler = TkScheduler(root)
        scheduler.streams.add(Disposable(partial(_forget_root, root)))
    return _schedulers[root]


def _forget_root(root: tkinter.Misc) -> None:
    del _schedulers[root]


def _forget(widget: tkinter.Misc) -> None:
    """Dispose what is bound to a widget that is destroyed; called for its children, too."""
    if widget in _bound:
        _bound.pop(widget).dispose()
