"""A model made of models, against real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

import rxllm
from rxllm import Message, Response
from rxllm import operators as ops
from rxllm.events import StreamReset, TextDelta, TokenEvent
from rxllm.messages import TextPart
from rxllm.operators.resilience.circuit_breaker import CircuitBreaker
from rxllm.operators.resilience.recover import recover
from rxllm.providers.vendors import prefix_form, providers_with_prefix
from rxllm.resilient import continuing, resilient_model
from rxllm.testing import Drop, ErrorReply, LLMServer, RecordedRequest, Reply, ScriptedModel, Stall

from .embedded_model import needs_embedded_model
from .operators.resilience.test_limits import current_state
from .operators.virtual import play
from .raw_server import LIMIT

BUSY = ErrorReply(503, "busy", headers={"retry-after": "0.01"})
CUT = Reply(pieces=["Hel", "lo"], fault=Drop(after=2), usage=None)


@pytest.fixture
def first() -> Iterator[LLMServer]:
    """The server of the first model."""
    with LLMServer() as server:
        yield server


@pytest.fixture
def second() -> Iterator[LLMServer]:
    """The server of its fallback."""
    with LLMServer(default="from the second") as server:
        yield server


def model_on(server: LLMServer, provider: str = "openai", model: str = "m", **options: object) -> rxllm.StreamingModel:
    """A model of `provider` at the scripted server."""
    return rxllm.create_streaming_model(
        provider,
        model=model,
        api_key="k",
        base_url=server.base_url(provider),
        **options,  # type: ignore[arg-type]  # any
    )


def events_of(stream: rx.Observable[TokenEvent]) -> tuple[list[TokenEvent], Exception | None]:
    """All that a stream says, and how it fails if it does."""
    events: list[TokenEvent] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def fail(error: Exception) -> None:
        errors.append(error)
        ended.set()

    stream.subscribe(events.append, fail, ended.set)
    assert ended.wait(LIMIT)
    return events, errors[0] if errors else None


def text_of(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestClassesOfErrors:
    """Retry here, try the next, raise to the user."""

    def test_is_a_model(self, first: LLMServer) -> None:
        """It streams, chats, has a name and a context, like any other."""
        with resilient_model(model_on(first)) as model:
            assert isinstance(model, rxllm.StreamingModel)
            assert (model.provider, model.model) == ("openai", "m")
            assert model.chat("Hi").text == "Hi"
            assert events_of(model.stream("Hi"))[1] is None
            assert "openai:m" in repr(model)

    def test_transient_errors_are_tried_here(self, first: LLMServer, second: LLMServer) -> None:
        """The fallback is not asked while there are tries left."""
        first.enqueue(BUSY, BUSY, "from the first")
        model = resilient_model(model_on(first), [model_on(second)])
        assert model.chat("Hi").text == "from the first"
        assert (len(first.requests), len(second.requests)) == (3, 0)

    def test_then_the_next_is_asked(self, first: LLMServer, second: LLMServer) -> None:
        """Once tries are used up; the models' own retries do not multiply them."""
        first.default = BUSY
        model = resilient_model(model_on(first, max_retries=5), [model_on(second)], max_retries=1)
        assert model.chat("Hi").text == "from the second"
        assert (len(first.requests), len(second.requests)) == (2, 1)

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_what_is_wrong_with_a_provider_goes_to_the_next_at_once(
        self, status: int, first: LLMServer, second: LLMServer
    ) -> None:
        """Its key, its permission, its model."""
        first.default = ErrorReply(status, "no")
        response = resilient_model(model_on(first), [model_on(second, "anthropic", "claude")]).chat("Hi")
        assert (response.text, response.provider, response.model) == ("from the second", "anthropic", "claude")
        assert len(first.requests) == 1

    def test_what_is_wrong_with_the_request_is_raised(self, first: LLMServer, second: LLMServer) -> None:
        """It would be wrong anywhere."""
        first.default = ErrorReply(400, "no such role")
        with pytest.raises(rxllm.BadRequestError):
            resilient_model(model_on(first), [model_on(second)]).chat("Hi")
        assert (len(first.requests), len(second.requests)) == (1, 0)

    def test_a_server_that_is_gone(self, second: LLMServer) -> None:
        """No connection is a failure like any other."""
        gone = LLMServer()
        gone.close()
        model = resilient_model(model_on(gone), [model_on(second)], max_retries=0)
        assert model.chat("Hi").text == "from the second"

    def test_the_last_error_is_raised(self, first: LLMServer, second: LLMServer) -> None:
        """Where nobody can answer."""
        first.default, second.default = BUSY, ErrorReply(404, "no such model")
        with pytest.raises(rxllm.NotFoundError):
            resilient_model(model_on(first), [model_on(second)], max_retries=0).chat("Hi")

    def test_not_in_the_middle_of_an_answer(self, first: LLMServer, second: LLMServer) -> None:
        """Without `recover`, what was seen is not said again."""
        first.enqueue(CUT)
        events, error = events_of(resilient_model(model_on(first), [model_on(second)]).stream("Hi"))
        assert text_of(events) == "Hello"
        assert isinstance(error, rxllm.StreamInterruptedError)
        assert second.requests == []


