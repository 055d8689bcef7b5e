"""The messages of a chat session, as a user interface shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from ..messages import AudioPart, DocumentPart, ImagePart, Message, ReasoningPart, TextPart, ToolCall, ToolResult

ToolState: TypeAlias = Literal["called", "waiting", "running", "done", "failed", "refused", "cancelled"]
"""Whether a tool call was made, waits for approval, runs, or how it has ended."""

MessageStatus: TypeAlias = Literal["done", "streaming", "stopped", "failed"]


class ToolPart(msgspec.Struct, frozen=True, tag="tool"):
    """A tool call of the model.

    Args:
        id: The call's id, for `ChatSession.approve`.
        name: The tool's name.
        arguments: Empty until the model has written all of them.
        state: Whether the call waits for approval, runs, or how it has ended.
        progress: The last value that the tool has reported.
        result: What the tool has returned, or the error, as the model reads it.
    """

    id: str
    name: str
    arguments: dict[str, object] = {}
    state: ToolState = "called"
    progress: object = None
    result: str = ""


class ErrorPart(msgspec.Struct, frozen=True, tag="error"):
    """What an answer failed with.

    Args:
        text: The error's message.
        kind: The name of the error's class.
    """

    text: str
    kind: str


ChatPart: TypeAlias = TextPart | ReasoningPart | ToolPart | ErrorPart | ImagePart | DocumentPart | AudioPart


class ChatMessage(msgspec.Struct, frozen=True):
    """A message of the user, or a whole answer with its tool calls. It is replaced, never changed.

    Args:
        id: Unique in the session.
        role: Who says it.
        parts: Text, reasoning, tool calls, files, errors, in the order in which they came.
        status: Whether the answer arrives, is complete, was stopped or has failed.
    """

    id: str
    role: Literal["user", "assistant"]
    parts: tuple[ChatPart, ...] = ()
    status: MessageStatus = "done"

    @property
    def text(self) -> str:
        """The text parts, joined by blank lines."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, TextPart))


def chat_messages(
    messages: Iterable[Message], ids: Iterator[int]
) -> tuple[list[ChatMessage], dict[str, tuple[Message, ...]]]:
    """Return the messages of a conversation as they are shown, and for each what it was made of."""
    shown: list[ChatMessage] = []
    sources: dict[str, tuple[Message, ...]] = {}
    for message in messages:
        if message.role == "user" or not shown or shown[-1].role == "user":
            role: Literal["user", "assistant"] = "user" if message.role == "user" else "assistant"
            shown.append(ChatMessage(str(next(ids)), role))
        last = shown[-1]
        sources[last.id] = (*sources.get(last.id, ()), message)
        shown[-1] = msgspec.structs.replace(last, parts=_with(last.parts, message))
    return shown, sources


def _with(parts: tuple[ChatPart, ...], message: Message) -> tuple[ChatPart, ...]:
    """Return the parts with those of another message; results go to the calls that they answer."""
    found = list(parts)
    for part in message.parts:
        match part:
            case ToolCall(id, name, arguments):
                found.append(ToolPart(id, name, arguments, "cancelled"))
            case ToolResult(id, content, _, is_error):
                for at, call in enumerate(found):
                    if isinstance(call, ToolPart) and call.id == id:
                        state: ToolState = "failed" if is_error else "done"
                        found[at] = msgspec.structs.replace(call, state=state, result=content)
            case TextPart() | ReasoningPart() | ImagePart() | DocumentPart() | AudioPart():
                found.append(part)
            case _:
                pass
    return tuple(found)
