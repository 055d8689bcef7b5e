"""The model API: options honoured or refused at once, one road for stream, chat and callbacks."""

from __future__ import annotations

import json
import threading

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

import rxllm
from rxllm import operators as ops
from rxllm.testing import Drop, ErrorReply, LLMServer, Reply, Stall

from .raw_server import LIMIT

PROVIDERS = ["openai", "openai-responses", "openai-compatible", "anthropic", "gemini", "ollama"]
KEY = "sk-secret-0123456789"


def model_on(server: LLMServer, provider: str = "openai", **options: object) -> rxllm.StreamingModel:
    settings: dict[str, object] = {"model": "m", "api_key": KEY, "base_url": server.base_url(provider)}
    return rxllm.create_streaming_model(provider, **(settings | options))  # type: ignore[arg-type]  # any option


@pytest.mark.parametrize("provider", PROVIDERS)
class TestEveryProvider:
    """The same program, whatever the provider."""

    def test_a_whole_answer(self, provider: str) -> None:
        """Text, reasoning, usage, finish reason, identity and timing."""
        reply = Reply("Hello world", reasoning="Think.", usage=rxllm.Usage(7, 2))
        with LLMServer(reply) as server, model_on(server, provider) as model:
            response = model.chat("Hi")
        assert (response.text, response.reasoning, response.finish_reason) == ("Hello world", "Think.", "stop")
        assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 2)
        assert (response.provider, response.model) == (provider, "m")
        assert response.timing is not None

    def test_a_conversation_goes_on(self, provider: str) -> None:
        """A response's message can be sent back, tool calls and results included."""
        call = rxllm.ToolCall("call_1", "add", {"a": 1, "b": 2})
        tool = rxllm.Tool("add", "Adds", {"type": "object", "properties": {"a": {"type": "integer"}}})
        with (
            LLMServer(Reply(tool_calls=[call]), Reply("3")) as server,
            model_on(server, provider, tools=[tool]) as model,
        ):
            first = model.chat("1 + 2?")
            (made,) = first.tool_calls
            history = [
                rxllm.Message.user("1 + 2?"),
                first.message,
                rxllm.Message.tool(rxllm.ToolResult(made.id, "3", made.name)),
            ]
            assert model.chat(history).text == "3"
            assert (made.name, made.arguments, first.finish_reason) == ("add", {"a": 1, "b": 2}, "tool_calls")

    def test_a_cut_answer(self, provider: str) -> None:
        """The error carries what had arrived."""
        reply = Reply(pieces=["Hello", " wor", "ld"], fault=Drop(after=2))
        interrupted = pytest.raises(rxllm.StreamInterruptedError)
        with LLMServer(reply) as server, model_on(server, provider) as model, interrupted as caught:
            model.chat("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hello wor"

    def test_a_rejected_key(self, provider: str) -> None:
        """The key is in no part of the error."""
        rejected = pytest.raises(rxllm.AuthenticationError)
        with LLMServer(ErrorReply(401, "wrong key")) as server, model_on(server, provider) as model, rejected as caught:
            model.chat("Hi")
        error = caught.value
        assert KEY not in f"{error!r} {error} {vars(error)} {model!r}"

    def test_a_transient_error_is_tried_again(self, provider: str) -> None:
        """Before the first content event, a retry is invisible."""
        busy = ErrorReply(503, "busy", headers={"retry-after": "0.01"})
        with LLMServer(busy, busy, "Hello") as server, model_on(server, provider) as model:
            assert model.chat("Hi").text == "Hello"
            assert len(server.requests) == 3


def test_two_retries_and_no_more() -> None:
    """The last error is the one that is raised."""
    busy = ErrorReply(503, "busy", headers={"retry-after": "0.01"})
    with LLMServer(default=busy) as server, model_on(server) as model:
        with pytest.raises(rxllm.OverloadedError):
            model.chat("Hi")
        assert len(server.requests) == 3


def test_no_retry_once_content_was_seen() -> None:
    """A second try would show the beginning twice."""
    with LLMServer(default=Reply(pieces=["a", "b"], fault=Drop(after=1))) as server, model_on(server) as model:
        with pytest.raises(rxllm.StreamInterruptedError):
            model.chat("Hi")
        assert len(server.requests) == 1


def test_options_can_be_overridden_per_call() -> None:
    """Model, sampling and headers; what is not overridden stays."""
    with LLMServer() as server, model_on(server, temperature=0.5, max_tokens=9) as model:
        model.chat("Hi")
        model.chat("Hi", model="other", temperature=0.1, headers={"X-Trace": "t"})
        first, second = (request.json for request in server.requests)
        assert (first["model"], first["temperature"], first["max_completion_tokens"]) == ("m", 0.5, 9)
        assert (second["model"], second["temperature"], second["max_completion_tokens"]) == ("other", 0.1, 9)
        assert server.requests[1].headers["x-trace"] == "t"
        assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"


def test_a_provider_may_name_its_model() -> None:
    """The short form: provider, colon, model."""
    with LLMServer() as server:
        model = rxllm.create_streaming_model("ollama:llama3.2:1b", base_url=server.base_url("ollama"))
        assert (model.provider, model.model) == ("ollama", "llama3.2:1b")


@pytest.mark.parametrize(
    ("provider", "options", "words"),
    [
        ("openai", {"api_key": None, "base_url": None}, ["openai", "OPENAI_API_KEY"]),
        ("anthropic", {"api_key": None, "base_url": None}, ["ANTHROPIC_API_KEY"]),
        ("gemini", {"api_key": None, "base_url": None}, ["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
        ("openai-compatible", {"base_url": None}, ["base_url"]),
        ("openay", {}, ["openay", "Did you mean 'openai'"]),
        ("gpt-4o", {}, ["Did you mean 'openai:gpt-4o'"]),
        ("Claude-sonnet-4-5", {}, ["Did you mean 'anthropic:Claude-sonnet-4-5'"]),
        ("openai", {"top_k": 3}, ["top_k", "openai"]),
        ("anthropic", {"seed": 3}, ["seed", "anthropic"]),
        ("openai", {"timeout": -1}, ["seconds above 0"]),
        ("openai", {"temperature": float("nan")}, ["temperature", "finite"]),
        ("openai", {"presence_penalty": float("inf")}, ["presence_penalty", "finite"]),
        ("openai", {"response_format": "yaml"}, ["response_format", "yaml"]),
        ("openai", {"tools": ["weather"]}, ["tool", "weather"]),
        ("vllm", {"model": None}, ["vllm", "model="]),
        ("openai", {"headers": {"X-A": "a\r\nb"}}, ["X-A"]),
        ("openai", {"headers": [("X-A", "b")]}, ["headers"]),
        ("openai", {"headers": {b"X-A": "b"}}, ["headers"]),
        ("openai", {"temperature": "hot"}, ["temperature", "float"]),
        ("openai", {"max_tokens": 1.5}, ["max_tokens", "int"]),
        ("anthropic", {"reasoning": 0.5}, ["reasoning"]),
        ("openai", {"stop": [None]}, ["stop[0]"]),
        ("openai", {"extra_body": [1]}, ["extra_body"]),
        ("openai", {"max_retries": "2"}, ["max_retries"]),
        ("openai", {"response_format": {"type": "json_object"}}, ['give "json", or the schema alone']),
        ("openai", {"response_format": {"type": "json_schema", "json_schema": {}}}, ["or the schema alone"]),
    ],
)
def test_what_cannot_be_honoured_is_refused_at_once(
    provider: str, options: dict[str, object], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating the model says what is wrong and what to do; nothing is sent."""
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    settings: dict[str, object] = {"model": "m", "api_key": KEY, "base_url": "http://127.0.0.1:9"} | options
    with pytest.raises(rxllm.ConfigurationError) as caught:
        rxllm.create_streaming_model(provider, **settings)  # type: ignore[arg-type]  # wrong on purpose
    for word in words:
        assert word in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("options", [{"top_k": 3}, {"temprature": 1}, {"timeout": 0}])
def test_a_call_refuses_at_once_too(options: dict[str, object]) -> None:
    """`stream` raises; it does not wait for a subscription."""
    model = rxllm.create_streaming_model("openai", api_key=KEY)
    with pytest.raises(rxllm.ConfigurationError):
        model.stream("Hi", **options)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("foreign", "own"),
    [
        ("max_completion_tokens", "max_tokens"),
        ("reasoning_effort", "reasoning"),
        ("extra_headers", "headers"),
        ("temprature", "temperature"),
    ],
)
def test_an_unknown_option_is_like_a_known_one(foreign: str, own: str) -> None:
    """The message suggests it."""
    model = rxllm.create_streaming_model("openai", api_key=KEY)
    with pytest.raises(rxllm.ConfigurationError, match=f"unknown option: {foreign}. Did you mean {own}?"):
        model.stream("Hi", **{foreign: 1})  # type: ignore[arg-type]  # wrong on purpose


class Scalar:
    """A number as numpy has it."""

    def __init__(self, value: float) -> None:
        self._value = value

    def tolist(self) -> float:
        return self._value


def test_numbers_of_numpy() -> None:
    """A sweep over temperatures need not convert them."""
    options: dict[str, object] = {"temperature": Scalar(0.5), "seed": Scalar(7)}
    with LLMServer() as server, model_on(server, **options) as model:
        model.chat("Hi", top_p=Scalar(0.25))  # type: ignore[arg-type]  # no float
        sent = server.requests[0].json
        assert (sent["temperature"], sent["seed"], sent["top_p"]) == (0.5, 7, 0.25)


def test_a_schema_is_made_of_a_type() -> None:
    """response_format takes a type; the wire gets its schema."""
    import dataclasses

    @dataclasses.dataclass
    class City:
        name: str
        people: int

    with LLMServer('{"name": "Oslo", "people": 1}') as server, model_on(server) as model:
        model.chat("Hi", response_format=City)
        text = json.dumps(server.requests[0].json)
        assert '"people"' in text
        assert "json_schema" in text


class TestCallbacks:
    """`stream_chat`: tokens, the response or the error; disposable at once."""

    def test_a_whole_answer(self) -> None:
        """Tokens in order, then the response, once."""
        tokens: list[str] = []
        responses: list[rxllm.Response] = []
        done = threading.Event()

        def complete(response: rxllm.Response) -> None:
            responses.append(response)
            done.set()

        with LLMServer(Reply(pieces=["a", "b", "c"])) as server, model_on(server) as model:
            rxllm.stream_chat(model, "Hi", on_token=tokens.append, on_complete=complete)
            assert done.wait(LIMIT)
        assert (tokens, [response.text for response in responses]) == (["a", "b", "c"], ["abc"])

    def test_an_error(self) -> None:
        """The typed error, once."""
        errors: list[rxllm.LLMError] = []
        done = threading.Event()
        with LLMServer(ErrorReply(400, "no")) as server, model_on(server) as model:
            rxllm.stream_chat(model, "Hi", on_error=lambda error: (errors.append(error), done.set()))
            assert done.wait(LIMIT)
        assert [type(error) for error in errors] == [rxllm.BadRequestError]

    def test_disposing(self) -> None:
        """No callback is called for a stop, and the server sees it."""
        got = threading.Event()
        said: list[object] = []
        with LLMServer(Reply(pieces=["a", "b"], fault=Stall(after=1))) as server, model_on(server) as model:
            stop = rxllm.stream_chat(
                model, "Hi", on_token=lambda text: got.set(), on_complete=said.append, on_error=said.append
            )
            assert got.wait(LIMIT)
            stop.dispose()
            assert server.requests[0].closed.wait(LIMIT)
        assert said == []


def test_chat_and_stream_are_one_road() -> None:
    """The blocking call gives what StreamEnd holds."""
    with LLMServer(default="same") as server, model_on(server) as model:
        streamed = model.stream("Hi").pipe(ops.response()).run()
        assert model.chat("Hi").text == streamed.text == "same"


def test_a_stream_without_its_end_is_no_answer() -> None:
    """A model of the user's may forget the StreamEnd."""

    class Forgetful(rxllm.StreamingModel):
        provider, model = "mine", "m"

        def stream(self, prompt: object, **options: object) -> rx.Observable[rxllm.TokenEvent]:
            return rx.of(rxllm.TextDelta("Hi"))

    with pytest.raises(rxllm.StreamInterruptedError):
        Forgetful().chat("Hi")


def test_many_at_once_share_a_model() -> None:
    """A model is safe to use from many streams; each gets its own answer."""
    with LLMServer() as server, model_on(server) as model:
        answers = rx.merge(*(model.stream(f"question {n}").pipe(ops.response()) for n in range(30)))
        texts = answers.pipe(rx_ops.map(lambda response: response.text), rx_ops.to_list()).run()
        assert sorted(texts) == sorted(f"question {n}" for n in range(30))
