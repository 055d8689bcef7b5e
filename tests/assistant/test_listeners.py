"""Listeners: each request heard once, and ended once."""

from __future__ import annotations

import logging

import pytest
from reactivex.scheduler import ImmediateScheduler

import rxllm
from rxllm import Response, Usage
from rxllm.assistant import LoggingListener, ModelListener, ModelRequest, TokenTracker, observed
from rxllm.testing import Drop, ErrorReply, Hang, LLMServer, Reply, ScriptedModel

from .turns import model_on


class Notes(ModelListener):
    """What was heard, by name."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_request(self, request: ModelRequest) -> None:
        self.heard.append("request")

    def on_response(self, request: ModelRequest, response: Response) -> None:
        self.heard.append(f"response {response.text}")

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        self.heard.append(f"error {type(error).__name__}")

    def on_cancel(self, request: ModelRequest) -> None:
        self.heard.append("cancel")


def test_answers_errors_and_departures_are_heard() -> None:
    """Each request ends in one of them, and the answer is what it would be."""
    notes = Notes()
    with LLMServer("Hello", ErrorReply(401, "no"), Hang()) as server, observed(model_on(server), notes) as model:
        assert ("Hello", "openai", "m") == (model.chat("Hi").text, model.provider, model.model)
        with pytest.raises(rxllm.AuthenticationError):
            model.chat("Hi")
        subscription = model.stream("Hi").subscribe()
        server.wait_for_request(3)
        subscription.dispose()
        subscription.dispose()
    assert ["request", "response Hello", "request", "error AuthenticationError", "request", "cancel"] == notes.heard


def test_a_subscriber_that_raises_has_left() -> None:
    """Its request is over."""
    notes = Notes()

    def on_next(event: rxllm.TokenEvent) -> None:
        raise KeyError("a bug")

    scripted = observed(ScriptedModel("Hello", scheduler=ImmediateScheduler()), notes)
    scripted.stream("Hi").subscribe(on_next, lambda error: None)
    assert ["request", "cancel"] == notes.heard


def test_an_answer_is_heard_before_the_subscriber_gets_it() -> None:
    """So the usage is counted when the subscriber looks at the answer; one that leaves then has not cancelled."""
    notes = Notes()

    def on_next(event: rxllm.TokenEvent) -> None:
        if isinstance(event, rxllm.StreamEnd):
            notes.heard.append("the end")
            raise KeyError("a bug")

    scripted = observed(ScriptedModel("Hello", scheduler=ImmediateScheduler()), notes)
    scripted.stream("Hi").subscribe(on_next, lambda error: None)
    assert ["request", "response Hello", "the end"] == notes.heard


def test_a_listener_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the others hear."""

    class Broken(ModelListener):
        def on_response(self, request: ModelRequest, response: Response) -> None:
            raise KeyError("a bug")

    notes = Notes()
    assert "Hello" == observed(ScriptedModel("Hello"), Broken(), notes).chat("Hi").text
    assert ["request", "response Hello"] == notes.heard
    assert "a listener of scripted:scripted failed" in caplog.text


def test_tokens_are_counted_by_model() -> None:
    """Those of cut answers too, as far as they are known."""
    tokens = TokenTracker()
    replies = [
        Reply("a", usage=Usage(10, 1, 11)),
        Reply("b", usage=Usage(20, 2, 22)),
        Reply("c d", fault=Drop(after=1)),
    ]
    with LLMServer(*replies) as server, observed(model_on(server), tokens) as model:
        model.chat("Hi")
        model.chat("Hi", model="other")
        assert (Usage(10, 1, 11), Usage(20, 2, 22)) == (tokens.usage("m"), tokens.usage("other"))
        with pytest.raises(rxllm.StreamInterruptedError):
            model.chat("Hi")
    assert ["m", "other"] == tokens.models()
    assert tokens.usage().estimated
    assert (tokens.usage().input_tokens or 0) > 30
    assert Usage() == tokens.usage("unknown")


@pytest.mark.parametrize("content", [False, True])
def test_logging(caplog: pytest.LogCaptureFixture, content: bool) -> None:
    """A line for each request, answer, error and departure; what was said only if asked for."""
    caplog.set_level(logging.INFO, "rxllm.requests")
    model = observed(ScriptedModel("Hello", ErrorReply(500, "no"), Hang()), LoggingListener(content=content))
    model.chat("My secret")
    with pytest.raises(rxllm.ServerError):
        model.chat("Hi")
    model.stream("Hi").subscribe().dispose()
    lines = [record.getMessage() for record in caplog.records]
    assert 6 == len(lines)
    assert lines[0].startswith("scripted:scripted is asked, 1 messages")
    assert "2 tokens in, 1 out" in lines[1]
    assert content == ("My secret" in caplog.text)
