"""What a turn is made of: all that is settled before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from ..messages import Message
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
