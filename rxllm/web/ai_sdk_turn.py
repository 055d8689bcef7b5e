"""The UI message stream of an assistant's turn: token events, and what its tools do between them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..assistant.events import ApprovalRequest, StepEnd, StepStart, StructuredAnswer, ToolEnd, ToolProgress, ToolStart
from ..errors import APIConnectionError
from ..messages import ToolCall
from .approvals import Approvals
from .formats.ai_sdk import UIMessageStream, chunk
from .served_stream import ServedStream
from .stream_body import StreamBody


class UITurn(UIMessageStream):
    """A `UIMessageStream` that knows steps, tool output and approval too.

    With `approvals`, which answer this stream's questions, it knows whether nothing comes before
    the user has answered. `name_of` gives a question its id; `open_calls` are calls of an earlier
    response that have no results.
    """

    def __init__(
        self,
        message_id: str | None = None,
        *,
        approvals: Approvals | None = None,
        name_of: Callable[[ToolCall], str] | None = None,
        open_calls: Collection[str] = (),
    ) -> None:
        super().__init__(message_id)
        self._approvals = approvals
        self._name_of = name_of
        self._open_calls = set(open_calls)
        self._asked: set[str] = set()
        """The calls whose questions are on their way to the user."""

    @property
    def waits(self) -> bool:
        """Whether the user is asked, and nothing goes on without the answer."""
        if self._approvals is None or not self._open_calls or not self._asked.issuperset(self._open_calls):
            return False
        return self._approvals.are_open(self._open_calls)

    def begin(self) -> str:
        """The message begins, or goes on: that the first event says."""
        return self.start()

    def event(self, number: int, event: object) -> str:
        """The chunks that one event brings."""
        match event:
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
                return self.tool_output(id, value, preliminary=True)
            case ToolEnd(call):
                self._open_calls.discard(call.id)
                return self._tool_end(event)
            case StructuredAnswer(value):
                return chunk("data-answer", data=value)
            case _:
                return self._step_if_none() + super().event(number, event)

    def _step_if_none(self) -> str:
        return "" if self.in_step else self.start_step()

    def _ask(self, call: ToolCall) -> str:
        if self._approvals is not None and self._approvals.is_answered(call.id):
            return ""  # the client's message says so already
        self._asked.add(call.id)
        return self.tool_approval(call.id, None if self._name_of is None else self._name_of(call))

    def _tool_end(self, end: ToolEnd) -> str:
        if end.refused:
            return self.tool_denied(end.call.id)
        return (self.tool_error if end.result.is_error else self.tool_output)(end.call.id, end.result.content)


_MOVED = APIConnectionError("this server is closing; the answer goes on: load the page again")


class UITurnBody(StreamBody):
    """A `StreamBody` for `useChat` that ends where the turn waits for the user, who answers with another request."""

    def __init__(self, stream: ServedStream[object], turn: UITurn, *, after: int = 0) -> None:
        super().__init__(stream, turn, after=after)
        self._turn = turn

    def take(self) -> str:
        """All that is ready now."""
        text = super().take()
        if self.ended:
            cut = self.stream.is_released and self.stream.state == "open"
            return text + (self._turn.failed(_MOVED) if cut else "")
        if not self._turn.waits:
            return text
        self.ended = True
        self.stream.pause(self.after)
        return text + self._turn.waiting()
