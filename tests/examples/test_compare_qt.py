"""`examples/compare_qt.py`, clicked and typed into."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, RecordedRequest, Reply

LIMIT_SECONDS = 60

Models = dict[str, rxllm.StreamingModel]

pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)


class User:
    """Somebody before the window."""

    def __init__(self, models: Models) -> None:
        self.core = importlib.import_module("PySide6.QtCore")
        self.test = importlib.import_module("PySide6.QtTest").QTest
        widgets = importlib.import_module("PySide6.QtWidgets")
        self.app = widgets.QApplication.instance() or widgets.QApplication([])
        self.program = importlib.import_module("compare_qt")
        self.window = self.program.CompareWindow(models)
        self.window.show()
        self.panels = self.window.panels

    def asks(self, text: str) -> None:
        """All of them."""
        self.window.input.clear()
        self.test.keyClicks(self.window.input, text)
        self.clicks(self.window.ask)

    def clicks(self, button: Any) -> None:
        """With the left mouse button, in the middle."""
        self.test.mouseClick(button, self.core.Qt.MouseButton.LeftButton)

    def waits_for(self, condition: Callable[[], bool]) -> None:
        """Lets the program run until it holds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (self.reads, self.winners)
            self.test.qWait(5)

    @property
    def reads(self) -> list[str]:
        """What the models say."""
        return [panel.view.toPlainText() for panel in self.panels]

    @property
    def winners(self) -> list[bool]:
        """Which panels are highlighted."""
        return [panel.styleSheet() == self.program.WINNER for panel in self.panels]


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Models], User]]:
    """Makes a user with a new window."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    made: list[User] = []

    def make(models: Models) -> User:
        made.append(User(models))
        return made[-1]

    yield make
    for user in made:
        user.window.close()
        importlib.import_module("shiboken6").delete(user.window)


def test_the_first_to_finish_is_highlighted(users: Callable[[Models], User], models: Models, server: LLMServer) -> None:
    """And keeps that when the others finish; the next prompt is a new race."""
    gates = {"first": Gate(1), "second": Gate(1)}

    def answer(request: RecordedRequest) -> Reply:
        return Reply(f"I am {request.model}", gate=gates[request.model])

    server.default = answer
    user = users(models)
    user.asks("Who are you?")
    user.waits_for(lambda: user.reads == ["I", "I"])
    assert user.winners == [False, False]
    assert not user.window.ask.isEnabled()
    gates["second"].open()
    user.waits_for(lambda: user.winners == [False, True])
    gates["first"].open()
    user.waits_for(user.window.ask.isEnabled)
    assert user.reads == ["I am first", "I am second"]
    assert user.winners == [False, True]
    assert all("tokens" in panel.status.text() for panel in user.panels)
    gates["second"] = Gate()
    user.asks("And now?")
    user.waits_for(lambda: user.winners == [True, False])
    gates["second"].open()
    user.waits_for(user.window.ask.isEnabled)


def test_one_is_stopped_another_fails(users: Callable[[Models], User], models: Models, server: LLMServer) -> None:
    """Neither of them wins, and it can be asked again."""

    def answer(request: RecordedRequest) -> Reply:
        stalls = request.model == "first"
        return Reply("one two", gate=Gate(1) if stalls else None, fault=None if stalls else Fail(message="broken"))

    server.default = answer
    user = users(models)
    user.asks("Count")
    user.waits_for(lambda: user.reads[0] == "one" and "broken" in user.reads[1])
    user.waits_for(user.panels[0].stop.isEnabled)
    user.clicks(user.panels[0].stop)
    user.waits_for(user.window.ask.isEnabled)
    assert user.winners == [False, False]


def test_a_model_that_fails_spoils_no_race(users: Callable[[Models], User], models: Models, server: LLMServer) -> None:
    """The others run on, and the first of them wins."""
    gate = Gate(1)

    def answer(request: RecordedRequest) -> Reply:
        fails = request.model == "first"
        return Reply("one two", gate=None if fails else gate, fault=Fail(message="broken") if fails else None)

    server.default = answer
    user = users(models)
    user.asks("Count")
    user.waits_for(lambda: "broken" in user.reads[0])
    gate.open()
    user.waits_for(lambda: user.winners == [False, True])


def test_a_single_model_is_asked_at_three_temperatures(
    users: Callable[[Models], User], models: Models, server: LLMServer
) -> None:
    """So that there is something to compare."""
    user = users({"first": models["first"]})
    user.asks("Hi")
    user.waits_for(lambda: user.reads == ["Hi", "Hi", "Hi"])
    user.waits_for(user.window.ask.isEnabled)
    assert sorted(request.json["temperature"] for request in server.requests) == [0.0, 0.7, 1.2]  # type: ignore[type-var] # numbers


def test_an_empty_line_asks_nobody(users: Callable[[Models], User], models: Models, server: LLMServer) -> None:
    """A click alone does nothing."""
    users(models).asks("  ")
    assert server.requests == []
