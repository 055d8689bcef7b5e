"""A conversation as every vendor takes it: calls with valid ids and their results right behind them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

import msgspec

from .._history import repair_history
from .._json import Json
from ..errors import ConfigurationError
from ..messages import MediaPart, Message, Part, TextPart, ToolCall, ToolResult


def with_results_behind_calls(
    messages: Sequence[Message], provider: str | None = None, call_ids: str = ".*"
) -> Sequence[Message]:
    """Return the messages with each tool result moved behind its call, and an error result if there is none.

    Calls in the last message stay open. With a `provider`, a result without a call raises `ConfigurationError`;
    without, it stays where it is. Calls whose ids do not match the pattern `call_ids`, or are an earlier call's, get
    other ids, and so do their results.

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
    return repair_history(messages, keep_open=keep_open, new_id=_valid_ids(call_ids), keep_orphan=keep_orphan)


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


def calls_by_id(messages: Sequence[Message]) -> dict[str, ToolCall]:
    """Return the tool calls of a conversation: some vendors want to read of the call in its result."""
    return {call.id: call for message in messages for call in message.tool_calls}


def with_fitting_media(
    messages: Sequence[Message], encode: Callable[[MediaPart], object], *, in_results: bool
) -> Sequence[Message]:
    """Return the messages with the images and files of tool results as a vendor takes them.

    A part for which `encode` raises `ConfigurationError` becomes a note in the result's text. Without `in_results`,
    the others go into a user message behind.
    """
    if not any(isinstance(part, ToolResult) and part.media for message in messages for part in message.parts):
        return messages
    fitting: list[Message] = []
    for message in messages:
        parts: list[Part] = []
        behind: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult) and part.media:
                media = [one for one in part.media if _is_supported(one, encode)]
                notes = [_media_note(one) for one in part.media if one not in media]
                content = "\n".join(filter(None, [part.content, *notes]))
                if media and not in_results:
                    behind += [TextPart(f"From the tool {part.name or part.id}:"), *media]
                    media = []
                part = msgspec.structs.replace(part, content=content, media=tuple(media))
            parts.append(part)
        fitting.append(msgspec.structs.replace(message, parts=tuple(parts)))
        fitting += [Message("user", tuple(behind))] if behind else []
    return fitting


def _is_supported(part: MediaPart, encode: Callable[[MediaPart], object]) -> bool:
    try:
        encode(part)
    except ConfigurationError:
        return False
    return True


def _media_note(part: MediaPart) -> str:
    """Return the text that stands for a part of a tool result that the vendor does not take."""
    size = "" if part.data is None else f", {len(part.data):,} bytes"
    return f"[{part.media_type or 'a file'}{size}: this model cannot be given it]"


def system_texts(messages: Sequence[Message], provider: str) -> tuple[TextPart, ...]:
    """Return the texts of all system messages; raise `ConfigurationError` for another part in one."""
    texts: list[TextPart] = []
    for part in (part for message in messages if message.role == "system" for part in message.parts):
        if not isinstance(part, TextPart):
            kind = type(part).__name__
            raise ConfigurationError(f"{provider!r} takes no such {kind}: a system message is text", provider=provider)
        texts.append(part)
    return tuple(texts)


def turns_of(
    messages: Sequence[Message], content: Callable[[Message], list[Json]], provider: str
) -> Iterator[tuple[bool, list[Json]]]:
    """Return turns (whether it is the model's, and its `content`), as APIs want them that take system text apart.

    System messages and empty turns are left out, neighbours of one speaker joined. Raises `ConfigurationError` if
    nothing is left.
    """
    joined: list[tuple[bool, list[Json]]] = []
    for message in messages:
        by_model = message.role == "assistant"
        said = [] if message.role == "system" else content(message)
        if said and joined and joined[-1][0] == by_model:
            joined[-1][1].extend(said)
        elif said:
            joined.append((by_model, said))
    if not joined:
        needs = "needs at least one message that is not a system message and not empty"
        raise ConfigurationError(f"{provider!r} {needs}", provider=provider)
    return iter(joined)
