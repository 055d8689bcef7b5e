"""OpenTelemetry: spans and metrics by the GenAI conventions, seen by the SDK's own exporters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

import rxllm
from rxllm import ToolCall
from rxllm.assistant import Assistant, FunctionTool, ToolContext, observed
from rxllm.testing import Drop, ErrorReply, Hang, LLMServer, Reply, ScriptedModel

from .assistant.turns import LIMIT, PROVIDERS, add, model_on, no_workers, two_steps, weather

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind, StatusCode

from rxllm.otel import OpenTelemetryListener, traced


class Person(msgspec.Struct):
    """A structured answer."""

    age: int


class Seen(NamedTuple):
    """The SDK, and what it exports."""

    tracers: TracerProvider
    meters: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def points(self, metric: str) -> list[tuple[dict[str, object], float]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
        (found,) = [m for m in metrics if m.name == metric]
        return [(dict(point.attributes), point.sum) for point in found.data.data_points]

    def listener(self, *, content: bool = False) -> OpenTelemetryListener:
        return OpenTelemetryListener(tracer_provider=self.tracers, meter_provider=self.meters, content=content)


@pytest.fixture
def seen() -> Iterator[Seen]:
    """An SDK of the test's own."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Seen(tracers, meters, exporter, reader)
    tracers.shutdown()
    meters.shutdown()


def test_a_request_is_a_client_span(seen: Seen) -> None:
    """Model, operation, options, finish reason, tokens and first token; nothing of what was said."""
    reply = Reply("Hello Ada", id="r1", usage=rxllm.Usage(7, 2, 9))
    with LLMServer(reply) as server, observed(model_on(server, "anthropic"), seen.listener()) as model:
        model.chat("My secret", temperature=0.5, max_tokens=50, stop="END")
    span = seen.spans()["chat m"]
    attributes = dict(span.attributes or {})
    assert (attributes.pop("gen_ai.response.time_to_first_chunk") or 0) > 0  # type: ignore[operator]  # a float
    attributes.pop("gen_ai.usage.cache_read.input_tokens", None)
    assert SpanKind.CLIENT == span.kind
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
    } == attributes
    assert "secret" not in span.to_json()


def test_metrics(seen: Seen) -> None:
    """Duration, time to the first chunk, tokens by kind."""
    reply = Reply("Hello", usage=rxllm.Usage(7, 2, 9))
    with LLMServer(reply) as server, observed(model_on(server, "gemini"), seen.listener()) as model:
        model.chat("Hi")
    tokens = {attributes["gen_ai.token.type"]: count for attributes, count in seen.points("gen_ai.client.token.usage")}
    assert {"input": 7, "output": 2} == tokens
    ((attributes, seconds),) = seen.points("gen_ai.client.operation.duration")
    assert seconds > 0
    assert ("generate_content", "gcp.gemini") == (
        attributes["gen_ai.operation.name"],
        attributes["gen_ai.provider.name"],
    )
    assert 1 == len(seen.points("gen_ai.client.operation.time_to_first_chunk"))


def test_content_is_recorded_when_asked_for(seen: Seen) -> None:
    """Messages and answer, in the conventions' JSON."""
    picture = rxllm.ImagePart(data=b"png", media_type="image/png")
    with LLMServer(Reply("Hello", reasoning="Hm.")) as server:
        observed(model_on(server), seen.listener(content=True)).chat(rxllm.Message.user("Hi", picture))
    attributes = dict(seen.spans()["chat m"].attributes or {})
    said = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}, {"type": "image"}]}]
    assert said == json.loads(str(attributes["gen_ai.input.messages"]))
    (answer,) = json.loads(str(attributes["gen_ai.output.messages"]))
    assert [("reasoning", "Hm."), ("text", "Hello")] == [(part["type"], part["content"]) for part in answer["parts"]]
    assert "stop" == answer["finish_reason"]


def test_a_failed_request(seen: Seen) -> None:
    """The span says how; estimates are not measured as tokens."""
    with LLMServer(Reply("Hello there", fault=Drop(after=1))) as server:
        model = observed(model_on(server), seen.listener())
        with pytest.raises(rxllm.StreamInterruptedError):
            model.chat("Hi")
    span = seen.spans()["chat m"]
    assert StatusCode.ERROR == span.status.status_code
    assert "StreamInterruptedError" == (span.attributes or {})["error.type"]
    ((attributes, _),) = seen.points("gen_ai.client.operation.duration")
    assert "StreamInterruptedError" == attributes["error.type"]


