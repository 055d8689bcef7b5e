"""An answer of a chat session while it arrives: its events become the parts of a message."""

from __future__ import annotations

from typing import assert_never, cast

import msgspec

from .._history import cancelled
from ..events import (
    ReasoningDelta,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
    VendorEvent,
)
from ..messages import Message, ReasoningPart, TextPart, ToolResult
from ._chat_messages import ChatMessage, ChatPart, ErrorPart, MessageStatus, ToolPart, ToolState
from .events import (
    AnswerRejected,
    ApprovalRequest,
    AssistantEvent,
    PartialAnswer,
    StepEnd,
    StepStart,
    StructuredAnswer,
    ToolEnd,
    ToolProgress,
    ToolStart,
)

_ENDED = ("done", "failed", "refused", "cancelled")


class ChatAnswer:
    """Gathers the events of one turn. Not thread-safe: the session holds its lock."""

    def __init__(self, message_id: str) -> None:
        self._id = message_id
        self._parts: list[ChatPart] = []
        self._pieces: list[str] = []
        """What the last part, of text or reasoning, has grown by."""
        self._step = 0
        """Where the parts of this step begin."""
        self._steps: list[Message] = []
        """The model's answers that are complete."""
        self._results: dict[str, ToolResult] = {}
        self._in_step = False
        self._status: MessageStatus = "streaming"
        self._message: ChatMessage | None = None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._parts)

    def waits(self, call_id: str) -> bool:
        """Return whether a tool call waits for approval."""
        return any(isinstance(part, ToolPart) and (part.id, part.state) == (call_id, "waiting") for part in self._parts)

    def message(self) -> ChatMessage:
        """Return the answer so far; the same object while it has not changed."""
        if self._message is None:
            self._join()
            self._message = ChatMessage(self._id, "assistant", tuple(self._parts), self._status)
        return self._message

    def add(self, event: AssistantEvent) -> bool:
        """Take in an event; return whether it is to be shown immediately, as all but growing text is."""
        self._message = None
        match event:
            case TextDelta(text):
                return self._grow(TextPart, text)
            case ReasoningDelta(text):
                return self._grow(ReasoningPart, text)
            case StepStart():
                self._join()
                self._begin_step()
                return False
            case StreamReset() | AnswerRejected():
                self._pieces.clear()
                del self._parts[self._step :]
                self._begin_step()
            case ToolCallStart(_, id, name):
                self._join()
                self._parts.append(ToolPart(id, name))
            case ToolCallEnd(_, call):
                self._change(call.id, name=call.name, arguments=call.arguments)
            case StepEnd(_, response):
                self._steps.append(response.message)
                self._in_step = False
            case ApprovalRequest(call):
                self._change(call.id, state="waiting")
            case ToolStart(call):
                self._change(call.id, state="running")
            case ToolProgress(id, _, value):
                self._change(id, progress=value)
                return False
            case ToolEnd(call, result, _, refused):
                self._results[call.id] = result
                state: ToolState = "refused" if refused else "failed" if result.is_error else "done"
                self._change(call.id, state=state, result=result.content)
            case (
                StreamStart()
                | ToolCallDelta()
                | UsageUpdate()
                | VendorEvent()
                | StreamEnd()
                | PartialAnswer()
                | StructuredAnswer()
            ):
                return False
            case _:
                assert_never(event)
        return True

    def fail(self, error: Exception) -> None:
        """Add an error."""
        self._join()
        self._parts.append(ErrorPart(str(error) or type(error).__name__, type(error).__name__))

    def end(self, status: MessageStatus) -> ChatMessage:
        """End the answer; return it."""
        for at, part in enumerate(self._parts):
            if isinstance(part, ToolPart) and part.state not in _ENDED:
                self._parts[at] = msgspec.structs.replace(part, state="cancelled")
        self._status, self._message = status, None
        return self.message()

    def history(self) -> tuple[Message, ...]:
        """Return what later requests contain of the answer: its complete steps, and the text of one that was cut off.

        A call without a result gets one that says so: vendors refuse conversations that lack it, and an assistant that
        is given such a conversation runs the call.
        """
        found: list[Message] = []
        for step in self._steps:
            found.append(step)
            results = [self._results.get(call.id) or cancelled(call) for call in step.tool_calls]
            if results:
                found.append(Message.tool(*results))
        texts = [part.text for part in self._parts[self._step :] if isinstance(part, TextPart) and part.text]
        if self._in_step and texts:
            found.append(Message.assistant(*texts))
        return tuple(found)

    def _begin_step(self) -> None:
        self._step = len(self._parts)
        self._in_step = True

    def _grow(self, kind: type[TextPart] | type[ReasoningPart], text: str) -> bool:
        """Append to the last part, or begin one; return whether that is the first of the answer."""
        first = not self._parts
        if not self._parts or len(self._parts) == self._step or type(self._parts[-1]) is not kind:
            self._join()
            self._parts.append(kind(""))
        self._pieces.append(text)
        return first

    def _join(self) -> None:
        """Put the text of the deltas so far into the last part."""
        if self._pieces:
            last = cast("TextPart | ReasoningPart", self._parts[-1])
            self._parts[-1] = msgspec.structs.replace(last, text=last.text + "".join(self._pieces))
            self._pieces.clear()

    def _change(self, call_id: str, **changes: object) -> None:
        """Change the part of a tool call."""
        for at, part in enumerate(self._parts):
            if isinstance(part, ToolPart) and part.id == call_id:
                self._parts[at] = msgspec.structs.replace(part, **changes)
