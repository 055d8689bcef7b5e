"""A user's program: what the type checkers must infer of it, without a cast and without `Any`.

Checked by mypy and pyright, both strict; see `[tool.mypy]` and `[tool.pyright]`.
"""

from __future__ import annotations

from typing import assert_never, assert_type

import reactivex as rx
from reactivex import Observable
from reactivex import abc as rx_abc
from reactivex import operators as rx_ops

import rxllm
from rxllm import batch
from rxllm import operators as ops
from rxllm.assistant import Assistant, AssistantEvent, PartialAnswer, StructuredAnswer

model = rxllm.create_streaming_model("openai", model="gpt-5.4-mini", temperature=0.2, stop=["\n"])
assert_type(model, rxllm.StreamingModel)

events = model.stream("Hello", max_tokens=10, timeout=rxllm.Timeout(idle=5))
assert_type(events, Observable[rxllm.TokenEvent])
assert_type(model.chat("Hello"), rxllm.Response)
assert_type(model.chat("Hello").usage.total_tokens, int | None)

assert_type(events.pipe(ops.text()), Observable[str])
assert_type(events.pipe(ops.reasoning()), Observable[str])
assert_type(events.pipe(ops.response()), Observable[rxllm.Response])


def length(piece: str) -> int:
    """A user's own step."""
    return len(piece)


assert_type(events.pipe(ops.text(), rx_ops.map(length)), Observable[int])
assert_type(events.pipe(ops.text(), rx_ops.buffer_with_count(3)), Observable[list[str]])
assert_type(events.pipe(ops.retry_transient(), ops.text()), Observable[str])

stop: rx.Subject[None] = rx.Subject()
until: Observable[rxllm.TokenEvent] = events.pipe(rx_ops.take_until(stop))

subscription = rxllm.stream_chat(
    model,
    [rxllm.Message.user("Look", rxllm.ImagePart(url="https://example.com/a.png"))],
    on_token=print,
    on_complete=lambda response: print(response.usage.total_tokens),
    on_error=lambda error: print(error.partial),
)
assert_type(subscription, rx_abc.DisposableBase)


def describe(event: rxllm.TokenEvent) -> str:
    """All kinds of events, so that a new one is found by the type checker."""
    match event:
        case rxllm.TextDelta(text) | rxllm.ReasoningDelta(text):
            return text
        case rxllm.ToolCallStart(name=name):
            return name
        case rxllm.ToolCallDelta(arguments=arguments):
            return arguments
        case rxllm.ToolCallEnd(call=call):
            return f"{call.name}({call.arguments})"
        case rxllm.UsageUpdate(usage):
            return str(usage.output_tokens)
        case rxllm.VendorEvent(name, data):
            return f"{name}: {data}"
        case rxllm.StreamStart() | rxllm.StreamReset():
            return ""
        case rxllm.StreamEnd(response):
            return response.text
        case _:
            assert_never(event)


def settled(event: batch.BatchEvent) -> str:
    """What a batch emits, all kinds."""
    match event:
        case batch.AnswerRow(response=response):
            return response.text
        case batch.FailureRow(error=error):
            return error
        case batch.BatchProgress(eta=eta):
            return str(eta)
        case _:
            assert_never(event)


assert_type(batch.map_prompts(["a", "b"], "openai:gpt-5.4-mini", checkpoint="job"), Observable[batch.BatchEvent])
described = batch.ModelSpec("openai", model="gpt-5.4-mini", response_format=list[str])
rows: list[dict[str, str]] = [{"id": "a", "text": "hi"}]
batch.map_prompts(rows, described, checkpoint="job", prompt="text", key="id", max_retries=3)
batch.map_prompts(lambda: (str(n) for n in range(9)), lambda: model, checkpoint="job", total=9)
assert_type(list(batch.read_rows("job")), list[batch.Row])

assistant = Assistant(model)
for turn_event in rxllm.iter_events(assistant.stream("Hello", response_type=list[int])):
    if isinstance(turn_event, PartialAnswer | StructuredAnswer):
        assert_type(turn_event.value, list[int])
for plain_event in rxllm.iter_events(assistant.stream("Hello")):
    if isinstance(plain_event, StructuredAnswer):
        assert_type(plain_event.value, object)
turns: Observable[AssistantEvent] = assistant.stream("Hello", response_type=dict[str, int])
assert_type(assistant.chat("Hello", response_type=dict[str, int]), dict[str, int])
assert_type(assistant.chat("Hello"), rxllm.Response)
