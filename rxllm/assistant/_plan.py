"""What a turn is made of: all that is settled before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..messages import Message, ToolResult
from ..model import StreamingModel
from ..options import CallOptions
from ._tool_run import ToolSettings
from .memory import Memory
from .structured import Structure


class TurnContext(msgspec.Struct, frozen=True):
    """What a system message may depend on: `history` are the messages to be sent, `question` the last of them."""

    conversation: str
    question: Message
    history: tuple[Message, ...]
    variables: Mapping[str, object]


System: TypeAlias = str | Callable[[TurnContext], str]


class Opening(msgspec.Struct, frozen=True):
    """What a turn goes on from: what was said, the user's last word in it, and an answer whose tools have not all run.

    `results` are those that its calls have already; where there is no `answer`, the model's turn it is.
    """

    said: tuple[Message, ...]
    question: Message
    answer: Message | None = None
    results: tuple[ToolResult, ...] = ()


def opening_of(conversation: Sequence[Message]) -> Opening:
    """How to go on with `conversation`; raises `ConfigurationError` where nobody has asked anything."""
    said = tuple(conversation)
    question = next((message for message in reversed(said) if message.role == "user"), None)
    if question is None:
        raise ConfigurationError("a turn begins with a message of the user's; there is none in the conversation")
    results: tuple[ToolResult, ...] = ()
    answer_at = len(said) - 1
    if said[answer_at].role == "tool":
        results = tuple(part for part in said[answer_at].parts if isinstance(part, ToolResult))
        answer_at -= 1
    answer = said[answer_at] if answer_at >= 0 else question
    if not {call.id for call in answer.tool_calls} - {result.id for result in results}:
        return Opening(said, question)
    return Opening(said[:answer_at], question, answer, results)


class Plan(msgspec.Struct, frozen=True):
    """What a turn is made of."""

    model: StreamingModel
    options: CallOptions
    settings: ToolSettings
    system: System | None
    variables: Mapping[str, object]
    memory: Memory | None
    conversation: str
    opening: Opening
    max_iterations: int
    keep_partial: bool
    structure: Structure | None
    max_corrections: int
