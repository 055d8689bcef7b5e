"""Events of a turn beside the model's token events: steps, tools, structured answers.

Grammar of every turn: ``(StepStart token-event* StepEnd tool-event*)* StreamEnd`` and then on_completed, or on_error
with an `LLMError`. The `StreamEnd` of a step becomes its `StepEnd`; the turn's one `StreamEnd` is the last event and
holds the last step's answer with the usage of all steps. A `StreamReset` voids its step only. A `UsageUpdate` counts
the turn so far. `index` distinguishes the calls of one step. A step with a call that is not JSON ends in an
`AnswerRejected` instead of a `StepEnd`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar, cast, get_args

import msgspec
from reactivex import Observable
from reactivex import operators as rx_ops

from .._json import encode
from .._json_values import json_data, type_name
from .._schema import decoder
from ..events import Response, TokenEvent
from ..messages import ToolCall, ToolResult

V_co = TypeVar("V_co", covariant=True)


class StepStart(msgspec.Struct, frozen=True, tag="step_start"):
    """A request to the model starts.

    Args:
        index: The number of the step in the turn, from 0.
    """

    index: int


class StepEnd(msgspec.Struct, frozen=True, tag="step_end"):
    """The model has answered. If it calls tools, they run now, and another step follows.

    Args:
        index: The number of the step in the turn, from 0.
        response: The answer.
    """

    index: int
    response: Response


class ApprovalRequest(msgspec.Struct, frozen=True, tag="approval_request"):
    """A call waits for `approve`. If it is refused, a `ToolEnd` with an error follows.

    Args:
        call: The call.
    """

    call: ToolCall


class ToolStart(msgspec.Struct, frozen=True, tag="tool_start"):
    """A tool starts. Its arguments are checked after this event.

    Args:
        call: The call, with the arguments as the model gave them.
    """

    call: ToolCall


class ToolProgress(msgspec.Struct, frozen=True, tag="tool_progress"):
    """A tool reports progress.

    Args:
        id: The id of the call.
        name: The name of the tool.
        value: The value that the tool reports.
    """

    id: str
    name: str
    value: object


class ToolEnd(msgspec.Struct, frozen=True, tag="tool_end"):
    """A call has its result, which may be an error (`result.is_error`).

    Args:
        call: The call.
        result: The result, as the model reads it.
        seconds: The time that the tool ran, without the wait for approval.
        refused: Whether `approve` refused the call, so that the tool did not run.
    """

    call: ToolCall
    result: ToolResult
    seconds: float
    refused: bool = False


class PartialAnswer(msgspec.Struct, Generic[V_co], frozen=True, tag="partial_answer"):
    """The structured answer so far.

    Args:
        value: A value of the `response_type`.
    """

    value: V_co


class AnswerRejected(msgspec.Struct, frozen=True, tag="answer_rejected"):
    """The answer is not of the type, or a call in it is not JSON. The model is asked again.

    Args:
        reason: What is wrong; the model reads it.
        text: The text of the answer.
    """

    reason: str
    text: str


class StructuredAnswer(msgspec.Struct, Generic[V_co], frozen=True, tag="structured_answer"):
    """The complete, valid structured answer; emitted once, before the `StreamEnd`.

    Args:
        value: A value of the `response_type`.
    """

    value: V_co


EventT = TypeVar("EventT")
V = TypeVar("V")

TypedEvent: TypeAlias = (
    TokenEvent
    | StepStart
    | StepEnd
    | ApprovalRequest
    | ToolStart
    | ToolProgress
    | ToolEnd
    | PartialAnswer[V]
    | AnswerRejected
    | StructuredAnswer[V]
)
"""What a turn with a `response_type` emits."""

AssistantEvent: TypeAlias = TypedEvent[object]
"""What any turn emits."""

_WITH_VALUE: tuple[type[msgspec.Struct], ...] = (ToolProgress, PartialAnswer, StructuredAnswer)
_TOKEN_EVENTS = frozenset(get_args(TokenEvent))
_decoder: msgspec.json.Decoder[AssistantEvent] = decoder(AssistantEvent)


def token_events() -> Callable[[Observable[AssistantEvent]], Observable[TokenEvent]]:
    """Keep the token events of a turn, for operators of `rxllm.operators`."""
    # The type of `filter` does not narrow.
    return cast("Callable[[Observable[AssistantEvent]], Observable[TokenEvent]]", rx_ops.filter(_is_token_event))


def assistant_event_to_json(event: AssistantEvent) -> str:
    """Return one event of a turn as one line of JSON.

    Args:
        event: The event. A value in it that cannot be written as JSON is replaced by the name of its type.

    >>> assistant_event_to_json(StepStart(0))
    '{"type":"step_start","index":0}'
    """
    return encode(with_json_value(event)).decode()


def assistant_event_from_json(text: str | bytes) -> AssistantEvent:
    """Return the event that `assistant_event_to_json` wrote. Values of tools and structured answers are JSON data.

    Args:
        text: The JSON text.

    Raises:
        ValueError: The text is not the JSON of an event.

    >>> assistant_event_from_json('{"type":"step_start","index":0}')
    StepStart(index=0)
    """
    return _decoder.decode(text)


def with_json_value(event: EventT) -> EventT:
    """Return the event with its `value`, if it has one, as JSON data (see `assistant_event_to_json`).

    Args:
        event: Any event.
    """
    if isinstance(event, _WITH_VALUE):
        value: object = getattr(event, "value", None)
        return msgspec.structs.replace(event, value=json_data(value, type_name))
    return event


def _is_token_event(event: AssistantEvent) -> bool:
    return type(event) in _TOKEN_EVENTS
