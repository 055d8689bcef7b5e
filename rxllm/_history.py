"""Repair a conversation before it is sent: each tool call has its result right behind it, and each result its call.

Vendors refuse (HTTP 400) a call without its result, the reverse, and anything between the two. Conversations come out
of stores, windows and web clients, from turns that were interrupted or ran at the same time.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from ._json import valid_text
from .messages import Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult

PartT = TypeVar("PartT", ToolCall, ToolResult)

CANCELLED = "The call was cancelled."


def repair_history(
    messages: Sequence[Message],
    *,
    keep_open: bool = False,
    new_id: Callable[[str], str] | None = None,
    keep_orphan: Callable[[ToolResult], bool] = lambda _: False,
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
    calls: defaultdict[int, list[_Call]] = defaultdict(list)
    """By the place of the message that makes them."""
    waiting: dict[str, list[_Call]] = {}
    """By the id in the messages, which may repeat."""
    rests: list[Message] = []
    for at, message in enumerate(messages):
        kept: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                call = _Call(at, with_id(part, new_id(part.id)))
                calls[at].append(call)
                waiting.setdefault(part.id, []).append(call)
                kept.append(call.call)
            elif not isinstance(part, ToolResult):
                kept.append(part)
            elif part.id in waiting:
                _take(part, waiting[part.id])
            elif keep_orphan(part):
                kept.append(part)
        rests.append(with_parts(message, kept))
    asks = [at for at, message in enumerate(messages) if at in calls or not _has_results(message)]
    open_at = max(asks, default=-1) if keep_open else -1
    return list(_repaired(messages, rests, calls, open_at))


def with_valid_text(message: Message) -> Message:
    """Return the message without unpaired surrogates, which neither JSON nor a database takes."""
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


class _Call:
    """A call with its new id, the place of its message, and its result."""

    def __init__(self, at: int, call: ToolCall) -> None:
        self.at = at
        self.call = call
        self.result: ToolResult | None = None


def _take(result: ToolResult, waiting: list[_Call]) -> None:
    """Give a result to the first call of the newest answer that waits for one; drop it if none does."""
    if waiting:
        newest = next(call for call in waiting if call.at == waiting[-1].at)
        newest.result = with_id(result, newest.call.id)
        waiting.remove(newest)


def _has_results(message: Message) -> bool:
    return any(isinstance(part, ToolResult) for part in message.parts)


def _repaired(
    messages: Sequence[Message], rests: Sequence[Message], calls: Mapping[int, Sequence[_Call]], open_at: int
) -> Iterator[Message]:
    """Yield what is left of the messages, each answer with all its results behind it, but at `open_at`."""
    for at, (message, rest) in enumerate(zip(messages, rests, strict=True)):
        if rest.parts or not _has_results(message):
            yield rest
        results = [
            one.result or cancelled(one.call) for one in calls.get(at, ()) if one.result is not None or at != open_at
        ]
        if results:
            yield Message.tool(*results)


def cancelled(call: ToolCall) -> ToolResult:
    """Return the result of a call that has none."""
    return ToolResult(call.id, CANCELLED, call.name, is_error=True)


def with_id(part: PartT, name: str) -> PartT:
    return part if part.id == name else msgspec.structs.replace(part, id=name)


def with_parts(message: Message, parts: Sequence[Part]) -> Message:
    unchanged = len(parts) == len(message.parts) and all(map(operator.is_, parts, message.parts))
    return message if unchanged else msgspec.structs.replace(message, parts=tuple(parts))
