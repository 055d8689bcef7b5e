"""What a turn says beside the model's own token events: its steps, its tools, its structured answer.

Grammar of every turn: ``(StepStart token-event* StepEnd tool-event*)* StreamEnd`` and then on_completed,
or on_error with an `LLMError`. The `StreamEnd` of a step is told as its `StepEnd`; the turn's one
`StreamEnd` comes last and holds the last step's answer with the usage of all of them. A `StreamReset`
voids its step only, a `UsageUpdate` counts the turn so far, an index tells the calls of one step apart.
A step whose call was no JSON ends in an `AnswerRejected` in the place of its `StepEnd`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast, get_args

import msgspec
from reactivex import Observable
from reactivex import operators as rx_ops

from ..events import Response, TokenEvent
from ..messages import ToolCall, ToolResult


class StepStart(msgspec.Struct, frozen=True, tag="step_start"):
    """The model is asked; `index` counts the steps of the turn from 0."""

    index: int


class StepEnd(msgspec.Struct, frozen=True, tag="step_end"):
    """The model has answered; if it asks for tools, they run now, and a step follows."""

    index: int
    response: Response


class ApprovalRequest(msgspec.Struct, frozen=True, tag="approval_request"):
    """A call waits for `approve`; if it is refused, a `ToolEnd` with an error follows."""

    call: ToolCall


class ToolStart(msgspec.Struct, frozen=True, tag="tool_start"):
    """A tool begins to run; the arguments are as the model gave them, and checked now."""

    call: ToolCall


class ToolProgress(msgspec.Struct, frozen=True, tag="tool_progress"):
    """A tool tells how it gets on; `id` is its call's."""

    id: str
    name: str
    value: object


class ToolEnd(msgspec.Struct, frozen=True, tag="tool_end"):
    """A call has its result, which may be an error (`result.is_error`); `seconds` from its start, approval apart.

    `refused` where the tool has not run, as `approve` did not let it.
    """

    call: ToolCall
    result: ToolResult
    seconds: float
    refused: bool = False


class PartialAnswer(msgspec.Struct, frozen=True, tag="partial_answer"):
    """The structured answer as far as it has come: a value of the type that was asked for."""

    value: object


class AnswerRejected(msgspec.Struct, frozen=True, tag="answer_rejected"):
    """The answer was not of the type, or a call in it no JSON; the model is asked again, and told `reason`."""

    reason: str
    text: str


class StructuredAnswer(msgspec.Struct, frozen=True, tag="structured_answer"):
    """The whole structured answer, valid; comes once, before the `StreamEnd`."""

    value: object


AssistantEvent: TypeAlias = (
    TokenEvent
    | StepStart
    | StepEnd
    | ApprovalRequest
    | ToolStart
    | ToolProgress
    | ToolEnd
    | PartialAnswer
    | AnswerRejected
    | StructuredAnswer
)

_TOKEN_EVENTS = frozenset(get_args(TokenEvent))
_decoder: msgspec.json.Decoder[AssistantEvent] = msgspec.json.Decoder(AssistantEvent)


def token_events() -> Callable[[Observable[AssistantEvent]], Observable[TokenEvent]]:
    """Keep the token events of a turn: what the operators of `rxllm.operators` are typed for."""

    def operator(source: Observable[AssistantEvent]) -> Observable[TokenEvent]:
        # `filter` cannot say that it narrows.
        return cast("Observable[TokenEvent]", source.pipe(rx_ops.filter(_is_token_event)))

    return operator


def assistant_event_to_json(event: AssistantEvent) -> str:
    """One event of a turn as one line of JSON; values that JSON cannot hold are told by their `str`.

    >>> assistant_event_to_json(StepStart(0))
    '{"type":"step_start","index":0}'
    """
    return msgspec.json.encode(event, enc_hook=str).decode()


def assistant_event_from_json(text: str | bytes) -> AssistantEvent:
    """The event that `assistant_event_to_json` wrote; raises `ValueError` on other JSON.

    Values of tools and structured answers come as JSON's own types.

    >>> assistant_event_from_json('{"type":"step_start","index":0}')
    StepStart(index=0)
    """
    return _decoder.decode(text)


def _is_token_event(event: AssistantEvent) -> bool:
    return type(event) in _TOKEN_EVENTS
