"""Streams in a Qt program, PySide6 or PyQt6, whichever it uses: the scheduler and the bindings.

::

    answer = bind_markdown(browser, model.stream(prompt))    # on the UI thread; shows the answer as it comes
    bind_enabled(send_button, answer.idle)
    stop_button.connect_to(answer)                           # a StopButton

A binding ends, and the connection closes, when it is disposed, its widget is destroyed, the widget's window is closed
or hidden, or the event loop ends. It holds no reference that keeps a widget alive, and changes no text but its own. Qt
is looked for when it is first needed, not when this module is imported. Annotations speak of PySide6; PyQt6 has the
same classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable, Observer, abc

from ..events import TokenEvent
from ._binding import Binding, StreamBinding, Streamed, as_each, as_events, as_text
from ._markdown import SAFE_LINK
from ._markdown_view import MarkdownView
from ._qt_scheduler import QtScheduler, check_widget, qt_module
from ._qt_text import QtRegion
from ._qt_widget import WidgetRef, bind_enabled, widget_ref
from ._text_region import TextRegion

if TYPE_CHECKING:
    from PySide6.QtWidgets import QLabel, QPlainTextEdit, QTextEdit, QWidget

    from ._qt_chat import ChatModel, ChatView, StopButton

__all__ = [
    "ChatModel",
    "ChatView",
    "QtScheduler",
    "StopButton",
    "bind_each",
    "bind_enabled",
    "bind_markdown",
    "bind_text",
]

T = TypeVar("T")


def bind_text(widget: QPlainTextEdit | QTextEdit | QLabel, stream: Streamed, *, while_hidden: bool = False) -> Binding:
    """Append the visible text of a stream to a widget, at most once per frame, and the error that it ends with.

    Args:
        widget: Shows the text, as plain text. A view follows the end while the end is in view. A QLabel is
            for short texts: all of it is drawn each time.
        stream: A model's events, or strings. Subscribed to at once, which makes the request.
        while_hidden: True lets the stream run on when the window is hidden, into the tray for example. Then closing the
            window does not end it, unless that destroys it.

    Returns:
        The binding; disposing it stops the stream.

    Raises:
        TypeError: The widget is of another class.
        ConfigurationError: The widget is of a Qt binding that is not supported.
    """
    check_widget(widget, "QPlainTextEdit", "QTextEdit", "QLabel")
    ref = widget_ref(widget)
    view = QtRegion(qt_module("QtGui"), ref) if hasattr(widget, "document") else _label(ref)
    return _bind(ref, stream, as_text(view), while_hidden=while_hidden)


def bind_markdown(widget: QTextEdit, stream: Streamed, *, while_hidden: bool = False) -> Binding:
    """Append the visible text of a stream to a widget as Markdown, rendered as it comes, and the error it ends with.

    HTML is shown as text, images as links; nothing is loaded. In a QTextBrowser a click on a link opens http, https and
    mailto addresses in the desktop's browser, unless you have called ``setOpenLinks(False)`` to see to clicks yourself.

    Args:
        widget: A QTextBrowser or QTextEdit. The view follows the end while the end is in view.
        stream: A model's events, or strings. Subscribed to at once, which makes the request.
        while_hidden: As for `bind_text`.

    Returns:
        The binding; disposing it stops the stream.

    Raises:
        TypeError: The widget is of another class.
        ConfigurationError: The widget is of a Qt binding that is not supported.
    """
    check_widget(widget, "QTextEdit")
    ref = widget_ref(widget)
    browser: Any = widget
    if hasattr(widget, "setOpenLinks") and browser.openLinks():
        browser.setOpenLinks(False)
        browser.anchorClicked.connect(_open_link)
    view = MarkdownView(QtRegion(qt_module("QtGui"), ref))
    return _bind(ref, stream, as_text(view, view.finish), while_hidden=while_hidden)


def bind_each(widget: QWidget, show: Callable[[T], Any], stream: Observable[T], *, latest: bool = False) -> Binding:
    """Call a function on the UI thread with each item of a stream, until a widget is gone.

    Args:
        widget: The binding ends with it, or when its window is hidden.
        show: Called at most once per frame; a method of `widget` does not keep it alive.
        stream: Subscribed to at once. Its error is left to the binding that shows the answer.
        latest: True shows only the newest of the items that wait: for a value that replaces the one before.

    Returns:
        The binding.

    Example:
        ``bind_each(label, label.setText, events.pipe(ops.accumulate()), latest=True)``, where the label's text format
        is ``Qt.TextFormat.PlainText``: by default a label shows HTML, and loads its images.
    """
    ref = widget_ref(widget)
    if getattr(show, "__self__", None) is widget:
        show = partial(ref.call, show.__name__)
    return ref.end_with_widget(StreamBinding(stream, QtScheduler(), as_each(show), latest=latest), while_hidden=False)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> type:
        """Return a class that cannot be made before it is known which Qt it is for."""
        if name in ("ChatModel", "ChatView", "StopButton"):
            return getattr(import_module("._qt_chat", __package__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _label(ref: WidgetRef) -> TextRegion:
    """Return the text of a label, which no longer takes text for HTML: that of a model would load images."""
    ref.call("setTextFormat", qt_module("QtCore").Qt.TextFormat.PlainText)
    return TextRegion(lambda: ref.call("text") or "", partial(ref.call, "setText"))


def _bind(ref: WidgetRef, stream: Streamed, observer: abc.ObserverBase[TokenEvent], *, while_hidden: bool) -> Binding:
    """Bind an observer that is not called once the widget is destroyed: the binding ends soon after that."""

    def while_alive(action: Callable[..., object], *arguments: object) -> None:
        if not ref.destroyed:
            action(*arguments)

    actions = (observer.on_next, observer.on_error, observer.on_completed)
    alive: Observer[TokenEvent] = Observer(*(partial(while_alive, action) for action in actions))
    return ref.end_with_widget(StreamBinding(as_events(stream), QtScheduler(), alive), while_hidden=while_hidden)


def _open_link(url: Any) -> None:
    if SAFE_LINK.match(url.toString()):
        qt_module("QtGui").QDesktopServices.openUrl(url)
