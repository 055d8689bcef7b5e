"""The ids of tool calls as a vendor takes them: of its letters, and each once in a conversation.

A conversation may have begun with another vendor, whose ids this one refuses, and some vendors use
one id again and again. Calls and their results are renamed together, always the same way, so that
what a vendor has cached of a conversation stays good.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from ..messages import Message, Part, ToolCall, ToolResult

_LENGTH = 9
"""Of the ids made here: what Mistral wants, and all others take."""


def with_valid_ids(messages: Sequence[Message], pattern: str) -> Sequence[Message]:
    """Return the messages with another id if a call's does not match `pattern`, or is an earlier call's.

    >>> call = ToolCall("functions.weather:0", "weather", {})
    >>> messages = [Message.assistant(call), Message.tool(ToolResult(call.id, "fine"))]
    >>> [part.id for message in with_valid_ids(messages, "[a-z0-9]+") for part in message.parts]
    ['e0d969761', 'e0d969761']
    """
    if not any(isinstance(part, ToolCall | ToolResult) for message in messages for part in message.parts):
        return messages
    ids = _Ids(re.compile(pattern))
    return [ids.of_message(message) for message in messages]


class _Ids:
    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._used: set[str] = set()
        self._times: defaultdict[str, int] = defaultdict(int)
        self._open: defaultdict[str, deque[str]] = defaultdict(deque)
        """The names of the newest answer's calls, by id, in order: an answer may repeat even that."""

    def of_message(self, message: Message) -> Message:
        if message.tool_calls:
            self._open.clear()
        parts: tuple[Part, ...] = tuple(map(self._of_part, message.parts))
        unchanged = all(new is old for new, old in zip(parts, message.parts, strict=True))
        return message if unchanged else msgspec.structs.replace(message, parts=parts)

    def _of_part(self, part: Part) -> Part:
        """Return a call with its new id, or a result with the id of the first call of its id that has no result yet."""
        if isinstance(part, ToolCall):
            name = self._name(part.id)
            self._open[part.id].append(name)
        elif isinstance(part, ToolResult):
            names = self._open[part.id] or deque([self._name(part.id)])
            name = names.popleft() if len(names) > 1 else names[0]
        else:
            return part
        return part if name == part.id else msgspec.structs.replace(part, id=name)

    def _name(self, given: str) -> str:
        name = given
        while name in self._used or not self._pattern.fullmatch(name):
            self._times[given] += 1
            name = sha256(f"{given}#{self._times[given]}".encode()).hexdigest()[:_LENGTH]
        self._used.add(name)
        return name
