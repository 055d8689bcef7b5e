"""OpenTelemetry for models and assistants, by the GenAI semantic conventions (extra `otel`).

`OpenTelemetryListener` makes a client span and metrics of each request to a model, `traced` a span
of each turn of an assistant with one for each tool; the requests of the turn become its children.
What was said is recorded only where `content` asks for it. Conventions: version 1.41, in development,
https://opentelemetry.io/docs/specs/semconv/gen-ai/, the newest whose names OpenTelemetry's own package has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from ._json import encode
from .assistant.events import AssistantEvent, ToolEnd, ToolStart
from .assistant.listeners import ModelListener, ModelRequest
from .errors import LLMError
from .events import FinishReason, Response, StreamEnd
from .messages import Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from .options import stop_of

_SCOPE = "rxllm"
_PROVIDERS = {
    "openai-responses": "openai",
    "gemini": "gcp.gemini",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
_ENDINGS = {"tool_calls": "tool_call", "refusal": "content_filter"}
"""Where the conventions' word for how a message ended is another."""
_OPTIONS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty")
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))


class OpenTelemetryListener(ModelListener):
    """Spans and metrics of each request; the providers are the global ones unless given.

    Span "chat <model>": options, answer's id and model, finish reason, tokens, time to the first
    token, error type. Histograms: operation duration, time to first chunk, token usage. A request
    that was cancelled ends its span without an error. `content` adds messages and answer.
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
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Time of a request", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to the first content",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a request",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._content = content
        self._open: dict[ModelRequest, tuple[Span, float]] = {}
        self._lock = threading.Lock()

    def on_request(self, request: ModelRequest) -> None:
        """Begin the span, as a child of the subscriber's."""
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
            attributes["gen_ai.input.messages"] = _told(request.messages)
        span = self._tracer.start_span(f"{name} {request.model}", kind=SpanKind.CLIENT, attributes=attributes)
        with self._lock:
            self._open[request] = (span, time.monotonic())

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """End the span, with what is known of the answer."""
        self._end(request, response, None)

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """End the span as failed, with what is known of the partial answer."""
        self._end(request, error.partial if isinstance(error, LLMError) else None, error)

    def on_cancel(self, request: ModelRequest) -> None:
        """End the span."""
        self._end(request, None, None)

    def _end(self, request: ModelRequest, response: Response | None, error: Exception | None) -> None:
        with self._lock:
            span, started = self._open.pop(request)
        attributes = _common(request)
        if response is not None:
            span.set_attributes(_answered(response))
            if response.model:
                attributes["gen_ai.response.model"] = response.model
            if self._content:
                span.set_attribute("gen_ai.output.messages", _told([response.message], response.finish_reason))
            self._measure(response, attributes)
        if error is not None:
            attributes["error.type"] = type(error).__name__
            _fail(span, error)
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
    """A span "invoke_agent <agent>" of each turn, and "execute_tool <name>" of each tool call in it.

    `content` adds the tools' arguments and results.
    """
    tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation

    def operator(source: Observable[AssistantEvent]) -> Observable[AssistantEvent]:
        def subscribe(
            observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            span = tracer.start_span(f"invoke_agent {agent}", attributes=attributes)
            return _TurnTrace(tracer, span, observer, content).subscribe(source, scheduler)

        return Observable(subscribe)

    return operator


class _TurnTrace:
    """The spans of one turn."""

    def __init__(
        self, tracer: trace.Tracer, span: Span, observer: abc.ObserverBase[AssistantEvent], content: bool
    ) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span)
        self._observer = observer
        self._content = content
        self._tools: dict[str, Span] = {}
        self._lock = threading.Lock()
        self._ended = False

    def subscribe(self, source: Observable[AssistantEvent], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        # The turn's threads take over the context that it is subscribed in.
        token = context.attach(self._context)
        try:
            subscription = source.subscribe(self._on_next, self._on_error, self._on_completed, scheduler=scheduler)
        finally:
            context.detach(token)

        def dispose() -> None:
            subscription.dispose()
            self._end()

        return Disposable(dispose)

    def _on_next(self, event: AssistantEvent) -> None:
        kind = type(event)
        if kind is ToolStart or kind is ToolEnd or kind is StreamEnd:
            self._note(event)
        self._observer.on_next(event)

    def _on_error(self, error: Exception) -> None:
        _fail(self._span, error)
        self._end()
        self._observer.on_error(error)

    def _on_completed(self) -> None:
        self._end()
        self._observer.on_completed()

    def _note(self, event: AssistantEvent) -> None:
        match event:
            case ToolStart(call):
                self._tools[call.id] = self._tool_span(call)
            case ToolEnd(call, result):
                span = self._tools.pop(call.id, None) or self._tool_span(call)
                if result.is_error:
                    span.set_attribute("error.type", "tool_error")
                    span.set_status(StatusCode.ERROR, result.content if self._content else None)
                if self._content:
                    span.set_attribute("gen_ai.tool.call.result", result.content)
                span.end()
            case StreamEnd(response):
                self._span.set_attributes(_answered(response))
                if response.provider is not None:
                    self._span.set_attribute("gen_ai.provider.name", _provider(response.provider))
            case _:
                pass

    def _tool_span(self, call: ToolCall) -> Span:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.type": "function",
        }
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = encode(call.arguments).decode()
        return self._tracer.start_span(f"execute_tool {call.name}", self._context, attributes=attributes)

    def _end(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            for span in [*self._tools.values(), self._span]:
                span.end()


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


def _answered(response: Response) -> dict[str, AttributeValue]:
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


def _fail(span: Span, error: Exception) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR, str(error))


def _told(messages: Sequence[Message], finish_reason: FinishReason | None = None) -> str:
    """Messages in the conventions' own JSON form; that of an answer says how it ended."""
    ended = {} if finish_reason is None else {"finish_reason": _ENDINGS.get(finish_reason, finish_reason)}
    told = [{"role": message.role, "parts": [_part(part) for part in message.parts], **ended} for message in messages]
    return encode(told).decode()


def _part(part: Part) -> dict[str, object]:
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
