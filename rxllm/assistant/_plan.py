"""What a turn is made of: all that is settled before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec
import reactivex as rx
from reactivex import Observable

from ..errors import ConfigurationError, LLMError
from ..messages import Message, ToolResult
from ..model import StreamingModel
from ..options import CallOptions
from ._tool_run import ToolSettings
from .errors import MemoryStoreError
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

    def recall(self) -> Observable[tuple[Message, ...]]:
        """What is to be sent; raises and emits `LLMError`s."""
        if self.memory is None:
            return rx.just(self.opening.said)
        try:
            return self.memory.recall(self.conversation, self.opening.question)
        except Exception as error:
            raise _store_error("read", error) from error

    def keep(self, messages: Sequence[Message]) -> None:
        """Write the turn to the memory; a question without anything after it is not kept. Raises `LLMError`s."""
        if self.memory is None or len(messages) < 2:
            return
        try:
            self.memory.add(self.conversation, messages)
        except Exception as error:
            raise _store_error("written", error) from error


def _store_error(what: str, error: Exception) -> LLMError:
    if isinstance(error, LLMError):
        return error
    return MemoryStoreError(f"the conversation could not be {what}: {type(error).__name__}: {error}")
