"""The settings and the input of a turn: everything that is fixed before it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, cast

import msgspec
import reactivex as rx
from reactivex import Observable, abc

from .._core.error_format import error_text
from .._history import repair_history, with_valid_text
from ..errors import ConfigurationError, LLMError
from ..messages import Message, ToolCall, ToolResult
from ..model import StreamingModel
from ..options import CallOptions
from ._await_value import AsyncioLoop
from .memory import Memory, store_errors
from .structured import Structure
from .tools import RunnableTool


class TurnContext(msgspec.Struct, frozen=True):
    """What a function given as `system` may use.

    Args:
        conversation: The conversation of the turn.
        question: The user's message.
        history: The messages to be sent; the question is the last.
        variables: The variables given to `Assistant.stream`.
    """

    conversation: str
    question: Message
    history: tuple[Message, ...]
    variables: Mapping[str, object]


System: TypeAlias = str | Callable[[TurnContext], str]
"""The system message: a template, or a function that returns the text."""

Approve: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str] | Observable[bool | str]]
"""Decides whether a tool call may run: True allows it, a text is the reason for the refusal, which the model reads.

It is called on its own thread, so it may block. Several calls may be decided at the same time.
"""


class AssistantSettings(msgspec.Struct, frozen=True):
    """The settings of an assistant, checked; see `Assistant`."""

    model: StreamingModel
    system: System | None
    tools: Mapping[str, RunnableTool]
    memory: Memory | None
    max_iterations: int
    approve: Approve | None
    tool_timeout: float | None
    keep_partial: bool
    scheduler: abc.SchedulerBase | None
    options: CallOptions
    loop: AsyncioLoop


class TurnInput(msgspec.Struct, frozen=True):
    """The conversation that a turn continues.

    `answer` is an answer at its end with tool calls that have not all run, `results` are those that exist.
    """

    messages: tuple[Message, ...]
    question: Message
    answer: Message | None = None
    results: tuple[ToolResult, ...] = ()


def conversation_input(conversation: Sequence[Message]) -> TurnInput:
    """Return the input of a turn that continues `conversation`; raise `ConfigurationError` if it has no question."""
    messages = tuple(map(with_valid_text, repair_history(conversation, keep_open=True)))
    question = next((message for message in reversed(messages) if message.role == "user"), None)
    if question is None:
        raise ConfigurationError("a turn needs a message of the user; the conversation has none")
    results: tuple[ToolResult, ...] = ()
    answer_at = len(messages) - 1
    if messages[answer_at].role == "tool":
        results = tuple(part for part in messages[answer_at].parts if isinstance(part, ToolResult))
        answer_at -= 1
    answer = messages[answer_at]
    if {call.id for call in answer.tool_calls} <= {result.id for result in results}:
        return TurnInput(messages, question)
    return TurnInput(messages[:answer_at], question, answer, results)


class TurnRequest(msgspec.Struct, frozen=True):
    """One turn: the assistant's settings, and what was given for this turn. `options` are those of all its requests."""

    settings: AssistantSettings
    options: CallOptions
    system: System | None
    variables: Mapping[str, object]
    conversation: str
    input: TurnInput
    structure: Structure | None
    max_corrections: int

    def first_messages(self, recalled: tuple[Message, ...]) -> list[Message]:
        """Return the messages of the first step: all instructions as one system message, then the repaired history."""
        instructions = [self._system_text(recalled), None if self.structure is None else self.structure.instructions]
        instructions += [message.text for message in recalled if message.role == "system"]
        text = "\n\n".join(filter(None, instructions))
        history = repair_history([message for message in recalled if message.role != "system"])
        return [*([Message.system(text)] if text else ()), *history]

    def _system_text(self, recalled: tuple[Message, ...]) -> str | None:
        """Return the system message: the text, or what the user's function returns."""
        if not callable(self.system):
            return self.system
        try:
            context = TurnContext(self.conversation, self.input.question, recalled, self.variables)
            text = cast("object", self.system(context))  # what the user's function really returned
        except LLMError:
            raise
        except BaseException as error:
            raise ConfigurationError(f"the function given as system= failed: {error_text(error)}") from error
        if text is None or isinstance(text, str):
            return text
        raise ConfigurationError(f"the function given as system= returns text; got {text!r}")

    def recall(self) -> Observable[tuple[Message, ...]]:
        """Return an Observable of the messages to send. Raises and emits `LLMError`s."""
        if self.settings.memory is None:
            return rx.just(self.input.messages)
        with store_errors("read"):
            return self.settings.memory.recall(self.conversation, self.input.question)

    def save(self, messages: Sequence[Message]) -> None:
        """Write the turn to the memory, unless it is only the question. Raises `LLMError`s."""
        if self.settings.memory is not None and len(messages) >= 2:
            with store_errors("written"):
                self.settings.memory.add(self.conversation, [*map(with_valid_text, messages)])
