"""A conversation as every vendor takes it: each tool call has its result, right behind it.

Vendors refuse a call without a result, a result without its call, and anything between the two. All of
these happen: a tool run is interrupted, a user speaks while a tool runs, a memory is trimmed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import msgspec

from ..errors import ConfigurationError
from ..messages import MediaPart, Message, Part, TextPart, ToolResult

NO_RESULT = "There is no result: the tool run was interrupted."


def with_results_behind_calls(messages: Sequence[Message], provider: str | None = None) -> Sequence[Message]:
    """Return the messages with each tool result moved behind its call, and an error result if there is none.

    Calls in the last message stay open. With a `provider`, a result without a call raises
    `ConfigurationError`; without, it stays where it is.

    >>> from rxllm.messages import ToolCall
    >>> asked = [Message.assistant(ToolCall("c1", "now", {})), Message.user("Well?")]
    >>> [message.role for message in with_results_behind_calls(asked)]
    ['assistant', 'tool', 'user']
    """
    if not any(message.tool_calls or _results(message) for message in messages):
        return messages
    result: list[Message] = []
    for index, message in enumerate(messages):
        calls = message.tool_calls
        if _results(message):
            rest = _without_results(message, messages, index, provider)
            result += [rest] if rest is not None else []
        else:
            result.append(message)
        if calls and index + 1 < len(messages):
            found = _results_of(messages, index)
            behind = [
                found[call.id].popleft() if found[call.id] else ToolResult(call.id, NO_RESULT, call.name, is_error=True)
                for call in calls
            ]
            result.append(Message.tool(*behind))
    return result


def with_media_behind_results(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with the images and files of tool results in a user message behind them.

    For wires that take only text in a tool result.
    """
    if not any(result.media for message in messages for result in _results(message)):
        return messages
    result: list[Message] = []
    for message in messages:
        parts = tuple(
            msgspec.structs.replace(part, media=()) if isinstance(part, ToolResult) else part for part in message.parts
        )
        result.append(msgspec.structs.replace(message, parts=parts))
        given = [one for one in _results(message) if one.media]
        media = [part for one in given for part in (TextPart(f"From the tool {one.name or one.id}:"), *one.media)]
        result += [Message("user", tuple(media))] if media else []
    return result


def media_note(part: MediaPart) -> str:
    """Return the text that stands for a part of a tool result that the vendor does not take."""
    size = "" if part.data is None else f", {len(part.data):,} bytes"
    return f"[{part.media_type or 'a file'}{size}: this model cannot be given it]"


def with_supported_media(messages: Sequence[Message], encode: Callable[[MediaPart], object]) -> Sequence[Message]:
    """Return the messages with a note for each part of a tool result for which `encode` raises `ConfigurationError`."""
    if not any(result.media for message in messages for result in _results(message)):
        return messages

    def supported(part: MediaPart) -> bool:
        try:
            encode(part)
        except ConfigurationError:
            return False
        return True

    def checked(part: Part) -> Part:
        if not isinstance(part, ToolResult) or not part.media:
            return part
        notes = [media_note(one) for one in part.media if not supported(one)]
        content = "\n".join(filter(None, [part.content, *notes]))
        return msgspec.structs.replace(part, content=content, media=tuple(filter(supported, part.media)))

    return [msgspec.structs.replace(message, parts=tuple(map(checked, message.parts))) for message in messages]


def _results(message: Message) -> list[ToolResult]:
    return [part for part in message.parts if isinstance(part, ToolResult)]


def _results_of(messages: Sequence[Message], index: int) -> defaultdict[str, deque[ToolResult]]:
    """Return the results that follow the calls of a message, up to the next answer with calls, by id."""
    found: defaultdict[str, deque[ToolResult]] = defaultdict(deque)
    answer_over = False
    for message in messages[index + 1 :]:
        answer_over = answer_over or message.role != "assistant"
        if message.tool_calls and answer_over:
            break
        for result in _results(message):
            found[result.id].append(result)
    return found


def _called_before(messages: Sequence[Message], index: int) -> set[str]:
    """Return the ids of the calls of the answer before a message; it may be several messages of the assistant."""
    ids: set[str] = set()
    for message in reversed(messages[:index]):
        if ids and message.role != "assistant":
            break
        ids |= {call.id for call in message.tool_calls}
    return ids


def _without_results(message: Message, messages: Sequence[Message], index: int, provider: str | None) -> Message | None:
    """Return the message without the results that stand behind their calls already; None if nothing is left."""
    ids = _called_before(messages, index)
    orphans = [result for result in _results(message) if result.id not in ids]
    if orphans and provider is not None:
        raise ConfigurationError(
            f"{provider!r}: the tool result {orphans[0].id!r} answers no tool call of the message before it; "
            "leave it out, or keep the call",
            provider=provider,
        )
    parts = tuple(part for part in message.parts if not isinstance(part, ToolResult) or part in orphans)
    return msgspec.structs.replace(message, parts=parts) if parts else None
