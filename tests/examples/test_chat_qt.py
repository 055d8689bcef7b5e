"""`examples/chat_qt.py`, clicked and typed into."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, Reply

LIMIT_SECONDS = 20

Models = dict[str, rxllm.StreamingModel]

pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)


class User:
    """Somebody before the window."""

    def __init__(self, models: Models) -> None:
        self.core = importlib.import_module("PySide6.QtCore")
        self.test = importlib.import_module("PySide6.QtTest").QTest
        widgets = importlib.import_module("PySide6.QtWidgets")
        self.app = widgets.QApplication.instance() or widgets.QApplication([])
        self.window = importlib.import_module("chat_qt").ChatWindow(models)
        self.window.show()

    def types(self, text: str) -> None:
        """And presses Enter."""
        self.test.keyClicks(self.window.input, text)
        self.test.keyClick(self.window.input, self.core.Qt.Key.Key_Return)

    def clicks(self, button: Any) -> None:
        """With the left mouse button, in the middle."""
        self.test.mouseClick(button, self.core.Qt.MouseButton.LeftButton)

    def waits_for(self, condition: Callable[[], bool]) -> None:
        """Lets the program run until it holds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.reads
            self.test.qWait(5)

    def waits_for_the_end(self) -> None:
        """Of the answer: when it can be asked again."""
        self.waits_for(self.window.retry.isEnabled)

    def paragraphs(self) -> list[Any]:
        """Of the conversation."""
        document = self.window.view.document()
        return [document.findBlockByNumber(number) for number in range(document.blockCount())]

    @property
    def reads(self) -> str:
        """What the conversation says."""
        return str(self.window.view.toPlainText())


@pytest.fixture
def user(models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A user, with a new window."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    user = User(models)
    yield user
    user.window.close()
    importlib.import_module("shiboken6").delete(user.window)


def test_a_conversation(user: User, server: LLMServer) -> None:
    """Markdown, one answer after the other, with speed and cost."""
    server.enqueue(Reply("**Bold** words"), Reply("1. one\n2. two"), Reply("3"))
    user.types("Hello <there>")
    user.waits_for_the_end()
    user.types("A list")
    user.waits_for_the_end()
    user.types("More")
    user.waits_for_the_end()
    assert user.reads.split("\n") == ["You: Hello <there>", "Bold words", "You: A list", "one", "two", "You: More", "3"]
    assert [block.textList() is not None for block in user.paragraphs()] == [
        False,
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert len(user.window.conversation.messages) == 6
    user.waits_for(lambda: "tokens" in user.window.status.text())


def test_stopping_and_trying_again(user: User, server: LLMServer) -> None:
    """What had come stays; the connection is closed; another answer comes below."""
    server.enqueue(Reply("one two three", gate=Gate(1)), Reply("all of it"))
    assert not user.window.stop.isEnabled()
    user.types("Count")
    assert not user.window.send.isEnabled(), "at once: nobody sends twice"
    user.waits_for(lambda: "one" in user.reads and user.window.stop.isEnabled())
    assert not user.window.send.isEnabled()
    user.clicks(user.window.stop)
    user.waits_for_the_end()
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
    user.clicks(user.window.retry)
    user.waits_for(lambda: "all of it" in user.reads)
    user.waits_for_the_end()
    assert user.reads.split("\n") == ["You: Count", "one", "once more", "all of it"]
    assert not user.window.stop.isEnabled()


def test_another_model_is_picked(user: User, server: LLMServer) -> None:
    """And asked."""
    user.window.picker.setFocus()
    user.test.keyClick(user.window.picker, user.core.Qt.Key.Key_Down)
    user.types("Hi")
    user.waits_for_the_end()
    assert server.wait_for_request().model == "second"


def test_an_error_is_seen_and_tried_again(user: User, server: LLMServer) -> None:
    """In the conversation, where the user looks."""
    server.enqueue(Reply("Half", fault=Fail(message="the model broke down")), Reply("Whole"))
    user.types("Hi")
    user.waits_for(lambda: "⚠" in user.reads)
    assert "the model broke down" in user.reads
    user.waits_for_the_end()
    user.clicks(user.window.retry)
    user.waits_for(lambda: user.reads.endswith("Whole"))


def test_an_error_below_a_long_conversation_is_in_view(user: User, server: LLMServer) -> None:
    """Whoever sends looks at the end; the speed of the answer before is gone."""
    server.enqueue(Reply("\n\n".join(map(str, range(100)))), Reply("", fault=Fail(message="the model broke down")))
    user.types("Count")
    user.waits_for_the_end()
    user.types("More")
    user.waits_for(lambda: "⚠" in user.reads)
    bar = user.window.view.verticalScrollBar()
    assert bar.maximum() > 0
    user.waits_for(lambda: bar.value() == bar.maximum())
    assert user.window.status.text() == ""


def test_an_empty_line_asks_nothing(user: User, server: LLMServer) -> None:
    """Enter alone does nothing."""
    user.types("   ")
    user.clicks(user.window.send)
    assert server.requests == []


def test_closing_the_window_in_the_middle_of_an_answer(user: User, server: LLMServer) -> None:
    """Closes the connection."""
    server.enqueue(Reply("one two three", gate=Gate(1)))
    user.types("Count")
    user.waits_for(lambda: "one" in user.reads)
    user.window.close()
    user.waits_for(server.wait_for_request().closed.is_set)
