"""What was said in a chat session: each message as it is shown, with what later requests contain of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from ..messages import AudioPart, DocumentPart, ImagePart, Message, ReasoningPart, TextPart, ToolCall, ToolResult
from ._chat_answer import ChatAnswer
from ._chat_messages import ChatMessage, ChatPart, ErrorPart, ToolPart, ToolState

Ending: TypeAlias = Literal["done", "stopped", "failed"]


class ChatLog:
    """The messages of a session without a running answer. Not thread-safe: the session holds its lock."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.shown: list[ChatMessage] = []
        self._ids = itertools.count(1)
        self._sent: dict[str, tuple[Message, ...]] = {}
        """What to send for each message that is shown."""
        self._instructions: tuple[Message, ...] = ()
        self.replace(messages)

    def next_id(self) -> str:
        """Return an id that no message has had."""
        return str(next(self._ids))

    def history(self) -> tuple[Message, ...]:
        """Return all that was said, system messages first."""
        return (*self._instructions, *(message for shown in self.shown for message in self._sent[shown.id]))

    def replace(self, messages: Sequence[Message]) -> None:
        """Replace everything; successive messages of the model and its tools are shown as one."""
        self.drop(0)
        self._instructions = tuple(message for message in messages if message.role == "system")
        for message in messages:
            if message.role == "system":
                continue
            if message.role == "user":
                self.add_question(message)
                continue
            if not self.shown or self.shown[-1].role == "user":
                self._append(ChatMessage(self.next_id(), "assistant"), ())
            last = self.shown[-1]
            self._sent[last.id] += (message,)
            status = message.ending or "done"
            self.shown[-1] = msgspec.structs.replace(last, parts=_with(last.parts, message), status=status)

    def place(self, message_id: str | None = None) -> int:
        """Return where a message of the user is, the last one by default; -1 if there is none."""
        found = (at for at, old in enumerate(self.shown) if old.role == "user" and message_id in (None, old.id))
        return max(found, default=-1)

    def drop(self, at: int) -> None:
        """Drop the messages from a place on."""
        for message in self.shown[at:]:
            del self._sent[message.id]
        del self.shown[at:]

    def add_question(self, message: Message) -> None:
        """Add a message of the user."""
        self._append(ChatMessage(self.next_id(), "user", _with((), message)), (message,))

    def add_answer(self, answer: ChatAnswer, ending: Ending) -> None:
        """Add an answer that has ended."""
        shown, history = answer.end(ending), answer.history()
        if history and ending != "done":
            history = (*history[:-1], msgspec.structs.replace(history[-1], ending=ending))
        self._append(shown, history)

    def _append(self, shown: ChatMessage, sent: tuple[Message, ...]) -> None:
        self.shown.append(shown)
        self._sent[shown.id] = sent


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
    if message.ending == "failed":
        found.append(ErrorPart("the answer broke off", "StreamError"))
    return tuple(found)
