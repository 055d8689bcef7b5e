"""OpenTelemetry for models and assistants, by the GenAI semantic conventions (extra `otel`).

`OpenTelemetryListener` makes a client span and metrics of each request to a model, `traced` a span of each turn of an
assistant and of each of its tools. Requests of the turn are children of its span; spans that a tool makes are children
of the tool's span.

Without `content` nothing that was said is recorded: no messages, no arguments and results of tools, and no texts of
errors, which may quote them. Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (in development; the names of
version 1.44).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from reactivex import Observable, abc

from ._core.error_format import error_text
from ._json import encode
from ._json_values import json_data
from .assistant._tool_run import tool_span
from .assistant.events import AssistantEvent, ToolEnd, ToolStart
from .assistant.listeners import ModelListener, ModelRequest
from .errors import LLMError
from .events import FinishReason, Response, StreamEnd
from .messages import Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from .operators._operator import Outcome, WatchedStream, subscribing
from .options import Tool, stop_of

__all__ = ["OpenTelemetryListener", "traced"]

_SCOPE = "rxllm"
_PROVIDERS = {
    "openai-responses": "openai",
    "gemini": "gcp.gemini",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
_ENDINGS = {"tool_calls": "tool_call", "refusal": "content_filter"}
"""Finish reasons for which the conventions have another word."""
_OPTIONS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty")
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))


class OpenTelemetryListener(ModelListener):
    """Makes a span and metrics of each request.

    Span "chat <model>": options, id and model of the answer, finish reason, tokens, time to the first token, error
    type. Histograms: operation duration, time to first chunk, token usage. A request that is cancelled ends its span
    without an error.

    Args:
        tracer_provider: Makes the spans; default: the global one.
        meter_provider: Makes the metrics; default: the global one.
        content: Whether to record messages, answers and the texts of errors.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        content: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)

        def histogram(name: str, unit: str, description: str, bounds: Sequence[float]) -> metrics.Histogram:
            name = f"gen_ai.client.{name}"
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        self._duration = histogram("operation.duration", "s", "Time of a request", _SECONDS)
        self._first_chunk = histogram("operation.time_to_first_chunk", "s", "Time to the first content", _SECONDS)
        self._tokens = histogram("token.usage", "{token}", "Tokens of a request", _TOKENS)
        self._content = content
        self._open: dict[ModelRequest, tuple[Span, float]] = {}

    def on_request(self, request: ModelRequest) -> None:
        """Start the span, as a child of the subscriber's.

        Args:
            request: The request.
        """
        name = _operation(request)
        attributes = _common(request)
        attributes["gen_ai.request.stream"] = True
        if request.options.get("response_format") is not None:
            attributes["gen_ai.output.type"] = "json"
        for option in _OPTIONS:
            value = request.options.get(option)
            if isinstance(value, int | float):
                attributes[f"gen_ai.request.{option}"] = value
        if stop := stop_of(request.options.get("stop")):
            attributes["gen_ai.request.stop_sequences"] = stop
        if self._content:
            attributes["gen_ai.input.messages"] = _messages(request.messages)
        span = self._tracer.start_span(f"{name} {request.model}", kind=SpanKind.CLIENT, attributes=attributes)
        self._open[request] = (span, time.monotonic())

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """End the span with the attributes of the answer.

        Args:
            request: The request.
            response: The answer.
        """
        self._end(request, response, None)

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """End the span as failed, with the attributes of the partial answer.

        Args:
            request: The request.
            error: The error.
        """
        self._end(request, error.partial if isinstance(error, LLMError) else None, error)

    def on_cancel(self, request: ModelRequest) -> None:
        """End the span.

        Args:
            request: The request.
        """
        self._end(request, None, None)

    def _end(self, request: ModelRequest, response: Response | None, error: Exception | None) -> None:
        """End the span of a request, and record its metrics."""
        span, started = self._open.pop(request)
        attributes = _common(request)
        if response is not None:
            span.set_attributes(_answer_attributes(response))
            if response.model:
                attributes["gen_ai.response.model"] = response.model
            if self._content:
                span.set_attribute("gen_ai.output.messages", _messages([response.message], response.finish_reason))
            self._measure(response, attributes)
        if error is not None:
            attributes["error.type"] = type(error).__name__
            _fail(span, error, content=self._content)
        self._duration.record(time.monotonic() - started, attributes)
        span.end()

    def _measure(self, response: Response, attributes: dict[str, AttributeValue]) -> None:
        usage = response.usage
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None and not usage.estimated:
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if response.timing is not None and response.timing.first_token is not None:
            self._first_chunk.record(response.timing.first_token, attributes)


