"""A conversation as every vendor takes it: calls with valid ids and their results right behind them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import msgspec

from .._history import repair_history
from ..errors import ConfigurationError
from ..messages import MediaPart, Message, Part, TextPart, ToolResult
from ._request import unsupported_part


def with_results_behind_calls(
    messages: Sequence[Message], provider: str | None = None, call_ids: str | None = None
) -> Sequence[Message]:
    """Return the messages with each tool result moved behind its call, and an error result if there is none.

    Calls in the last message stay open. With a `provider`, a result without a call raises `ConfigurationError`;
    without, it stays where it is. With a pattern `call_ids`, calls whose ids do not match it, or are an earlier
    call's, get other ids, and so do their results.

    >>> from rxllm.messages import ToolCall
    >>> asked = [Message.assistant(ToolCall("functions.now:0", "now", {})), Message.user("Well?")]
    >>> messages = with_results_behind_calls(asked, call_ids="[a-z0-9]+")
    >>> [message.role for message in messages], messages[0].tool_calls[0].id
    (['assistant', 'tool', 'user'], '01eb9ec25')
    """

    def keep_orphan(result: ToolResult) -> bool:
        """Return True: the result stays; raise if the vendor refuses a result without its call."""
        if provider is not None:
            raise ConfigurationError(
                f"{provider!r}: the tool result {result.id!r} answers no tool call before it; "
                "leave it out, or keep the call",
                provider=provider,
            )
        return True

    keep_open = bool(messages and messages[-1].tool_calls)
    new_id = str if call_ids is None else _valid_ids(call_ids)
    return repair_history(messages, keep_open=keep_open, new_id=new_id, keep_orphan=keep_orphan)


def _valid_ids(pattern: str) -> Callable[[str], str]:
    """Return a function that returns a given id, or else one that matches `pattern` and was not returned before.

    A conversation may have begun with another vendor, whose ids this one refuses, and some vendors use one id again
    and again. The same conversation gets the same ids each time, so that what a vendor has cached of it stays good.
    """
    used: set[str] = set()
    times: Counter[str] = Counter()

    def valid(given: str) -> str:
        name = given
        while name in used or not re.fullmatch(pattern, name):
            times[given] += 1
            name = sha256(f"{given}#{times[given]}".encode()).hexdigest()[:_LENGTH]
        used.add(name)
        return name

    return valid


_LENGTH = 9
"""Of the ids made here: what Mistral wants, and all others take."""


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


def system_texts(messages: Sequence[Message], provider: str) -> list[TextPart]:
    """Return the texts of all system messages; raise `ConfigurationError` for another part in one."""
    parts = [part for message in messages if message.role == "system" for part in message.parts]
    for part in parts:
        if not isinstance(part, TextPart):
            raise unsupported_part(part, provider, "a system message is text")
    return [part for part in parts if isinstance(part, TextPart)]


def joined_turns(
    turns: Iterable[tuple[str, list[dict[str, object]]]], provider: str
) -> list[tuple[str, list[dict[str, object]]]]:
    """Return turns (a role and its content) without empty ones, neighbours of one role joined.

    Raises `ConfigurationError` if none is left.
    """
    joined: list[tuple[str, list[dict[str, object]]]] = []
    for role, content in turns:
        if joined and joined[-1][0] == role:
            joined[-1][1].extend(content)
        elif content:
            joined.append((role, [*content]))
    if not joined:
        needs = "needs at least one message that is not a system message and not empty"
        raise ConfigurationError(f"{provider!r} {needs}", provider=provider)
    return joined


def _results(message: Message) -> list[ToolResult]:
    return [part for part in message.parts if isinstance(part, ToolResult)]