class TestOptions:
    """Of the call and of the models."""

    def test_options_are_for_all(self, first: LLMServer, second: LLMServer) -> None:
        """But the model's name is for the first."""
        first.default = ErrorReply(404, "no such model")
        model = resilient_model(model_on(first, model="a"), [model_on(second, model="b")])
        model.chat("Hi", model="other", temperature=0.5, max_retries=0)
        asked = [(request.model, request.json["temperature"]) for request in (*first.requests, *second.requests)]
        assert asked == [("other", 0.5), ("b", 0.5)]

    def test_what_one_cannot_honour_is_refused_at_once(self, first: LLMServer, second: LLMServer) -> None:
        """Naming it, before anything is sent."""
        model = resilient_model(model_on(first, "anthropic"), [model_on(second, "openai")])
        with pytest.raises(rxllm.ConfigurationError, match=r"top_k.*openai|openai.*top_k"):
            model.stream("Hi", top_k=5)

    def test_retries_may_be_chosen_for_a_call(self, first: LLMServer) -> None:
        """As with any model."""
        first.default = BUSY
        with pytest.raises(rxllm.OverloadedError):
            resilient_model(model_on(first)).chat("Hi", max_retries=0)
        assert len(first.requests) == 1

    def test_disposing_closes_the_connection(self, first: LLMServer, second: LLMServer) -> None:
        """Of whichever model is answering."""
        first.default = ErrorReply(404, "no such model")
        second.enqueue(Reply(pieces=["a", "b"], fault=Stall(after=1)))
        came = threading.Event()
        stream = resilient_model(model_on(first), [model_on(second)], circuit_breaker=True, recover="restart").stream(
            "Hi"
        )
        subscription = stream.subscribe(lambda event: came.set() if isinstance(event, TextDelta) else None)
        assert came.wait(LIMIT)
        subscription.dispose()
        assert second.requests[0].closed.wait(LIMIT)


class TestCircuitBreaker:
    """A model that keeps failing is passed over."""

    def test_each_model_has_its_own(self, first: LLMServer, second: LLMServer) -> None:
        """The first one's is open, and it is not asked; the fallback answers."""
        first.default = ErrorReply(500, "down")
        breaker = CircuitBreaker(failure_threshold=2, cooldown=1000)
        model = resilient_model(model_on(first), [model_on(second)], max_retries=0, circuit_breaker=breaker)
        for _ in range(4):
            assert model.chat("Hi").text == "from the second"
        assert (len(first.requests), len(second.requests)) == (2, 4)
        assert [current_state(each) for each in model.breakers] == ["open", "closed"]
        assert breaker is model.breakers[0]

    def test_with_the_defaults(self, first: LLMServer) -> None:
        """Five failures in a row."""
        first.default = ErrorReply(500, "down")
        model = resilient_model(model_on(first), max_retries=0, circuit_breaker=True)
        for _ in range(7):
            with pytest.raises(rxllm.LLMError):
                model.chat("Hi")
        assert len(first.requests) == 5


