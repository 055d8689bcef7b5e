"""What a turn is made of: all that is settled before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec
import reactivex as rx
from reactivex import Observable

from ..errors import LLMError
from ..messages import Message
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


class Plan(msgspec.Struct, frozen=True):
    """What a turn is made of."""

    model: StreamingModel
    options: CallOptions
    settings: ToolSettings
    system: System | None
    variables: Mapping[str, object]
    memory: Memory | None
    conversation: str
    question: Message
    max_iterations: int
    keep_partial: bool
    structure: Structure | None
    max_corrections: int

    def recall(self) -> Observable[tuple[Message, ...]]:
        """What is to be sent; raises and emits `LLMError`s."""
        if self.memory is None:
            return rx.just((self.question,))
        try:
            return self.memory.recall(self.conversation, self.question)
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
