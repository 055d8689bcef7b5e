"""`examples/chat_textual.py`, clicked and typed into by Textual's pilot."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, Reply

LIMIT_SECONDS = 30

Models = dict[str, rxllm.StreamingModel]

pytest.importorskip("textual", reason="Textual is not installed")


class User:
    """Somebody before the terminal."""

    def __init__(self, app: Any, pilot: Any) -> None:
        self.app = app
        self.pilot = pilot

    async def types(self, text: str) -> None:
        """And presses Enter."""
        await self.pilot.click("#input")
        await self.pilot.press(*text, "enter")

    async def waits_for(self, condition: Callable[[], bool]) -> None:
        """Lets the app run until it holds."""
        while not condition():
            await self.pilot.pause(0.005)

    async def waits_for_the_end(self) -> None:
        """Of the answer: when it can be asked again."""
        await self.waits_for(lambda: not self.app.query_one("#retry").disabled)

    @property
    def reads(self) -> list[str]:
        """What the conversation says, message by message."""
        conversation = self.app.query_one("#conversation").children
        return [getattr(child, "source", None) or str(getattr(child, "content", "")) for child in conversation]


def use(models: Models, body: Callable[[User], Awaitable[object]]) -> None:
    """Run the app with a user."""

    async def main() -> None:
        app = importlib.import_module("chat_textual").ChatApp(models)
        async with asyncio.timeout(LIMIT_SECONDS), app.run_test() as pilot:
            await body(User(app, pilot))

    asyncio.run(main())


def test_a_conversation(models: Models, server: LLMServer) -> None:
    """Markdown, one answer after the other, with speed and cost."""
    server.enqueue(Reply("**Bold** words"), Reply("1. one\n2. two"))

    async def body(user: User) -> None:
        await user.types("Hello [b]")
        await user.waits_for_the_end()
        await user.types("A list")
        await user.waits_for(lambda: user.reads[-1].endswith("two"))
        await user.waits_for_the_end()
        assert user.reads == ["You: Hello [b]", "**Bold** words", "You: A list", "1. one\n2. two"]
        await user.waits_for(lambda: "tokens" in str(user.app.query_one("#status").content))

    use(models, body)


def test_stopping_and_trying_again(models: Models, server: LLMServer) -> None:
    """By mouse and by key; the connection is closed; another answer comes below."""
    server.enqueue(*(Reply("one two three", gate=Gate(1)) for _ in range(2)), Reply("all of it"))

    async def body(user: User) -> None:
        await user.types("Count")
        await user.waits_for(lambda: user.reads[-1] == "one" and not user.app.query_one("#stop").disabled)
        await user.pilot.click("#stop")
        await user.waits_for_the_end()
        await user.pilot.click("#retry")
        await user.waits_for(lambda: len(user.reads) == 4 and user.reads[-1] == "one")
        await user.waits_for(lambda: not user.app.query_one("#stop").disabled)
        await user.pilot.press("escape")
        await user.waits_for_the_end()
        await user.pilot.press("ctrl+r")
        await user.waits_for(lambda: user.reads[-1] == "all of it")
        await user.waits_for_the_end()
        assert user.reads == ["You: Count", "one", "once more", "one", "once more", "all of it"]

    use(models, body)
    assert all(request.closed.wait(LIMIT_SECONDS) for request in server.requests[:2])


def test_typing_goes_on_while_an_answer_comes(models: Models, server: LLMServer) -> None:
    """It is sent when the answer is over, and the cursor has not left the line."""
    gate = Gate(1)
    server.enqueue(Reply("one two three", gate=gate), Reply("four"))

    async def body(user: User) -> None:
        await user.types("Count")
        await user.waits_for(lambda: user.reads[-1] == "one" and not user.app.query_one("#stop").disabled)
        await user.pilot.press(*"On", "enter")
        assert user.app.query_one("#input").value == "On"
        gate.open()
        await user.waits_for_the_end()
        await user.pilot.press("enter")
        await user.waits_for(lambda: user.reads[-1] == "four")

    use(models, body)


def test_another_model_is_picked(models: Models, server: LLMServer) -> None:
    """And asked."""

    async def body(user: User) -> None:
        await user.pilot.click("#picker")
        await user.pilot.press("down", "enter")
        await user.types("Hi")
        await user.waits_for_the_end()

    use(models, body)
    assert server.wait_for_request().model == "second"


def test_an_error_is_seen_and_tried_again(models: Models, server: LLMServer) -> None:
    """In the conversation, where the user looks."""
    server.enqueue(Reply("Half", fault=Fail(message="the model broke down")), Reply("Whole"))

    async def body(user: User) -> None:
        await user.types("Hi")
        await user.waits_for(lambda: "the model broke down" in user.reads[-1])
        await user.waits_for_the_end()
        await user.pilot.click("#retry")
        await user.waits_for(lambda: user.reads[-1] == "Whole")

    use(models, body)


def test_nothing_to_ask(models: Models, server: LLMServer) -> None:
    """An empty line, or a retry of nothing, does nothing."""

    async def body(user: User) -> None:
        await user.types(" ")
        await user.pilot.press("ctrl+r", "escape")
        assert user.reads == []

    use(models, body)
    assert server.requests == []


def test_leaving_in_the_middle_of_an_answer(models: Models, server: LLMServer) -> None:
    """Closes the connection."""
    server.enqueue(Reply("one two three", gate=Gate(1)))

    async def body(user: User) -> None:
        await user.types("Count")
        await user.waits_for(lambda: user.reads[-1:] == ["one"])

    use(models, body)
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
