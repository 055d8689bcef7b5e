"""A chat session in Qt: a model for lists and QML, and a finished widget; of PySide6 or PyQt6."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from ..assistant import ChatMessage, ChatSession, ChatState, ErrorPart, ToolPart
from ..messages import ReasoningPart
from ._binding import bind_each
from ._qt_scheduler import QtScheduler, qt_module
from ._qt_text import QtRegion
from ._qt_widget import when_destroyed, widget_ref
from ._transcript import STATUS_TEXTS, Transcript

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


def _parts(message: ChatMessage, kind: type[P]) -> Iterator[P]:
    return (part for part in message.parts if isinstance(part, kind))


@functools.cache
def chat_model_class(core: Any) -> Any:
    """Return `ChatModel` for the Qt that was found."""
    first = int(core.Qt.ItemDataRole.UserRole.value) + 1
    values = {0: _ROLES["text"], **dict(enumerate(_ROLES.values(), first))}  # 0: what a QListView displays

    class ChatModel(core.QAbstractListModel):  # type: ignore[misc] # a class of the Qt that was found
        def __init__(self, session: ChatSession, parent: Any = None) -> None:
            """Show the session, which does not keep this model alive."""
            core.QAbstractListModel.__init__(self, parent)
            self._rows: tuple[ChatMessage, ...] = ()
            itself = weakref.ref(self)

            def show(messages: tuple[ChatMessage, ...]) -> None:
                if (model := itself()) is not None:
                    model._show(messages)

            binding = bind_each(QtScheduler(), show, session.messages, latest=True)
            when_destroyed(self, binding.dispose)

        def rowCount(self, parent: Any = None) -> int:  # noqa: N802 - Qt's name
            return 0 if parent is not None and parent.isValid() else len(self._rows)

        def roleNames(self) -> dict[int, Any]:  # noqa: N802 - Qt's name
            return {first + at: core.QByteArray(name.encode()) for at, name in enumerate(_ROLES)}

        def data(self, index: Any, role: int = 0) -> object:
            if not index.isValid() or index.row() >= len(self._rows):
                return None
            value = values.get(int(getattr(role, "value", role)))
            return None if value is None else value(cast(ChatMessage, self._rows[index.row()]))

        def _show(self, messages: tuple[ChatMessage, ...]) -> None:
            """Tell the views which rows are new, gone or changed."""
            rows = len(self._rows)
            if rows > len(messages):
                self.beginRemoveRows(core.QModelIndex(), len(messages), rows - 1)
                self._rows = self._rows[: len(messages)]
                self.endRemoveRows()
            before, common = self._rows, len(self._rows)
            self._rows = messages[:common]
            for row in range(common):
                if before[row] is not messages[row]:
                    self.dataChanged.emit(self.index(row), self.index(row))
            if common < len(messages):
                self.beginInsertRows(core.QModelIndex(), common, len(messages) - 1)
                self._rows = messages
                self.endInsertRows()

    return ChatModel


@functools.cache
def chat_view_class(widgets: Any) -> Any:
    """Return `ChatView` for the Qt that was found."""

    class ChatView(widgets.QWidget):  # type: ignore[misc] # a class of the Qt that was found
        def __init__(self, session: ChatSession, parent: Any = None) -> None:
            """Create the widgets and lay them out."""
            widgets.QWidget.__init__(self, parent)
            self.session = session
            self.browser = widgets.QTextBrowser()
            self.browser.setOpenLinks(False)
            self.input = widgets.QLineEdit()
            self.input.setPlaceholderText("Say something")
            self.send_button, self.stop_button, self.retry_button = map(widgets.QPushButton, ("Send", "Stop", "Retry"))
            self.status = widgets.QLabel()
            # One layout: PySide6 crashes where the collector of another thread finds a layout in a layout.
            layout = widgets.QGridLayout(self)
            layout.addWidget(self.browser, 0, 0, 1, 4)
            layout.addWidget(self.status, 1, 0, 1, 4)
            for column, widget in enumerate((self.input, self.send_button, self.stop_button, self.retry_button)):
                layout.addWidget(widget, 2, column)
            self.setFocusProxy(self.input)
            connect_view(self)

    return ChatView


class QtChat:
    """Keeps the widgets of a `ChatView` in step with its session; holds the view weakly."""

    def __init__(self, view: Any) -> None:
        self._view = weakref.ref(view)
        self._browser = browser = widget_ref(view.browser)
        self._gui = gui = qt_module("QtGui")
        self._transcript = Transcript(view.session, lambda: QtRegion(gui, browser), self)
        widget_ref(view).end_with_widget(bind_each(QtScheduler(), self.show, self._transcript.changes, latest=True))

    def show(self, _: object = None) -> None:
        """Show the session's state."""
        view = None if self._browser.destroyed else self._view()
        if view is None:
            return
        state: ChatState = view.session.state
        self._transcript.show(state.messages)
        typing = view.input.hasFocus() or view.stop_button.hasFocus()
        view.send_button.setEnabled(not state.running)
        view.stop_button.setEnabled(state.running)
        view.retry_button.setEnabled(not state.running and bool(state.messages))
        view.status.setText(STATUS_TEXTS[state.status])
        if typing and not state.running:
            view.input.setFocus()

    def send(self) -> None:
        """Send what is typed, unless an answer runs."""
        view = self._view()
        if view is None or not (text := view.input.text().strip()) or not view.send_button.isEnabled():
            return
        view.input.clear()
        self._transcript.send(text)

    def click(self, url: Any) -> None:
        """Run the action of a link."""
        self._transcript.click(url.toString())

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        self._gui.QGuiApplication.clipboard().setText(text)

    def edit(self, text: str) -> None:
        """Put a text into the input."""
        view = self._view()
        if view is not None:
            view.input.setText(text)
            view.input.setFocus()

    def open_link(self, address: str) -> None:
        """Open an address in the desktop's browser."""
        self._gui.QDesktopServices.openUrl(qt_module("QtCore").QUrl(address))


def connect_view(view: Any) -> None:
    """Connect the widgets of a view with its session; the answer stops when the view is closed or destroyed."""
    chat = QtChat(view)
    session: ChatSession = view.session
    view.input.returnPressed.connect(lambda: chat.send())
    view.send_button.clicked.connect(lambda _=False: chat.send())
    view.stop_button.clicked.connect(lambda _=False: session.stop())
    view.retry_button.clicked.connect(lambda _=False: session.regenerate())
    view.browser.anchorClicked.connect(functools.partial(QtChat.click, chat))
