"""One reply is the same answer, and one fault the same error, over every wire and on a scripted model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rxllm
from rxllm.testing import Drop, ErrorReply, Fail, LLMServer, ModelReply, Reply, Reset, ScriptedModel, Truncate

PROVIDERS = ["openai", "openai-responses", "anthropic", "gemini", "ollama", "scripted"]
WEATHER = rxllm.ToolCall("call_1", "weather", {"city": "Zürich", "days": [1, 2]})
TIME = rxllm.ToolCall("call_2", "time", {})


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


def model_for(provider: str, server: LLMServer, *replies: ModelReply) -> rxllm.StreamingModel:
    """A model of `provider` that will give these replies."""
    if provider == "scripted":
        return ScriptedModel(*replies, model="m")
    server.enqueue(*(reply for reply in replies if isinstance(reply, str | Reply | ErrorReply)))
    return rxllm.create_streaming_model(provider, model="m", base_url=server.base_url(provider), max_retries=0)


def test_text_reasoning_tools_and_usage(server: LLMServer, provider: str) -> None:
    """All that a reply holds arrives."""
    usage = rxllm.Usage(input_tokens=11, output_tokens=22, total_tokens=33)
    reply = Reply("Let us see, 世界.", reasoning="Hm, so", tool_calls=[WEATHER, TIME], usage=usage)
    with model_for(provider, server, reply) as model:
        answer = model.chat("What is it like out there?")
    assert (answer.text, answer.reasoning) == ("Let us see, 世界.", "Hm, so")
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [
        (call.id, call.name, call.arguments) for call in (WEATHER, TIME)
    ]
    assert (answer.finish_reason, answer.model) == ("tool_calls", "m")
    # Anthropic tells the prompt's tokens before it knows the answer's.
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 22)


def test_each_piece_is_an_event(server: LLMServer, provider: str) -> None:
    """Pieces are not joined on the way."""
    with model_for(provider, server, Reply(pieces=["a", "b\n", " c"])) as model:
        events = list(rxllm.iter_events(model.stream("Hi")))
    assert [event.text for event in events if isinstance(event, rxllm.TextDelta)] == ["a", "b\n", " c"]


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_how_it_finished(server: LLMServer, provider: str, finish: rxllm.FinishReason) -> None:
    """Every wire tells a whole answer from one that ran out of room."""
    with model_for(provider, server, Reply("a", finish_reason=finish)) as model:
        assert model.chat("Hi").finish_reason == finish


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply("a b c", fault=Drop(2)), rxllm.StreamInterruptedError),
        (Reply("a b c", fault=Reset(2)), rxllm.StreamInterruptedError),
        (Reply("a b c", fault=Truncate(2)), rxllm.StreamInterruptedError),
        (Reply("a b c", fault=Fail(2, "too busy", "overloaded_error")), rxllm.OverloadedError),
        (ErrorReply(401, "who are you?"), rxllm.AuthenticationError),
        (ErrorReply(429, "slow down"), rxllm.RateLimitError),
        (ErrorReply(503, "later"), rxllm.OverloadedError),
    ],
)
def test_what_goes_wrong(
    server: LLMServer, provider: str, reply: Reply | ErrorReply, kind: type[rxllm.LLMError]
) -> None:
    """The same error class, holding the same part of the answer."""
    if provider == "ollama" and isinstance(reply, Reply) and isinstance(reply.fault, Fail):
        kind = rxllm.ProviderStreamError  # Ollama's errors in a stream are a text and nothing else
    with model_for(provider, server, reply) as model, pytest.raises(kind) as caught:
        model.chat("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text == ("a b" if isinstance(reply, Reply) else "")
