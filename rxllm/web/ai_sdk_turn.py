"""An assistant's turn as a UI message stream: token events, and what its tools do between them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import cast

from ..assistant.events import (
    ApprovalRequest,
    StepEnd,
    StepStart,
    StructuredAnswer,
    ToolEnd,
    ToolProgress,
    ToolStart,
    with_json_value,
)
from ..errors import StreamInterruptedError
from ..messages import ToolCall
from .formats.ai_sdk import UIMessageStream, chunk
from .served_stream import ServedStream
from .stream_body import StreamBody

_MOVED = StreamInterruptedError("this server is closing, and the answer continues: load the page again")


class UITurn(UIMessageStream):
    """A `UIMessageStream` of an assistant's turn: it writes steps, tool output and approvals too.

    Args:
        message_id: The id of the message; None leaves it to the client.
        stream: The stream that is written, for its approvals. None: no tool call waits for the client.
        ask: Returns the id of the question about a call, valid from then on. Default: the call's own id.
        seal: Returns the signature of vendor data that the client keeps. Default: such data is left out.
        open_calls: The ids of calls of an earlier response that have no results.
    """

    def __init__(
        self,
        message_id: str | None = None,
        *,
        stream: ServedStream[object] | None = None,
        ask: Callable[[ToolCall], str] | None = None,
        seal: Callable[[object], str] | None = None,
        open_calls: Collection[str] = (),
    ) -> None:
        super().__init__(message_id, seal)
        self._approvals = None if stream is None else stream.approvals
        self._ask_for_approval = ask
        self._open_calls = set(open_calls)
        self._asked: set[str] = set()
        """The calls whose questions are on their way to the user."""

    @property
    def waits(self) -> bool:
        """Whether the turn waits for the user."""
        if self._approvals is None or not self._open_calls or not self._asked.issuperset(self._open_calls):
            return False
        return self._approvals.are_open(self._open_calls)

    def event(self, number: int, event: object) -> str:
        """Return the chunks of one event."""
        shown = with_json_value(event)
        match shown:
            case StepStart():
                return self.start_step()
            case StepEnd(_, response):
                self._open_calls = {call.id for call in response.tool_calls}
                return self.carry(response)  # its tools are part of the step: the next one's start ends it
            case ApprovalRequest(call):
                return self._ask(call)
            case ToolStart():
                return ""
            case ToolProgress(id, _, value):
                return chunk("tool-output-available", toolCallId=id, output=value, preliminary=True)
            case ToolEnd(call) as end:
                self._open_calls.discard(call.id)
                return self._tool_end(end)
            case StructuredAnswer():
                return chunk("data-answer", data=cast("StructuredAnswer[object]", shown).value)
            case _:
                return super().event(number, event)

    def _ask(self, call: ToolCall) -> str:
        if self._approvals is not None and self._approvals.is_decided(call):
            return ""  # the client's message says so already
        self._asked.add(call.id)
        question = call.id if self._ask_for_approval is None else self._ask_for_approval(call)
        return chunk("tool-approval-request", approvalId=question, toolCallId=call.id)

    def _tool_end(self, end: ToolEnd) -> str:
        call, said = end.call.id, end.result.content
        if end.refused:
            return chunk("tool-output-denied", toolCallId=call)
        if end.result.is_error:
            return chunk("tool-output-error", toolCallId=call, errorText=said)
        return chunk("tool-output-available", toolCallId=call, output=said)


class UITurnBody(StreamBody):
    """A `StreamBody` for `useChat` that ends when the turn waits for the user's decision: the next request brings it.

    Args:
        stream: What is read.
        turn: Writes it.
        after: The number of the event after which reading begins.
    """

    def __init__(self, stream: ServedStream[object], turn: UITurn, *, after: int = 0) -> None:
        super().__init__(stream, turn, after=after)
        self._turn = turn

    def take(self) -> list[str]:
        """Return the pieces of text that are ready."""
        pieces = super().take()
        if self.ended:
            if self.stream.is_released and self.stream.state == "open":
                pieces.append(self._turn.failed(_MOVED))
        elif self._turn.waits:
            self.ended = True
            self.stream.pause(self.after)
            pieces.append(self._turn.waiting())
        return pieces
