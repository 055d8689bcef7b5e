"""OpenAI's own Python client against our endpoint: it notices nothing."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex
import requests
from reactivex import Observable
from reactivex.subject import Subject

from rxllm.events import TextDelta, TokenEvent
from rxllm.messages import ToolCall
from rxllm.operators.resilience.fallback import fallback_to
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Service
from rxllm.web.served_stream import MAX_UNREAD_CHARS

from .running import model_of, running

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
ASKED = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def openai() -> Any:
    """The package; it takes seconds to load, and not every process runs these tests."""
    return pytest.importorskip("openai", reason="the package openai is not installed")


@pytest.fixture
def client(url: str, openai: Any):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=60) as made:
        yield made


class TestTheRealClient:
    """`openai.OpenAI(base_url=...)`."""

    def test_a_streamed_answer(self, llm: LLMServer, client) -> None:
        """Text, reasoning, the reason it ended, and what it cost."""
        llm.enqueue(Reply("Hello there", reasoning="hm"))
        stream = client.chat.completions.create(
            model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        assert "Hello there" == "".join(delta.content or "" for delta in deltas)
        assert "hm" == "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        assert "stop" == [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1]
        assert chunks[-1].usage.completion_tokens > 0

    def test_a_whole_answer(self, llm: LLMServer, client) -> None:
        """Without stream=True, too."""
        llm.enqueue("Hello there")
        answer = client.chat.completions.create(model="m", messages=ASKED, temperature=0.5, max_completion_tokens=9)
        assert ("Hello there", "stop") == (answer.choices[0].message.content, answer.choices[0].finish_reason)
        assert (0.5, 9) == (llm.requests[0].json["temperature"], llm.requests[0].json["max_tokens"])

    def test_a_whole_answer_that_is_longer_than_what_may_be_unread(self, llm: LLMServer, client) -> None:
        """Nothing is sent before its end, and the producer does not wait for a reader meanwhile."""
        llm.enqueue(Reply("word " * (MAX_UNREAD_CHARS // 4)))
        answer = client.chat.completions.create(model="m", messages=ASKED)
        assert answer.choices[0].message.content == "word " * (MAX_UNREAD_CHARS // 4)

    @pytest.mark.parametrize("stream", [True, False])
    def test_tool_calls(self, llm: LLMServer, client, stream: bool) -> None:
        """The client's own tools are the client's to run."""
        call = ToolCall("call_1", "weather", {"city": "Oslo"})
        llm.enqueue(Reply("", tool_calls=(call,)))
        if stream:
            with client.chat.completions.stream(model="m", messages=ASKED, tools=[WEATHER]) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(model="m", messages=ASKED, tools=[WEATHER]).choices[0].message
        (found,) = message.tool_calls
        assert ("call_1", "weather", '{"city":"Oslo"}') == (
            found.id,
            found.function.name,
            found.function.arguments.replace(" ", ""),
        )

    def test_tool_results_reach_the_model(self, llm: LLMServer, client) -> None:
        """The second half of a tool's round."""
        call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        said = [*ASKED, {"role": "assistant", "tool_calls": [call]}]
        client.chat.completions.create(
            model="m", messages=[*said, {"role": "tool", "tool_call_id": "call_1", "content": "sun"}], tools=[WEATHER]
        )
        assert "sun" == llm.requests[0].prompt

    def test_models(self, client) -> None:
        """What is on offer."""
        assert ["m"] == [model.id for model in client.models.list()]

    def test_closing_the_stream_closes_the_connection_to_the_provider(self, llm: LLMServer, client) -> None:
        """Nobody pays for what nobody reads."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        stream = client.chat.completions.create(model="m", messages=ASKED, stream=True)
        next(iter(stream))
        gate.wait_until_reached()
        stream.close()
        assert llm.wait_for_request().closed.wait(60)


class TestErrors:
    """The client raises what it would raise of OpenAI."""

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(
        ("status", "kind"), [(429, "RateLimitError"), (400, "BadRequestError"), (500, "InternalServerError")]
    )
    def test_a_status_before_the_first_token(
        self, llm: LLMServer, openai: Any, client, stream: bool, status: int, kind: str
    ) -> None:
        """So that the client's own retries and fallbacks work."""
        llm.enqueue(ErrorReply(status, "not now"))
        with pytest.raises(getattr(openai, kind), match="not now"):
            client.chat.completions.create(model="m", messages=ASKED, stream=stream)

    def test_the_servers_own_key_is_the_servers_trouble(self, llm: LLMServer, openai: Any, client) -> None:
        """A 401 from the provider is a 502 to the client, without the key."""
        llm.enqueue(ErrorReply(401, "Incorrect API key provided: sk-proj-abcdefgh12345678"))
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model="m", messages=ASKED)
        assert 502 == raised.value.status_code
        assert "sk-proj" not in str(raised.value)

    def test_a_break_in_the_middle(self, llm: LLMServer, openai: Any, client) -> None:
        """Half an answer never looks whole."""
        llm.enqueue(Reply("one two three", fault=Drop(2)))
        pieces: list[str] = []
        stream = client.chat.completions.create(model="m", messages=ASKED, stream=True)
        with pytest.raises(openai.APIError):
            pieces.extend(chunk.choices[0].delta.content for chunk in stream)
        assert "one two" == "".join(pieces)

    def test_a_break_in_the_middle_of_what_is_asked_whole(self, llm: LLMServer, openai: Any, client) -> None:
        """Not half a document."""
        llm.enqueue(Reply("one two three", fault=Drop(2)))
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="m", messages=ASKED)

    def test_a_model_that_is_not_on_offer(self, openai: Any, client) -> None:
        """And which ones are."""
        with pytest.raises(openai.NotFoundError, match="it offers m"):
            client.chat.completions.create(model="other", messages=ASKED)


def test_a_composition_is_a_model_too(llm: LLMServer, openai: Any) -> None:
    """Here one with a fallback; a client cannot tell."""

    def careful(request: ChatRequest) -> Observable[TokenEvent]:
        model = model_of(llm)
        return model.stream(request.messages).pipe(fallback_to(model.stream(request.messages)))

    llm.enqueue(ErrorReply(503, "overloaded"), "Here I am")
    service = Service({"careful": careful})
    with running(service) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="unused") as client:
        answer = client.chat.completions.create(model="careful", messages=ASKED)
    assert "Here I am" == answer.choices[0].message.content


def test_a_composition_without_a_stream_end_gives_no_whole_answer(openai: Any) -> None:
    """But an error with a status: a client would take an error with the status 200 for an answer."""
    service = Service({"careless": lambda _: reactivex.of(TextDelta("half"))})
    with (
        running(service) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="ended without an answer"),
    ):
        client.chat.completions.create(model="careless", messages=ASKED)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_before_the_first_token_a_stream_has_keep_alives(path: str) -> None:
    """With the head: a proxy would give up on a slow model."""
    answer: Subject[TokenEvent] = Subject()
    body = {"messages": ASKED, "max_tokens": 9} if path != "/v1/responses" else {"input": "Hi"}
    service = Service({"m": lambda _: answer}, keep_alive=0.05)
    with (
        running(service) as url,
        requests.post(url + path, json={**body, "stream": True}, stream=True, timeout=60) as response,
    ):
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        assert next(lines) == ": keep-alive"
        answer.on_next(TextDelta("Hello"))
        answer.on_completed()
        assert any("Hello" in line for line in lines)