class TestVirtualTime:
    """All waits are a scheduler's."""

    def test_hours_pass_in_no_time(self) -> None:
        """A Retry-After of 50 s twice, then the fallback, cut, and begun again after one more."""
        scheduler = TestScheduler()
        slow = ErrorReply(429, "slow down", headers={"retry-after": "50"})
        cut = rx.concat(rx.of(TextDelta("Hel")), rx.throw(rxllm.OverloadedError("busy", retry_after=40.0)))
        first = ScriptedModel(default=slow, scheduler=scheduler)
        second = ScriptedModel(cut, "Hello", scheduler=scheduler)
        model = resilient_model(first, [second], recover="restart", scheduler=scheduler)
        seen = play(scheduler, lambda: model.stream("Hi"))
        assert seen.response.text == "Hello"
        assert seen.ended == pytest.approx(100 + 40 + 100, abs=1)
        assert (len(first.calls), len(second.calls)) == (6, 2)


class TestRecover:
    """After a cut in the middle of an answer."""

    def test_restart(self, first: LLMServer) -> None:
        """The answer begins again, once, and says so."""
        first.enqueue(CUT, Reply("Hello world", usage=rxllm.Usage(1, 2, 3)))
        events, error = events_of(resilient_model(model_on(first), recover="restart").stream("Hi"))
        assert error is None
        assert [type(event) for event in events].count(StreamReset) == 1
        response = rx.from_iterable(events).pipe(ops.response()).run()
        assert response.text == "Hello world"
        assert rx.from_iterable(events).pipe(ops.accumulate(), rx_ops.last()).run() == "Hello world"
        assert response.usage.estimated
        assert response.usage.output_tokens == 2 + 1

    def test_restart_on_the_next(self, first: LLMServer, second: LLMServer) -> None:
        """Where the first cannot answer any more."""
        first.enqueue(CUT)
        first.default = ErrorReply(404, "gone")
        assert (
            resilient_model(model_on(first), [model_on(second)], recover="restart").chat("Hi").text == "from the second"
        )

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("anthropic", "claude-sonnet-4-5"),
            ("gemini", "gemini-2.5-flash"),
            ("ollama", "llama3.2"),
            ("mistral", "mistral-small-latest"),
            ("deepseek", "deepseek-chat"),
            ("groq", "llama"),
            ("llamacpp", "m"),
            ("openrouter", "m"),
            ("vllm", "m"),
        ],
    )
    def test_continue(self, provider: str, model: str, first: LLMServer) -> None:
        """The text so far is sent as the beginning of the answer, in the vendor's own way; texts are joined."""
        first.enqueue(CUT, Reply(pieces=[" wor", "ld"]))
        resilient = resilient_model(model_on(first, provider, model), recover="continue")
        events, error = events_of(resilient.stream("Hi"))
        assert error is None
        assert not any(isinstance(event, StreamReset) for event in events)
        response = rx.from_iterable(events).pipe(ops.response()).run()
        assert text_of(events) == response.text == response.message.text == "Hello world"
        assert [request.prompt for request in first.requests] == ["Hi", "Hello"]
        assert response.usage.input_tokens is not None

    def test_each_vendor_is_asked_in_its_own_way(self, first: LLMServer) -> None:
        """A flag on the message, fields of the request, or nothing but the message."""
        asked: dict[str, RecordedRequest] = {}
        for provider in ("mistral", "deepseek", "vllm", "ollama"):
            first.enqueue(CUT, " world")
            assert resilient_model(model_on(first, provider), recover="continue").chat("Hi").text == "Hello world"
            asked[provider] = first.requests[-1]
        last = {provider: request.json["messages"][-1] for provider, request in asked.items()}  # type: ignore[index]  # JSON
        assert last["mistral"] == last["deepseek"] == {"role": "assistant", "content": "Hello", "prefix": True}
        assert last["vllm"] == last["ollama"] == {"role": "assistant", "content": "Hello"}
        assert asked["vllm"].json["continue_final_message"] is True
        assert asked["vllm"].json["add_generation_prompt"] is False

    def test_claude_does_not_think_while_it_continues(self, first: LLMServer) -> None:
        """The API refuses a prefix otherwise."""
        first.enqueue(CUT, " world")
        model = model_on(first, "anthropic", "claude-sonnet-4-5", reasoning=2048)
        assert resilient_model(model, recover="continue").chat("Hi").text == "Hello world"
        assert "thinking" in first.requests[0].json
        assert "thinking" not in first.requests[1].json

    def test_a_server_that_repeats_the_prefix(self, first: LLMServer) -> None:
        """As Mistral does: no text is said twice."""
        first.enqueue(CUT, Reply(pieces=["Hello", " wor", "ld"]))
        assert resilient_model(model_on(first, "mistral"), recover="continue").chat("Hi").text == "Hello world"

    def test_another_may_continue(self, first: LLMServer, second: LLMServer) -> None:
        """The first of the models that is able to."""
        first.enqueue(CUT)
        second.default = " world"
        model = resilient_model(model_on(first), [model_on(second, "ollama")], recover="continue")
        response = model.chat("Hi")
        assert (response.text, response.provider) == ("Hello world", "ollama")
        assert len(first.requests) == 1

    def test_who_cannot_is_refused_at_once(self, first: LLMServer) -> None:
        """By name, with what to do."""
        with pytest.raises(rxllm.ConfigurationError, match=r"openai:m.*restart.*mistral"):
            resilient_model(model_on(first), recover="continue")

    def test_as_an_operator(self, first: LLMServer) -> None:
        """`continuing(model)` is what asks."""
        first.enqueue(CUT, " world")
        model = model_on(first, "ollama")
        stream = model.stream("Hi", temperature=0.5)
        operator = recover("continue", continuing(model, temperature=0.5), "Hi")
        assert stream.pipe(operator, ops.response()).run().text == "Hello world"
        assert [request.json["options"] for request in first.requests] == [{"temperature": 0.5}] * 2

    @needs_embedded_model
    def test_a_real_model_goes_on(self) -> None:
        """llama.cpp continues the very sentence it was cut in."""
        model = rxllm.create_streaming_model("local", temperature=0.0, max_tokens=30)
        prompt = "Write one sentence about the sea."
        shown = "The sea is a vast"
        cut: list[TokenEvent] = [TextDelta(shown)]
        error = rxllm.StreamInterruptedError("cut", partial=Response(text=shown, parts=(TextPart(shown),)))
        stream = rx.concat(rx.from_iterable(cut), rx.throw(error))
        response = stream.pipe(recover("continue", continuing(model), prompt), ops.response()).run()
        assert response.text.startswith(shown + " ")
        assert response.text.count("The sea is a vast") == 1