def traced(
    agent: str,
    *,
    conversation: str | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    content: bool = False,
) -> Callable[[Observable[AssistantEvent]], Observable[AssistantEvent]]:
    """Return an operator that makes a span of each turn and of each tool call in it.

    The spans are "invoke_agent <agent>" and "execute_tool <name>".

    Args:
        agent: The name of the assistant.
        conversation: The id of the conversation.
        tracer_provider: Makes the spans; default: the global one.
        content: Whether to record arguments and results of tools, and the texts of errors.
    """
    tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation

    def trace_turn(
        observer: abc.ObserverBase[AssistantEvent], source: Observable[AssistantEvent], given: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        span = tracer.start_span(f"invoke_agent {agent}", attributes=attributes)
        return _TurnTrace(tracer, span, observer, content).start(source, given)

    return subscribing(trace_turn)


class _TurnTrace(WatchedStream[AssistantEvent]):
    """The spans of one turn."""

    def __init__(
        self, tracer: trace.Tracer, span: Span, observer: abc.ObserverBase[AssistantEvent], content: bool
    ) -> None:
        super().__init__(observer)
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span)
        self._content = content
        self._started: set[str] = set()
        """The ids of the calls of which a tool has started: the others were refused."""

    def start(self, source: Observable[AssistantEvent], given: abc.SchedulerBase | None) -> Self:
        """Subscribe with the span as the current one; tools that start in the turn call `_start_tool`."""
        # The turn's threads run in copies of the context that it is subscribed in.
        token = context.attach(self._context)
        hook = tool_span.set(self._start_tool)
        try:
            return super().start(source, given)
        finally:
            tool_span.reset(hook)
            context.detach(token)

    def ended(self, outcome: Outcome, /) -> None:
        if isinstance(outcome, Exception):
            _fail(self._span, outcome, content=self._content)
        self._span.end()

    def note(self, event: AssistantEvent, /) -> None:
        """Record a tool's start or end, or the answer. A refused call has a span too, made at its end."""
        match event:
            case ToolStart(call):
                self._started.add(call.id)
            case ToolEnd(call, result):
                if call.id not in self._started:
                    self._end_tool(self._tool_span(call, None, self._context), result)
            case StreamEnd(response):
                self._span.set_attributes(_answer_attributes(response))
                if response.provider is not None:
                    self._span.set_attribute("gen_ai.provider.name", _provider(response.provider))
            case _:
                pass

    def _start_tool(self, call: ToolCall, tool: Tool) -> Callable[[ToolResult | None], None]:
        """Start the span of a tool, as the current one of its thread's context, which is the tool's own."""
        span = self._tool_span(call, tool, None)
        context.attach(trace.set_span_in_context(span))
        return partial(self._end_tool, span)

    def _end_tool(self, span: Span, result: ToolResult | None) -> None:
        if result is not None and result.is_error:
            span.set_attribute("error.type", "tool_error")
            span.set_status(StatusCode.ERROR, result.content if self._content else None)
        if result is not None and self._content:
            span.set_attribute("gen_ai.tool.call.result", result.content)
        span.end()

    def _tool_span(self, call: ToolCall, tool: Tool | None, parent: context.Context | None) -> Span:
        """Start the span of a tool call; without `parent`, below the current span."""
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.type": "function",
        }
        if tool is not None and tool.description:
            attributes["gen_ai.tool.description"] = tool.description
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = encode(json_data(call.arguments)).decode()
        return self._tracer.start_span(f"execute_tool {call.name}", parent, attributes=attributes)


def _operation(request: ModelRequest) -> str:
    return "generate_content" if request.provider == "gemini" else "chat"


def _common(request: ModelRequest) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": _provider(request.provider),
        "gen_ai.request.model": request.model,
    }


def _provider(name: str) -> str:
    return _PROVIDERS.get(name, name)


def _answer_attributes(response: Response) -> dict[str, AttributeValue]:
    """Return the attributes of an answer; what is unknown is left out."""
    usage = response.usage
    known: dict[str, AttributeValue | None] = {
        "gen_ai.response.id": response.id,
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": (response.finish_reason,) if response.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": response.timing.first_token if response.timing else None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: value for name, value in known.items() if value is not None}


def _fail(span: Span, error: Exception, *, content: bool) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR, error_text(error) if content else None)


def _messages(messages: Sequence[Message], finish_reason: FinishReason | None = None) -> str:
    """Return messages in the conventions' JSON form; that of an answer has its finish reason."""
    ended = {} if finish_reason is None else {"finish_reason": _ENDINGS.get(finish_reason, finish_reason)}
    written = [
        {"role": message.role, "parts": [_part(part) for part in message.parts], **ended} for message in messages
    ]
    return encode(json_data(written)).decode()


def _part(part: Part) -> dict[str, object]:
    """Return a part in the conventions' form; of media only its kind."""
    match part:
        case TextPart(text):
            return {"type": "text", "content": text}
        case ReasoningPart(text):
            return {"type": "reasoning", "content": text}
        case ToolCall(id=name, name=function, arguments=arguments):
            return {"type": "tool_call", "id": name, "name": function, "arguments": arguments}
        case ToolResult(id=name, content=content):
            return {"type": "tool_call_response", "id": name, "response": content}
        case _:
            return {"type": type(part).__name__.removesuffix("Part").lower()}  # its data would be too much
