"""The classes of `rxllm.ui.qt` that are widgets or models of Qt.

Importing this module looks for PySide6 or PyQt6. Annotations speak of PySide6; PyQt6 has the same classes.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from ..assistant import ChatMessage, ChatSession, ErrorPart, ToolPart
from ..messages import ReasoningPart
from ._binding import Binding, bind_each
from ._qt_scheduler import QtScheduler, qt_module
from ._qt_text import QtRegion, is_dark
from ._qt_widget import bind_enabled, when_destroyed, widget_ref
from ._stop_button import StopBinding
from ._transcript import STATUS_TEXTS, Transcript

if TYPE_CHECKING:
    from PySide6 import QtCore, QtGui, QtWidgets
else:
    QtCore, QtGui, QtWidgets = map(qt_module, ("QtCore", "QtGui", "QtWidgets"))

P = TypeVar("P")

_ROLES: dict[str, Callable[[ChatMessage], object]] = {
    "messageId": lambda message: message.id,
    "sender": lambda message: message.role,
    "text": lambda message: message.text,
    "status": lambda message: message.status,
    "reasoning": lambda message: "\n\n".join(part.text for part in _parts(message, ReasoningPart)),
    "tools": lambda message: [
        {"id": part.id, "name": part.name, "state": part.state, "result": part.result}
        for part in _parts(message, ToolPart)
    ],
    "error": lambda message: "\n".join(part.text for part in _parts(message, ErrorPart)),
}

_FIRST_ROLE = int(QtCore.Qt.ItemDataRole.UserRole.value) + 1
_VALUES = {0: _ROLES["text"], **dict(enumerate(_ROLES.values(), _FIRST_ROLE))}
"""By the number of the role; 0 is what a QListView displays."""


def _parts(message: ChatMessage, kind: type[P]) -> Iterator[P]:
    return (part for part in message.parts if isinstance(part, kind))


class ChatModel(QtCore.QAbstractListModel):
    """The messages of a chat session as rows, for a QListView or QML.

    The roles are ``messageId``, ``sender`` ("user", "assistant"), ``text``, ``status`` ("done", "streaming",
    "stopped", "failed"), ``reasoning``, ``tools`` (a list of id, name, state, result) and ``error``. While an
    answer arrives, one row changes, once per frame. Show the text as plain text or strip its images: QML's
    MarkdownText loads them.

    Args:
        session: The session. It does not keep this model alive.
        parent: The parent object.
    """

    def __init__(self, session: ChatSession, parent: QtCore.QObject | None = None) -> None:
        QtCore.QAbstractListModel.__init__(self, parent)
        self._rows: tuple[ChatMessage, ...] = ()
        itself = weakref.ref(self)

        def show(messages: tuple[ChatMessage, ...]) -> None:
            if (model := itself()) is not None:
                model._show(messages)

        binding = bind_each(QtScheduler(), show, session.messages, latest=True)
        when_destroyed(self, binding.dispose)

    def rowCount(self, parent: QtCore.QModelIndex | QtCore.QPersistentModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Return the number of messages."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def roleNames(self) -> dict[int, QtCore.QByteArray]:  # noqa: N802 - Qt's name
        """Return the names of the roles for QML."""
        return {number: QtCore.QByteArray(name.encode()) for number, name in enumerate(_ROLES, _FIRST_ROLE)}

    def data(self, index: QtCore.QModelIndex | QtCore.QPersistentModelIndex, role: int = 0) -> object:
        """Return what a role shows of a message."""
        value = _VALUES.get(int(getattr(role, "value", role)))
        if value is None or not index.isValid() or index.row() >= len(self._rows):
            return None
        return value(self._rows[index.row()])

    def _show(self, messages: tuple[ChatMessage, ...]) -> None:
        """Tell the views which rows are new, gone or changed."""
        rows = len(self._rows)
        if rows > len(messages):
            self.beginRemoveRows(QtCore.QModelIndex(), len(messages), rows - 1)
            self._rows = self._rows[: len(messages)]
            self.endRemoveRows()
        before, common = self._rows, len(self._rows)
        self._rows = messages[:common]
        for row in range(common):
            if before[row] is not messages[row]:
                self.dataChanged.emit(self.index(row), self.index(row))
        if common < len(messages):
            self.beginInsertRows(QtCore.QModelIndex(), common, len(messages) - 1)
            self._rows = messages
            self.endInsertRows()


class ChatView(QtWidgets.QWidget):
    """A whole chat: Markdown, code with colours and a link that copies it, reasoning folded, tools with approval.

    Its widgets are `browser`, `input`, `send_button`, `stop_button`, `retry_button` and `status`. When the view is
    destroyed, the running answer is stopped; closing the session is up to you.

    Args:
        session: The session.
        parent: The parent widget.
    """

    def __init__(self, session: ChatSession, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self.session = session
        self.browser = QtWidgets.QTextBrowser()
        self.browser.setOpenLinks(False)
        self.browser.setAccessibleName("Messages")
        self.input = QtWidgets.QLineEdit()
        self.input.setPlaceholderText("Say something")
        self.input.setAccessibleName("Message")
        self.input.setMaxLength(0x7FFFFFFF)  # by default a line edit drops what is pasted beyond 32,767 characters
        self.send_button = QtWidgets.QPushButton("Send")
        self.stop_button = QtWidgets.QPushButton("Stop")
        self.retry_button = QtWidgets.QPushButton("Retry")
        self.status = QtWidgets.QLabel()
        # One layout: PySide6 crashes where the collector of another thread finds a layout in a layout.
        layout = QtWidgets.QGridLayout(self)
        # In the order of the Tab key; the first one has the focus in a new window.
        for column, widget in enumerate((self.input, self.send_button, self.stop_button, self.retry_button)):
            layout.addWidget(widget, 2, column)
        layout.addWidget(self.browser, 0, 0, 1, 4)
        layout.addWidget(self.status, 1, 0, 1, 4)
        self.setFocusProxy(self.input)
        _Chat(self)


class _Chat:
    """Keeps the widgets of a `ChatView` in step with its session; holds the view weakly."""

    def __init__(self, view: ChatView) -> None:
        """Connect the widgets, whose signals keep this alive."""
        self._view = weakref.ref(view)
        self._dark = is_dark(view.browser)
        self._browser = browser = widget_ref(view.browser)
        session = view.session
        self._transcript = Transcript(session, lambda: QtRegion(QtGui, browser), self)
        widget_ref(view).end_with_widget(bind_each(QtScheduler(), self.show, self._transcript.changes, latest=True))
        view.input.returnPressed.connect(lambda: self.send())
        view.input.textChanged.connect(functools.partial(_Chat.typed, self))
        self._escape = QtGui.QShortcut(QtCore.Qt.Key.Key_Escape, view.input)
        self._escape.setContext(QtCore.Qt.ShortcutContext.WidgetShortcut)
        self._escape.setEnabled(False)  # the key is the window's, unless a message is edited
        self._escape.activated.connect(view.input.clear)
        view.send_button.clicked.connect(lambda _=False: self.send())
        view.stop_button.clicked.connect(lambda _=False: session.stop())
        view.retry_button.clicked.connect(lambda _=False: session.regenerate())
        view.browser.anchorClicked.connect(functools.partial(_Chat.click, self))

    def show(self, _: object = None) -> None:
        """Show the session's state."""
        view = None if self._browser.destroyed else self._view()
        if view is None:
            return
        if self._dark != is_dark(view.browser):
            self._dark = not self._dark
            self._transcript.clear()
        state = view.session.state
        self._transcript.show(state.messages)
        controls = view.input, view.send_button, view.stop_button, view.retry_button
        typing = any(widget.hasFocus() for widget in controls)
        view.send_button.setEnabled(not state.running)
        view.stop_button.setEnabled(state.running)
        view.retry_button.setEnabled(not state.running and bool(state.messages))
        view.status.setText(STATUS_TEXTS[state.status])
        if typing and not any(widget.hasFocus() for widget in controls):  # the button pressed has been disabled
            view.input.setFocus()

    def send(self) -> None:
        """Send what is typed, unless an answer runs."""
        view = self._view()
        if view is None or not (text := view.input.text().strip()) or not view.send_button.isEnabled():
            return
        self._transcript.send(text)
        view.input.clear()
        view.input.setFocus()

    def typed(self, text: str) -> None:
        """End the edit of a message, if nothing is left in the input."""
        self._transcript.typed(text)
        if not text:
            self._escape.setEnabled(False)

    def click(self, url: QtCore.QUrl) -> None:
        """Run the action of a link."""
        self._transcript.click(url.toString())

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        QtGui.QGuiApplication.clipboard().setText(text)

    def edit(self, text: str) -> None:
        """Put a text into the input."""
        view = self._view()
        if view is not None:
            view.input.setText(text)
            view.input.setFocus()
            self._escape.setEnabled(True)

    def open_link(self, address: str) -> None:
        """Open an address in the desktop's browser."""
        QtGui.QDesktopServices.openUrl(QtCore.QUrl(address))


class StopButton(QtWidgets.QPushButton):
    """A button that stops the stream that it is connected to, and is enabled while that runs.

    Args:
        text: The caption.
        parent: The parent widget.
    """

    def __init__(self, text: str = "Stop", parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QPushButton.__init__(self, text, parent)
        self.setEnabled(False)
        button = widget_ref(self)
        self._binding = binding = StopBinding(lambda running: bind_enabled(button(), running))
        self.clicked.connect(lambda _=False: binding.stop())

    def connect_to(self, stream: Binding) -> None:
        """Connect the button to a stream, in place of the one before.

        Args:
            stream: What a click disposes.
        """
        self._binding.connect(stream)
