"""The conversation behind the chat examples, without a user interface."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from reactivex import Observable
from reactivex.subject import Subject

import rxllm
from rxllm.testing import LLMServer, Reply
from rxllm.testing.replies import Fail

Models = dict[str, rxllm.StreamingModel]


@pytest.fixture
def shared() -> ModuleType:
    """The module the chat examples share."""
    return importlib.import_module("shared")


def said(conversation: object) -> list[tuple[str, str]]:
    """Who said what."""
    return [(message.role, message.text) for message in conversation.messages]  # type: ignore[attr-defined] # a Conversation


def whole(answer: Observable[rxllm.TokenEvent]) -> list[rxllm.TokenEvent]:
    """All events of an answer."""
    return list(rxllm.iter_events(answer))


def test_a_conversation_grows(shared: ModuleType, models: Models, server: LLMServer) -> None:
    """Each question carries what was said before."""
    server.enqueue(Reply("Hello."), Reply("Blue."))
    conversation = shared.Conversation()
    whole(conversation.ask(models["first"], "Hi"))
    whole(conversation.ask(models["second"], "What colour is the sky?"))
    assert said(conversation) == [
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "What colour is the sky?"),
        ("assistant", "Blue."),
    ]
    messages = server.requests[1].json["messages"]
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]


def test_asking_again_replaces_the_answer(shared: ModuleType, models: Models, server: LLMServer) -> None:
    """And is the same question."""
    server.enqueue(Reply("Hello."), Reply("Good day."))
    conversation = shared.Conversation()
    whole(conversation.ask(models["first"], "Hi"))
    whole(conversation.ask_again(models["first"]))
    assert said(conversation) == [("user", "Hi"), ("assistant", "Good day.")]
    assert server.requests[0].body == server.requests[1].body


def test_half_an_answer_was_said_too(shared: ModuleType, models: Models, server: LLMServer) -> None:
    """One that was stopped or broke off, unless it is asked for again."""
    server.enqueue(Reply("Half an", fault=Fail()), Reply("All."))
    conversation = shared.Conversation()
    with pytest.raises(rxllm.LLMError):
        whole(conversation.ask(models["first"], "Hi"))
    whole(conversation.ask(models["first"], "Go on"))
    assert said(conversation)[:2] == [("user", "Hi"), ("assistant", "Half an")]


@pytest.mark.parametrize(
    ("provider", "price"), [("local", ", $0.0000"), ("openai", ", $0.0008"), ("somebody", ", price unknown")]
)
def test_speed_and_cost(shared: ModuleType, models: Models, provider: str, price: str) -> None:
    """The embedded model is free, known models have their price."""
    model = models["first"]
    model.provider = provider
    response = rxllm.Response(text="Hi", usage=rxllm.Usage(1_000, 1_000, 2_000), provider=provider, model="gpt-4o-mini")
    events: Subject[rxllm.TokenEvent] = Subject()
    shown: list[str] = []
    shared.status(events, model).subscribe(shown.append)
    for event in (rxllm.TextDelta("H"), rxllm.TextDelta("i"), rxllm.StreamEnd(response)):
        events.on_next(event)
    events.on_completed()
    assert shown[-1].startswith("1000 tokens")
    assert shown[-1].endswith(price)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"local": "local"}),
        (["-m", "ollama:llama3.2", "-m", "local"], {"ollama:llama3.2": "ollama", "local": "local"}),
        (["-m", "openai:x", "--base-url", "http://127.0.0.1:9/v1"], {"openai:x": "openai"}),
    ],
)
def test_the_command_line(
    shared: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: dict[str, str]
) -> None:
    """The embedded model, or any others."""
    monkeypatch.setattr(sys, "argv", ["chat", *arguments])
    models: Callable[[str], Models] = shared.models_from_command_line
    assert {name: model.provider for name, model in models("A chat.").items()} == expected
