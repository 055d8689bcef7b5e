"""Streams as the AI SDK's UI message stream, version 1: what `useChat` of React, Vue, Svelte and Angular reads.

Text and reasoning become parts with a start and an end, tool calls become tool input, usage and model the message's
metadata. Tools that run here have their output and their approval. What the protocol has no word for travels as data
parts: "data-vendor", "data-parts" and, if a retry voids what came before, "data-reset".

Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal, cast

import msgspec

from .._json import encode
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
from ..events import (
    FinishReason,
    ReasoningDelta,
    Response,
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
from ..messages import ReasoningPart, ToolCall, VendorPart
from .formats.errors import error_facts
from .formats.stream_format import SSE_HEADERS, STOPPED, StreamFormat
from .served_stream import ServedStream

_FINISH: Mapping[FinishReason | None, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}

PARTS = "data-parts"
"""The data part with all parts of a step and their signature, if text and tool parts cannot hold them."""

_Kind = Literal["text", "reasoning"]


class UITurn(StreamFormat):
    """One message of an assistant, in one turn or, with approvals, in several; an instance per reader.

    Args:
        message_id: The id of the message; None leaves it to the client.
        stream: The stream that is written, for its approvals. None: no tool call waits for the client.
        ask: Returns the id of the question about a call, valid from then on. Default: the call's own id.
        seal: Returns the signature of vendor data that the client keeps. Default: such data is left out.
        open_calls: The ids of calls of an earlier response that have no results.

    Example:
    >>> turn = UITurn("m1")
    >>> print(turn.begin() + turn.event(1, TextDelta("Hi")) + turn.end(None), end="")
    data: {"type":"start","messageId":"m1"}
    <BLANKLINE>
    data: {"type":"start-step"}
    <BLANKLINE>
    data: {"type":"text-start","id":"1"}
    <BLANKLINE>
    data: {"type":"text-delta","id":"1","delta":"Hi"}
    <BLANKLINE>
    data: {"type":"text-end","id":"1"}
    <BLANKLINE>
    data: {"type":"finish-step"}
    <BLANKLINE>
    data: {"type":"finish","finishReason":"other"}
    <BLANKLINE>
    data: [DONE]
    <BLANKLINE>
    """

    headers: Mapping[str, str] = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}
    """Without the last one, `useChat` takes the stream for plain text."""

    def __init__(
        self,
        message_id: str | None = None,
        *,
        stream: ServedStream[object] | None = None,
        ask: Callable[[ToolCall], str] | None = None,
        seal: Callable[[object], str] | None = None,
        open_calls: Collection[str] = (),
    ) -> None:
        self._message_id = message_id
        self._approvals = None if stream is None else stream.approvals
        self._ask_for_approval = ask
        self._seal = seal
        self._open_calls = set(open_calls)
        self._asked: set[str] = set()
        """The calls whose questions are on their way to the user."""
        self._open: _Kind | None = None
        self._parts = 0
        self._in_step = False
        self._finished = False
        self._carried = False
        self._calls: dict[int, str] = {}
        """The ids of the calls of this step, by their index."""

    def begin(self) -> str:
        """Return the start of the message, or, for a known id, of its continuation. The first event begins its step."""
        identity = {} if self._message_id is None else {"messageId": self._message_id}
        return chunk("start", **identity)

    def event(self, number: int, event: object) -> str:
        """Return the chunks of one event."""
        shown = with_json_value(event)
        match shown:
            case StepStart():
                return self._start_step()
            case StepEnd(_, response):
                self._open_calls = {call.id for call in response.tool_calls}
                return self._carry(response)  # its tools are part of the step: the next one's start ends it
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
                begin = "" if self._in_step else self._start_step()
                return begin + self._token_event(shown)

    def _token_event(self, event: object) -> str:
        """Return the chunks of a token event."""
        match event:
            case TextDelta(text):
                return self._delta("text", text)
            case ReasoningDelta(text):
                return self._delta("reasoning", text)
            case ToolCallStart(index, id, name):
                self._calls[index] = id
                return self._close() + chunk("tool-input-start", toolCallId=id, toolName=name)
            case ToolCallDelta(index, arguments):
                return chunk("tool-input-delta", toolCallId=self._calls.get(index, ""), inputTextDelta=arguments)
            case ToolCallEnd(_, call):
                return chunk("tool-input-available", toolCallId=call.id, toolName=call.name, input=call.arguments)
            case VendorEvent(name, data):
                return "" if name == "keep_alive" else chunk("data-vendor", data={"name": name, "data": data})
            case StreamReset(reason):
                return self._close() + chunk("data-reset", data={"reason": reason})
            case StreamEnd(response):
                return self._carry(response) + self._finish(
                    _FINISH.get(response.finish_reason, "other"), _metadata(response)
                )
            case StreamStart() | UsageUpdate() | _:  # the last: no token event
                return ""

    def _start_step(self) -> str:
        """Return the start of a step: the model gets a request, for the first time or after tools have run."""
        self._calls.clear()
        self._carried = False
        before = self._finish_step()
        self._in_step = True
        return before + chunk("start-step")

    def _carry(self, response: Response) -> str:
        """Return what the vendor wants back unchanged, such as signatures of calls, for the client to keep."""
        if self._carried or self._seal is None or not _is_to_be_carried(response):
            return ""
        self._carried = True
        return self._close() + chunk(PARTS, data={"parts": response.parts, "signature": self._seal(response.parts)})

    def _finish_step(self) -> str:
        """Return the end of the step."""
        if not self._in_step:
            return ""
        self._in_step = False
        return self._close() + chunk("finish-step")

    def pause(self) -> str:
        """Return the end of a response if all open calls wait for the user: another one continues the message."""
        if self._approvals is None or not self._open_calls or not self._asked.issuperset(self._open_calls):
            return ""
        return self._finish("tool-calls", {}) + _DONE if self._approvals.are_open(self._open_calls) else ""

    def end(self, error: Exception | None) -> str:
        """Return the end of the stream; `useChat` shows the text of an error as its `error`."""
        if error is None:
            return ("" if self._finished else self._finish("other", {})) + _DONE
        stopped = error is STOPPED
        last = chunk("abort", reason="stopped") if stopped else chunk("error", errorText=error_facts(error).message)
        return self._close() + last + _DONE

    def _finish(self, reason: str, metadata: Mapping[str, object]) -> str:
        self._finished = True
        extra = {"messageMetadata": metadata} if metadata else {}
        return self._finish_step() + chunk("finish", finishReason=reason, **extra)

    def _delta(self, kind: _Kind, text: str) -> str:
        """Return the chunk of a text or thought; another kind before it ends, and this one begins."""
        begin = ""
        if self._open != kind:
            begin = self._close()
            self._parts += 1
            self._open = kind
            begin += chunk(f"{kind}-start", id=str(self._parts))
        return begin + chunk(f"{kind}-delta", id=str(self._parts), delta=text)

    def _close(self) -> str:
        if self._open is None:
            return ""
        kind, self._open = self._open, None
        return chunk(f"{kind}-end", id=str(self._parts))

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


def _is_to_be_carried(response: Response) -> bool:
    if any(isinstance(part, VendorPart) for part in response.parts):
        return True
    signed = any(isinstance(part, ReasoningPart | ToolCall) and part.vendor for part in response.parts)
    return signed and bool(response.tool_calls)


_DONE = "data: [DONE]\n\n"


def chunk(kind: str, **fields: object) -> str:
    r"""Return one chunk of the protocol as a server-sent event.

    Example:
    >>> chunk("text-end", id="1")
    'data: {"type":"text-end","id":"1"}\n\n'
    """
    return f"data: {encode({'type': kind, **fields}).decode()}\n\n"


def _metadata(response: Response) -> dict[str, object]:
    usage = {name: count for name, count in msgspec.structs.asdict(response.usage).items() if count is not None}
    counted = any(name.endswith("tokens") for name in usage)
    facts = {"model": response.model, "provider": response.provider, "usage": usage if counted else None}
    return {name: value for name, value in facts.items() if value is not None}
