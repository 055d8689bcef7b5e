"""Repair a conversation before it is sent: vendors refuse (HTTP 400) a tool call without its result, and the reverse.

Conversations come out of stores, windows and web clients, from turns that were interrupted or ran at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from .._json import valid_text
from ..messages import Message, Part, TextPart, ToolCall, ToolResult

PartT = TypeVar("PartT", ToolCall, ToolResult)

CANCELLED = "The call was cancelled."
"""The result of a call that has none."""


def repair_history(messages: Sequence[Message], *, keep_open: bool = False) -> list[Message]:
    """Return the messages so that each answer with tool calls is followed by one message with all results, in order.

    Results are moved to their calls; a call without a result gets an error as its result; a result without a call is
    dropped; calls get distinct ids. With `keep_open`, calls of the last message (results apart) may lack results: they
    are still to run.

    >>> call = ToolCall("1", "add", {})
    >>> [message.role for message in repair_history([Message.assistant(call), Message.user("Well?")])]
    ['assistant', 'tool', 'user']
    """
    used: set[str] = set()
    answers = {at: _Answer(message, used) for at, message in enumerate(messages) if message.tool_calls}
    results = {at for at, message in enumerate(messages) if any(isinstance(part, ToolResult) for part in message.parts)}
    if not answers and not results:
        return list(messages)
    _assign(messages, answers)
    last = max((at for at in range(len(messages)) if at not in results), default=-1)
    return list(_repaired(messages, answers, results, last if keep_open else -1))


def with_valid_text(message: Message) -> Message:
    """Return the message without surrogates that are no pair, which neither JSON nor a database takes."""
    parts = tuple(
        msgspec.structs.replace(part, text=valid_text(part.text)) if isinstance(part, TextPart) else part
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
    """A message with tool calls, with distinct ids, and the results that belong to them."""

    def __init__(self, message: Message, used: set[str]) -> None:
        parts: list[Part] = []
        self.open: dict[str, deque[str]] = {}
        """New ids of the calls that have no result yet, by the id in the message, which may repeat."""
        for part in message.parts:
            if isinstance(part, ToolCall):
                name = unique_id(part.id, used)
                self.open.setdefault(part.id, deque()).append(name)
                parts.append(with_id(part, name))
            else:
                parts.append(part)
        self.message = msgspec.structs.replace(message, parts=tuple(parts))
        self.results: dict[str, ToolResult] = {}

    def take(self, result: ToolResult) -> bool:
        """Take a result if a call waits for it."""
        names = self.open.get(result.id)
        if not names:
            return False
        name = names.popleft()
        self.results[name] = with_id(result, name)
        return True

    def all_results(self, *, complete: bool) -> list[ToolResult]:
        """Return the results in the order of the calls; if `complete`, with an error for each one that is missing."""
        return [
            self.results.get(call.id) or ToolResult(call.id, CANCELLED, call.name, is_error=True)
            for call in self.message.tool_calls
            if complete or call.id in self.results
        ]


def _assign(messages: Sequence[Message], answers: dict[int, _Answer]) -> None:
    """Give each result to the newest answer before it that waits for it."""
    before: list[_Answer] = []
    for at, message in enumerate(messages):
        if at in answers:
            before.append(answers[at])
        for part in message.parts:
            if isinstance(part, ToolResult):
                any(answer.take(part) for answer in reversed(before))


def _repaired(
    messages: Sequence[Message], answers: dict[int, _Answer], results: Iterable[int], open_at: int
) -> Iterator[Message]:
    for at, message in enumerate(messages):
        if at in answers:
            yield answers[at].message
            if given := answers[at].all_results(complete=at != open_at):
                yield Message.tool(*given)
        elif at in results:
            rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
            if rest:
                yield msgspec.structs.replace(message, parts=rest)
        else:
            yield message


def with_id(part: PartT, name: str) -> PartT:
    return part if part.id == name else msgspec.structs.replace(part, id=name)
