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

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable, Observer, abc

from ._binding import Binding, Streamed, as_each, as_events, as_text, bind
from ._binding import bind_enabled as bind_enabled_on
from ._label import GrowingLabel
from ._markdown import SAFE_LINK
from ._markdown_view import MarkdownView
from ._qt_chat import chat_model_class, chat_view_class
from ._qt_scheduler import QtScheduler, check_widget, qt_module
from ._qt_text import QtRegion
from ._qt_widget import WidgetRef, address_of, widget_ref
from ._stop_binding import StopBinding

if TYPE_CHECKING:
    from PySide6.QtCore import QAbstractListModel, QObject
    from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit, QPushButton, QTextBrowser, QTextEdit, QWidget

    from ..assistant import ChatSession

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
        widget: Shows the text, as plain text. The view follows the end while the end is in view.
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
    return _bind(ref, as_events(stream), as_text(view), while_hidden=while_hidden)


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
    return _bind(ref, as_events(stream), as_text(view, view.finish), while_hidden=while_hidden)


def bind_enabled(widget: QWidget, when: Observable[bool]) -> Binding:
    """Enable and disable a widget; it gets the keyboard focus back that it loses when it is disabled.

    Args:
        widget: Any widget.
        when: For example a binding's `running` or `idle`. When it fails, the widget is disabled.

    Returns:
        The binding; it ends with `when` or with the widget.
    """
    ref = widget_ref(widget)
    focus_after: int | None = None  # what has got the focus that the widget has lost, by its address

    def enable(enabled: bool) -> None:
        """Enable or disable the widget, and give back the focus that it has lost."""
        nonlocal focus_after
        had_focus = ref.call("hasFocus")
        ref.call("setEnabled", enabled)
        if not enabled and had_focus:
            focus_after = _focused()
        elif enabled and focus_after is not None:
            if _focused() in (0, focus_after):  # the user has not moved it
                ref.call("setFocus")
            focus_after = None

    return ref.end_with_widget(bind_enabled_on(QtScheduler(), enable, when))


def bind_each(widget: QWidget, show: Callable[[T], object], stream: Observable[T], *, latest: bool = False) -> Binding:
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
        show = functools.partial(ref.call, show.__name__)
    return ref.end_with_widget(bind(stream, QtScheduler(), as_each(show), latest=latest), while_hidden=False)


if TYPE_CHECKING:

    class ChatModel(QAbstractListModel):
        """The messages of a chat session as rows, for a QListView or QML.

        The roles are ``messageId``, ``sender`` ("user", "assistant"), ``text``, ``status`` ("done", "streaming",
        "stopped", "failed"), ``reasoning``, ``tools`` (a list of id, name, state, result) and ``error``. While an
        answer arrives, one row changes, once per frame. Show the text as plain text or strip its images: QML's
        MarkdownText loads them.

        Args:
            session: The session.
            parent: The parent object.
        """

        def __init__(self, session: ChatSession, parent: QObject | None = None) -> None: ...

    class ChatView(QWidget):
        """A whole chat: Markdown, code with colours and a link that copies it, reasoning folded, tools with approval.

        Its widgets are `browser`, `input`, `send_button`, `stop_button`, `retry_button` and `status`. When the view is
        destroyed, the running answer is stopped; closing the session is up to you.

        Args:
            session: The session.
            parent: The parent widget.
        """

        session: ChatSession
        browser: QTextBrowser
        input: QLineEdit
        send_button: QPushButton
        stop_button: QPushButton
        retry_button: QPushButton
        status: QLabel

        def __init__(self, session: ChatSession, parent: QWidget | None = None) -> None: ...

    class StopButton(QPushButton):
        """A button that stops the stream that it is connected to, and is enabled while that runs.

        Args:
            text: The caption.
            parent: The parent widget.
        """

        def __init__(self, text: str = "Stop", parent: QWidget | None = None) -> None: ...

        def connect_to(self, stream: Binding) -> None:
            """Connect the button to a stream, in place of the one before.

            Args:
                stream: What a click disposes.
            """

else:

    def __getattr__(name: str) -> type:
        """Return a class that cannot be made before it is known which Qt it is for."""
        match name:
            case "ChatModel":
                return chat_model_class(qt_module("QtCore"))
            case "ChatView":
                return chat_view_class(qt_module("QtWidgets"))
            case "StopButton":
                return _stop_button(qt_module("QtWidgets"))
            case _:
                pass
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _stop_button(widgets: Any) -> type:
    """Return `StopButton` for the Qt that was found."""

    class StopButton(widgets.QPushButton):  # type: ignore[misc] # a class of the Qt that was found
        def __init__(self, text: str = "Stop", parent: QWidget | None = None) -> None:
            widgets.QPushButton.__init__(self, text, parent)
            self.setEnabled(False)
            enable = widget_ref(self)
            self._binding = binding = StopBinding(lambda running: bind_enabled(enable(), running))
            self.clicked.connect(lambda _checked=False: binding.stop())

        def connect_to(self, stream: Binding) -> None:
            self._binding.connect(stream)

    return StopButton


def _focused() -> int:
    focused = qt_module("QtWidgets").QApplication.focusWidget()
    return 0 if focused is None else address_of(focused)


def _label(ref: WidgetRef) -> GrowingLabel:
    ref.call("setTextFormat", qt_module("QtCore").Qt.TextFormat.PlainText)
    return GrowingLabel(lambda: ref.call("text") or "", lambda text: ref.call("setText", text))


def _bind(ref: WidgetRef, source: Observable[T], observer: abc.ObserverBase[T], *, while_hidden: bool) -> Binding:
    """Bind an observer that is not called once the widget is destroyed."""

    def while_alive(action: Callable[..., object]) -> Callable[..., None]:
        def act(*args: object) -> None:
            if not ref.destroyed:  # the binding ends soon after the widget
                action(*args)

        return act

    alive: Observer[T] = Observer(
        while_alive(observer.on_next), while_alive(observer.on_error), while_alive(observer.on_completed)
    )
    return ref.end_with_widget(bind(source, QtScheduler(), alive), while_hidden=while_hidden)


def _open_link(url: Any) -> None:
    if SAFE_LINK.match(url.toString()):
        qt_module("QtGui").QDesktopServices.openUrl(url)