def test_a_cancelled_request_ends_its_span(seen: Seen) -> None:
    """Without an error."""
    with LLMServer(Hang()) as server:
        subscription = observed(model_on(server), seen.listener()).stream("Hi").subscribe()
        server.wait_for_request()
        subscription.dispose()
    assert StatusCode.UNSET == seen.spans()["chat m"].status.status_code


@pytest.mark.parametrize("content", [False, True])
def test_a_turn_is_a_tree_of_spans(seen: Seen, content: bool) -> None:
    """The agent's span holds its requests and its tools, on whatever threads they ran."""
    with LLMServer(*two_steps()) as server:
        assistant = Assistant(observed(model_on(server), seen.listener()), tools=[add, weather])
        turn = assistant.stream("1 + 2, and the weather?")
        trace = traced("helper", conversation="c1", tracer_provider=seen.tracers, content=content)
        list(rxllm.iter_events(turn.pipe(trace)))
    finished = seen.exporter.get_finished_spans()
    names = ["chat m", "chat m", "execute_tool add", "execute_tool weather", "invoke_agent helper"]
    assert names == sorted(span.name for span in finished)
    agent = seen.spans()["invoke_agent helper"]
    assert agent.context is not None
    children = [span.parent.span_id for span in finished if span is not agent and span.parent is not None]
    assert [agent.context.span_id] * 4 == children
    attributes = dict(agent.attributes or {})
    assert ("helper", "c1") == (attributes["gen_ai.agent.name"], attributes["gen_ai.conversation.id"])
    assert ("invoke_agent", "openai") == (attributes["gen_ai.operation.name"], attributes["gen_ai.provider.name"])
    assert ("stop",) == attributes["gen_ai.response.finish_reasons"]
    tool = dict(seen.spans()["execute_tool weather"].attributes or {})
    assert ("weather", "function") == (tool["gen_ai.tool.name"], tool["gen_ai.tool.type"])
    assert content == ("gen_ai.tool.call.result" in tool)


def test_a_step_after_a_tool_that_ran_out_of_time_is_in_the_tree(seen: Seen) -> None:
    """It is a timer's thread that goes on then: the request is the turn's child all the same."""

    def endless(context: ToolContext) -> None:
        context.cancelled.wait(LIMIT)

    calls = [rxllm.ToolCall("1", "endless", {})]
    with LLMServer(Reply(tool_calls=calls), "Never mind.") as server:
        model = observed(model_on(server), seen.listener())
        turn = Assistant(model, tools=[endless], tool_timeout=0.05).stream("?")
        list(rxllm.iter_events(turn.pipe(traced("a", tracer_provider=seen.tracers))))
    agent = seen.spans()["invoke_agent a"]
    assert agent.context is not None
    requests = [span for span in seen.exporter.get_finished_spans() if span.name == "chat m"]
    assert [agent.context.span_id] * 2 == [span.parent and span.parent.span_id for span in requests]