class TestWhoAllowsWhat:
    """The table of vendors."""

    @pytest.mark.parametrize(
        ("model", "allowed"),
        [
            ("claude-2.1", True),
            ("claude-3-5-sonnet-20241022", True),
            ("claude-opus-4-20250514", True),
            ("claude-opus-4.1", True),
            ("claude-sonnet-4-5", True),
            ("claude-haiku-4-5-20251001", True),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
            ("claude-sonnet-4-6", False),
            ("claude-opus-4-10", False),
            ("claude-opus-5", False),
            ("claude-fable-5", False),
        ],
    )
    def test_claude_up_to_four_five(self, model: str, allowed: bool) -> None:
        """Later ones answer 400."""
        assert allowed == (prefix_form("anthropic", model) is not None)

    @pytest.mark.parametrize(
        ("model", "allowed"),
        [
            ("gemini-2.5-flash", True),
            ("models/gemini-3-pro", True),
            ("gemini-3.1-pro", True),
            ("gemini-3.5-flash", False),
        ],
    )
    def test_gemini_up_to_three_one(self, model: str, allowed: bool) -> None:
        """Later ones answer 400."""
        assert allowed == (prefix_form("gemini", model) is not None)

    @pytest.mark.parametrize("provider", ["openai", "openai-responses", "azure", "xai", "openai-compatible", "nobody"])
    def test_nobody_is_trusted_without_a_word(self, provider: str) -> None:
        """An assistant's last message is answered anew there: the text would be said twice."""
        assert prefix_form(provider, "m") is None
        assert provider not in providers_with_prefix()


def test_messages_with_parts_stay_as_they_are(first: LLMServer) -> None:
    """Only the prefix is added."""
    first.enqueue(CUT, " world")
    prompt = [Message.system("Be brief"), Message.user("Hi")]
    assert resilient_model(model_on(first, "ollama"), recover="continue").chat(prompt).text == "Hello world"
    roles = [[message["role"] for message in request.json["messages"]] for request in first.requests]  # type: ignore[attr-defined]  # JSON
    assert roles == [["system", "user"], ["system", "user", "assistant"]]
