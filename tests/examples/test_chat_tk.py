"""`examples/chat_tk.py` on a virtual screen, clicked and typed into."""

from __future__ import annotations

import gc
import importlib
import time
import tkinter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, Reply

LIMIT_SECONDS = 20

Models = dict[str, rxllm.StreamingModel]


class User:
    """Somebody before the window."""

    def __init__(self, models: Models) -> None:
        self.window = importlib.import_module("chat_tk").ChatWindow(models)
        self.window.update()

    def types(self, text: str) -> None:
        """And presses Enter."""
        self.window.input.focus_force()
        self.window.update()
        for character in text:
            self.window.input.event_generate("<Key>", keysym={" ": "space"}.get(character, character))
        self.window.input.event_generate("<Return>")
        self.window.update()

    def clicks(self, widget: tkinter.Widget) -> None:
        """With the left mouse button."""
        for event in ("<Enter>", "<ButtonPress-1>", "<ButtonRelease-1>"):
            widget.event_generate(event, x=5, y=5)
            self.window.update()

    def waits_for(self, condition: Callable[[], bool]) -> None:
        """Lets the program run until it holds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.reads
            self.window.after(5, lambda: self.window.quit())
            self.window.mainloop()

    def waits_for_the_end(self) -> None:
        """Of the answer: when it can be asked again."""
        self.waits_for(lambda: self.can_click(self.window.retry_button))

    def can_click(self, button: tkinter.Widget) -> bool:
        """Whether it is enabled."""
        return str(button["state"]) == "normal"

    @property
    def reads(self) -> list[str]:
        """What the conversation says, line by line."""
        return self.window.view.get("1.0", "end-1c").split("\n")


@pytest.fixture
def user(models: Models, display: str) -> Iterator[User]:
    """A user, with a new window."""
    user = User(models)
    yield user
    with suppress(tkinter.TclError):  # the user may have closed it
        user.window.destroy()
    del user.window
    gc.collect()  # here: Tcl aborts the process when its interpreter is collected on another thread


def test_a_conversation(user: User, server: LLMServer) -> None:
    """Markdown, one answer after the other, with speed and cost."""
    server.enqueue(Reply("**Bold** words"), Reply("1. one\n2. two"))
    user.types("Hello")
    user.waits_for_the_end()
    user.types("A list")
    user.waits_for_the_end()
    assert user.reads == ["You: Hello", "Bold words", "You: A list", "1.  one", "2.  two"]
    assert len(user.window.conversation.messages) == 4
    user.waits_for(lambda: "tokens" in user.window.status["text"])


def test_stopping_and_trying_again(user: User, server: LLMServer) -> None:
    """What had come stays; the connection is closed; another answer comes below."""
    server.enqueue(Reply("one two three", gate=Gate(1)), Reply("all of it"))
    user.types("Count")
    assert not user.can_click(user.window.send_button), "at once: nobody sends twice"
    user.waits_for(lambda: user.reads[-1] == "one" and user.can_click(user.window.stop_button))
    assert not user.can_click(user.window.send_button)
    user.clicks(user.window.stop_button)
    user.waits_for_the_end()
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
    user.clicks(user.window.retry_button)
    user.waits_for(lambda: user.reads[-1] == "all of it")
    user.waits_for_the_end()
    assert user.reads == ["You: Count", "one", "once more", "all of it"]
    assert not user.can_click(user.window.stop_button)


def test_another_model_is_picked(user: User, server: LLMServer) -> None:
    """And asked."""
    user.window.picker.set("second")  # its list is a window of its own, out of reach of generated events
    user.types("Hi")
    user.waits_for_the_end()
    assert server.wait_for_request().model == "second"


def test_an_error_is_seen_and_tried_again(user: User, server: LLMServer) -> None:
    """In the conversation, where the user looks."""
    server.enqueue(Reply("Half", fault=Fail(message="the model broke down")), Reply("Whole"))
    user.types("Hi")
    user.waits_for(lambda: user.reads[-1].startswith("⚠"))
    assert "the model broke down" in user.reads[-1]
    user.waits_for_the_end()
    user.clicks(user.window.retry_button)
    user.waits_for(lambda: user.reads[-1] == "Whole")


def test_an_empty_line_asks_nothing(user: User, server: LLMServer) -> None:
    """Enter alone does nothing."""
    user.types(" ")
    user.clicks(user.window.send_button)
    assert server.requests == []


def test_closing_the_window_in_the_middle_of_an_answer(user: User, server: LLMServer) -> None:
    """Closes the connection."""
    server.enqueue(Reply("one two three", gate=Gate(1)))
    user.types("Count")
    user.waits_for(lambda: user.reads[-1] == "one")
    user.window.destroy()
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
