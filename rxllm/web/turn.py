"""The UI message stream of an assistant's turn: token events, and what its tools do between them."""

from __future__ import annotations

from ..assistant.events import ApprovalRequest, StepEnd, StepStart, StructuredAnswer, ToolEnd, ToolProgress
from ..sinks.ui_message_stream import UIMessageStream, chunk


class UITurn(UIMessageStream):
    """A `UIMessageStream` that knows steps, tool output and approval too."""

    def event(self, number: int, event: object) -> str:
        """The chunks that one event brings."""
        match event:
            case StepStart(index):
                return self.start_step() if index else ""  # the first has begun with the message
            case StepEnd():
                return ""  # its tools are part of it: the next one's start ends it
            case ApprovalRequest(call):
                return self.tool_approval(call.id)
            case ToolProgress(id, _, value):
                return self.tool_output(id, value, preliminary=True)
            case ToolEnd(call, result):
                return (self.tool_error if result.is_error else self.tool_output)(call.id, result.content)
            case StructuredAnswer(value):
                return chunk("data-answer", data=value)
            case _:
                return super().event(number, event)
