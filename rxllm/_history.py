"""Repair a conversation before it is sent: each tool call has its result right behind it, and each result its call.

Vendors refuse (HTTP 400) a call without its result, the reverse, and anything between the two. Conversations come out
of stores, windows and web clients, from turns that were interrupted or ran at the same time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from ._json import valid_text
from .messages import Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult

PartT = TypeVar("PartT", ToolCall, ToolResult)

CANCELLED = "The call was cancelled."
"""The result of a call that has none."""


def _drop(_: ToolResult) -> bool:
    return False


def repair_history(
    messages: Sequence[Message],
    *,
    keep_open: bool = False,
    new_id: Callable[[str], str] | None = None,
    keep_orphan: Callable[[ToolResult], bool] = _drop,
) -> Sequence[Message]:
    """Return the messages so that each answer with tool calls is followed by one message with all results, in order.

    Results are moved to their calls; a call without a result gets an error as its result; further results of a call
    are dropped. Without calls and results, the same object is returned.

    Args:
        messages: The conversation.
        keep_open: Whether calls of the last message (results apart) may lack results: they are still to run.
        new_id: Returns the id that a call and its result get for the id that the call has; default: another one if
            an earlier call has the same.
        keep_orphan: Returns whether a result without an earlier call stays where it is, or raises; default: it
            is dropped.

    >>> call = ToolCall("1", "add", {})
    >>> [message.role for message in repair_history([Message.assistant(call), Message.user("Well?")])]
    ['assistant', 'tool', 'user']
    """
    if not any(isinstance(part, ToolCall | ToolResult) for message in messages for part in message.parts):
        return messages
    new_id = new_id or partial(unique_id, used=set())
    answers = {at: _Answer(message, new_id) for at, message in enumerate(messages) if message.tool_calls}
    rests = _assign(messages, answers, keep_orphan)
    last = max((at for at in range(len(messages)) if at not in rests or at in answers), default=-1)
    return list(_repaired(messages, answers, rests, last if keep_open else -1))


def with_valid_text(message: Message) -> Message:
    """Return the message without surrogates that are no pair, which neither JSON nor a database takes."""
    said = (TextPart, ReasoningPart)
    parts = tuple(
        msgspec.structs.replace(part, text=valid_text(part.text)) if isinstance(part, said) else part
        for part in message.parts
    )
    return message if parts == message.parts else msgspec.structs.replace(message, parts=parts)


def unique_id(given: str, used: set[str]) -> str:
    """Return `given`, or an id made of it that is not in `used`; add it there."""
    number, name = 2, given or "call"
    while name in used:
        name = f"{given or 'call'}_{number}"
        number += 1
    used.add(name)
    return name


class _Answer:
    """The tool calls of a message, with new ids, and their results."""

    def __init__(self, message: Message, new_id: Callable[[str], str]) -> None:
        self.ids = [call.id for call in message.tool_calls]
        """The ids in the message, which may repeat."""
        self.calls = [with_id(call, new_id(call.id)) for call in message.tool_calls]
        self.results: list[ToolResult | None] = [None for _ in self.calls]

    def take(self, result: ToolResult) -> bool:
        """Take a result if a call waits for it."""
        for at, name in enumerate(self.ids):
            if name == result.id and self.results[at] is None:
                self.results[at] = with_id(result, self.calls[at].id)
                return True
        return False

    def message(self, rest: Message) -> Message:
        """Return the message with the ids of the calls."""
        calls = iter(self.calls)
        return with_parts(rest, [next(calls) if isinstance(part, ToolCall) else part for part in rest.parts])

    def all_results(self, *, complete: bool) -> list[ToolResult]:
        """Return the results in the order of the calls; if `complete`, with an error for each one that is missing."""
        results = zip(self.calls, self.results, strict=True)
        return [
            result or ToolResult(call.id, CANCELLED, call.name, is_error=True)
            for call, result in results
            if complete or result is not None
        ]


def _assign(
    messages: Sequence[Message], answers: dict[int, _Answer], keep_orphan: Callable[[ToolResult], bool]
) -> dict[int, Message]:
    """Give each result to the newest answer before it that waits for it.

    Return what is left of the messages that hold results, by position.
    """
    before: list[_Answer] = []
    rests: dict[int, Message] = {}
    for at, message in enumerate(messages):
        if at in answers:
            before.insert(0, answers[at])
        kept: list[Part] = []
        for part in message.parts:
            if not isinstance(part, ToolResult):
                kept.append(part)
            elif any(answer.take(part) for answer in before) or any(part.id in answer.ids for answer in before):
                pass
            elif keep_orphan(part):
                kept.append(part)
        if any(isinstance(part, ToolResult) for part in message.parts):
            rests[at] = with_parts(message, kept)
    return rests


def _repaired(
    messages: Sequence[Message], answers: dict[int, _Answer], rests: dict[int, Message], open_at: int
) -> Iterator[Message]:
    """Yield the messages, each answer with all its results behind it."""
    for at, message in enumerate(messages):
        rest = rests.get(at, message)
        if at in answers:
            yield answers[at].message(rest)
            if given := answers[at].all_results(complete=at != open_at):
                yield Message.tool(*given)
        elif rest.parts or at not in rests:
            yield rest


def with_id(part: PartT, name: str) -> PartT:
    return part if part.id == name else msgspec.structs.replace(part, id=name)


def with_parts(message: Message, parts: Sequence[Part]) -> Message:
    unchanged = len(parts) == len(message.parts) and all(map(operator.is_, parts, message.parts))
    return message if unchanged else msgspec.structs.replace(message, parts=tuple(parts))
