"""What clients ask for, narrowed: which model, which messages, which options they may set.

A client chooses among the models that the server offers and sets what shapes an answer; never
keys, addresses, headers, time limits or raw bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import msgspec
from reactivex import Observable

from .._json import is_object
from ..errors import ConfigurationError, NotFoundError
from ..messages import Message, ToolCall
from ..model import StreamingModel
from ..options import CallOptions, ReasoningEffort
from ..prompt import Prompt, messages_of
from .approvals import Approvals


@dataclass(frozen=True)
class ChatRequest:
    """What a client asked: a conversation, the model's name as this server offers it, and options.

    `approve` is for an assistant: it asks the client whether a tool call may run. A client that
    answers with a new request (`useChat`) sends a conversation that ends in an answer whose calls lack
    results: ``Assistant(..., approve=request.approve).stream(request.messages)`` goes on with it.
    """

    model: str
    messages: tuple[Message, ...]
    options: CallOptions = field(default_factory=CallOptions)
    approvals: Approvals = field(default_factory=Approvals)

    def approve(self, call: ToolCall) -> Observable[bool | str]:
        """Whether the client lets `call` run: one item, when it has answered; text is the reason why not."""
        return self.approvals.ask(call.id)


AnswerFunction: TypeAlias = Callable[[ChatRequest], Observable[object]]
"""What answers: from a request to a stream of token events, or of an assistant's."""

Offer: TypeAlias = StreamingModel | AnswerFunction


class _Settings(msgspec.Struct, frozen=True):
    """The options a client may set, under the names that this package and OpenAI's API share."""

    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    reasoning: ReasoningEffort | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None
    response_format: str | dict[str, object] | None = None


def options_of(body: Mapping[str, object]) -> CallOptions:
    """The options in a request's body; raises `ConfigurationError` where one is not what it should be.

    >>> options_of({"temperature": 0.5, "max_completion_tokens": 9, "base_url": "http://evil.example"})
    {'temperature': 0.5, 'max_tokens': 9}
    """
    try:
        said = msgspec.convert(body, _Settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"the request's options: {error}") from error
    options: dict[str, object] = {
        "temperature": said.temperature,
        "max_tokens": said.max_completion_tokens if said.max_tokens is None else said.max_tokens,
        "top_p": said.top_p,
        "frequency_penalty": said.frequency_penalty,
        "presence_penalty": said.presence_penalty,
        "stop": said.stop,
        "seed": said.seed,
        "reasoning": said.reasoning or said.reasoning_effort,
        "tools": said.tools or None,
        "tool_choice": _choice(said.tool_choice),
        "response_format": _format(said.response_format),
    }
    return cast("CallOptions", {name: value for name, value in options.items() if value is not None})


def conversation(body: Mapping[str, object]) -> tuple[Message, ...]:
    """The messages in a request's body: "messages", or a "prompt" of text."""
    said = body.get("messages", body.get("prompt"))
    return messages_of(cast(Prompt, said))  # which looks at it itself


def answer_of(offer: Offer, request: ChatRequest) -> Observable[object]:
    """The stream that `offer` answers with; not asked before it is subscribed to."""
    if isinstance(offer, StreamingModel):
        return cast("Observable[object]", offer.stream(request.messages, **request.options))
    return offer(request)


def offered(offers: Mapping[str, Offer], name: object) -> tuple[str, Offer]:
    """The model of this name, the first where none is named; raises `NotFoundError` where there is none."""
    wanted = next(iter(offers)) if name is None or name == "" else name
    if isinstance(wanted, str) and wanted in offers:
        return wanted, offers[wanted]
    raise NotFoundError(f"this server offers no model {name!r}; it offers {', '.join(offers)}", status_code=404)


def _choice(value: str | dict[str, object] | None) -> str | None:
    if not isinstance(value, dict):
        return value
    function = value.get("function")
    name = function.get("name") if is_object(function) else None
    if not isinstance(name, str):
        raise ConfigurationError("tool_choice is a word, or names a function")
    return name


def _format(value: str | dict[str, object] | None) -> object:
    """The answer's format: "json" or a schema, in our form or OpenAI's."""
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        return value
    if value["type"] == "text":
        return None
    wrapped = value.get("json_schema")
    schema = wrapped.get("schema") if is_object(wrapped) else None
    return schema if is_object(schema) else "json"
