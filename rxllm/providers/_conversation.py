"""A conversation as every vendor takes it: each tool call has its result right behind it, and media it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .._history import repair_history
from ..errors import ConfigurationError
from ..messages import MediaPart, Message, Part, TextPart, ToolResult


def with_results_behind_calls(messages: Sequence[Message], provider: str | None = None) -> Sequence[Message]:
    """Return the messages with each tool result moved behind its call, and an error result if there is none.

    Calls in the last message stay open. With a `provider`, a result without a call raises
    `ConfigurationError`; without, it stays where it is.

    >>> from rxllm.messages import ToolCall
    >>> asked = [Message.assistant(ToolCall("c1", "now", {})), Message.user("Well?")]
    >>> [message.role for message in with_results_behind_calls(asked)]
    ['assistant', 'tool', 'user']
    """

    def keep_orphan(result: ToolResult) -> bool:
        if provider is not None:
            raise ConfigurationError(
                f"{provider!r}: the tool result {result.id!r} answers no tool call before it; "
                "leave it out, or keep the call",
                provider=provider,
            )
        return True

    keep_open = bool(messages and messages[-1].tool_calls)
    return repair_history(messages, keep_open=keep_open, distinct_ids=False, keep_orphan=keep_orphan)


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