def test_names_are_those_of_the_conventions(seen: Seen) -> None:
    """Every attribute, metric, operation and provider is known to OpenTelemetry's own package."""
    with LLMServer(default="{}") as server:
        for provider in PROVIDERS:
            server.enqueue(*two_steps())
            model = observed(model_on(server, provider), seen.listener(content=True))
            turn = Assistant(model, tools=[add, weather]).stream("?", conversation="c", top_p=1.0, max_tokens=9)
            list(
                rxllm.iter_events(turn.pipe(traced("a", conversation="c", tracer_provider=seen.tracers, content=True)))
            )
        model = observed(model_on(server), seen.listener())
        model.chat("?", response_format="json", temperature=1.0, seed=1, frequency_penalty=0.5, presence_penalty=0.5)
    spans = seen.exporter.get_finished_spans()
    names = {name for span in spans for name in span.attributes or {}}
    data = seen.reader.get_metrics_data()
    assert data is not None
    metrics = [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
    names |= {name for metric in metrics for point in metric.data.data_points for name in dict(point.attributes)}
    assert names <= _strings(gen_ai_attributes)
    assert {metric.name for metric in metrics} <= _strings(gen_ai_metrics)
    operations = {(span.attributes or {})["gen_ai.operation.name"] for span in spans}
    assert {"chat", "generate_content", "invoke_agent", "execute_tool"} == operations
    assert operations <= {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    providers = {(span.attributes or {}).get("gen_ai.provider.name") for span in spans} - {None, "ollama"}
    assert providers <= {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    assert {"text", "json"} >= {(span.attributes or {}).get("gen_ai.output.type", "text") for span in spans}


def _strings(module: object) -> set[object]:
    return {value for value in vars(module).values() if isinstance(value, str)}


def test_failed_tools_and_turns(seen: Seen) -> None:
    """A tool's failure is its span's; the turn's error is the agent's."""
    calls = [rxllm.ToolCall("1", "add", {"a": "x"})]
    with LLMServer(Reply(tool_calls=calls), ErrorReply(401, "no")) as server:
        turn = Assistant(model_on(server), tools=[add]).stream("?").pipe(traced("a", tracer_provider=seen.tracers))
        with pytest.raises(rxllm.AuthenticationError):
            list(rxllm.iter_events(turn))
    assert "tool_error" == (seen.spans()["execute_tool add"].attributes or {})["error.type"]
    assert "AuthenticationError" == (seen.spans()["invoke_agent a"].attributes or {})["error.type"]


def test_a_disposed_turn_ends_its_spans(seen: Seen) -> None:
    """All of them."""
    with LLMServer(Hang()) as server:
        model = observed(model_on(server), seen.listener())
        turn = Assistant(model).stream("?").pipe(traced("a", tracer_provider=seen.tracers))
        subscription = turn.subscribe()
        server.wait_for_request()
        subscription.dispose()
        assert no_workers()
    assert {"chat m", "invoke_agent a"} == set(seen.spans())


def test_no_text_of_an_error_without_content(seen: Seen) -> None:
    """A provider's error may quote the prompt, and a parser's the answer: only their class is recorded."""
    prompt = "your prompt SECRETWORD is bad"
    for model in (ScriptedModel(ErrorReply(400, prompt)), ScriptedModel(default='{"age": "SECRETWORD"}')):
        turn = Assistant(observed(model, seen.listener())).stream("?", response_type=Person, structured_mode="prompt")
        with pytest.raises(rxllm.LLMError):
            list(rxllm.iter_events(turn.pipe(traced("clerk", tracer_provider=seen.tracers))))
    spans = seen.exporter.get_finished_spans()
    assert {span.status.description for span in spans} == {None}
    assert {"BadRequestError", "OutputParsingError"} <= {(span.attributes or {}).get("error.type") for span in spans}
    assert "SECRETWORD" not in repr([(span.attributes, span.events) for span in spans])


def test_spans_made_in_a_tool_are_its_children(seen: Seen) -> None:
    """In a function, a coroutine and after an approval; the tool's span has its description."""
    tracer = seen.tracers.get_tracer("user")

    def plain() -> str:
        """Do it."""
        with tracer.start_as_current_span("in plain"):
            return "done"

    async def waiting() -> str:
        with tracer.start_as_current_span("in waiting"):
            return "done"

    calls = [ToolCall("1", "plain", {}), ToolCall("2", "waiting", {}), ToolCall("3", "refused", {})]
    assistant = Assistant(
        ScriptedModel(Reply(tool_calls=calls), "done"),
        tools=[plain, waiting, FunctionTool(plain, name="refused")],
        approve=lambda call: call.name != "refused",
    )
    list(rxllm.iter_events(assistant.stream("?").pipe(traced("clerk", tracer_provider=seen.tracers))))
    spans = seen.spans()
    names = {span.context.span_id: name for name, span in spans.items() if span.context is not None}
    parents = {name: names.get(span.parent.span_id) if span.parent else None for name, span in spans.items()}
    assert parents == {
        "in plain": "execute_tool plain",
        "in waiting": "execute_tool waiting",
        "execute_tool plain": "invoke_agent clerk",
        "execute_tool waiting": "invoke_agent clerk",
        "execute_tool refused": "invoke_agent clerk",
        "invoke_agent clerk": None,
    }
    assert (spans["execute_tool plain"].attributes or {})["gen_ai.tool.description"] == "Do it."
