"""What a user interface shows of a chat session: its messages and its state."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..messages import AudioPart, DocumentPart, ImagePart, ReasoningPart, TextPart

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


ChatStatus: TypeAlias = Literal["ready", "submitted", "streaming", "error"]
"""Whether the session waits for a message, has asked, receives the answer, or has failed."""


class ChatState(msgspec.Struct, frozen=True):
    """All of a session at one moment.

    Args:
        messages: The messages, the oldest first; of a running answer what has arrived.
        status: What the session does.
        error: What the last answer failed with.
    """

    messages: tuple[ChatMessage, ...] = ()
    status: ChatStatus = "ready"
    error: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether an answer is awaited or arrives."""
        return self.status in ("submitted", "streaming")
