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

from .. import events
from .._json import encode_line
from ..assistant import events as turn_events
from ..assistant.events import with_json_value
from ..messages import ReasoningPart, ToolCall, VendorPart
from .approvals import Approvals
from .formats.errors import error_facts
from .formats.stream_format import SSE_HEADERS, STOPPED, StreamFormat

_FINISH: Mapping[events.FinishReason | None, str] = {
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
        approvals: The questions of the stream. Default: no tool call waits for the client.
        ask: Returns the id of the question about a call, valid from then on. Default: the call's own id.
        seal: Returns the signature of vendor data that the client keeps. Default: such data is left out.
        open_calls: The ids of calls of an earlier response that have no results.

    Example:
    >>> turn = UITurn("m1")
    >>> print(turn.begin() + turn.event(1, events.TextDelta("Hi")) + turn.end(None), end="")
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
        approvals: Approvals | None = None,
        ask: Callable[[ToolCall], str] = lambda call: call.id,
        seal: Callable[[object], str] | None = None,
        open_calls: Collection[str] = (),
    ) -> None:
        self._message_id = message_id
        self._approvals = approvals or Approvals()
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
            case turn_events.StepStart():
                return self._start_step()
            case turn_events.StepEnd(_, response):
                self._open_calls = {call.id for call in response.tool_calls}
                return self._carry(response)  # its tools are part of the step: the next one's start ends it
            case turn_events.ApprovalRequest(call):
                return self._ask(call)
            case turn_events.ToolStart():
                return ""
            case turn_events.ToolProgress(id, _, value):
                return chunk("tool-output-available", toolCallId=id, output=value, preliminary=True)
            case turn_events.ToolEnd(call) as end:
                self._open_calls.discard(call.id)
                return self._tool_end(end)
            case turn_events.StructuredAnswer():
                return chunk("data-answer", data=cast("turn_events.StructuredAnswer[object]", shown).value)
            case _:
                begin = "" if self._in_step else self._start_step()
                return begin + self._token_event(shown)

    def _token_event(self, event: object) -> str:
        """Return the chunks of a token event."""
        match event:
            case events.TextDelta(text):
                return self._delta("text", text)
            case events.ReasoningDelta(text):
                return self._delta("reasoning", text)
            case events.ToolCallStart(index, id, name):
                self._calls[index] = id
                return self._close() + chunk("tool-input-start", toolCallId=id, toolName=name)
            case events.ToolCallDelta(index, arguments):
                return chunk("tool-input-delta", toolCallId=self._calls.get(index, ""), inputTextDelta=arguments)
            case events.ToolCallEnd(_, call):
                return chunk("tool-input-available", toolCallId=call.id, toolName=call.name, input=call.arguments)
            case events.VendorEvent(name, data):
                return "" if name == "keep_alive" else chunk("data-vendor", data={"name": name, "data": data})
            case events.StreamReset(reason):
                return self._close() + chunk("data-reset", data={"reason": reason})
            case events.StreamEnd(response):
                reason = _FINISH.get(response.finish_reason, "other")
                return self._carry(response) + self._finish(reason, **_metadata(response))
            case _:
                return ""

    def _start_step(self) -> str:
        """Return the start of a step: the model gets a request, for the first time or after tools have run."""
        self._calls.clear()
        self._carried = False
        before = self._finish_step()
        self._in_step = True
        return before + chunk("start-step")

    def _carry(self, response: events.Response) -> str:
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
        calls = self._open_calls
        if not calls or not self._asked.issuperset(calls) or not self._approvals.are_open(calls):
            return ""
        return self._finish("tool-calls") + _DONE

    def end(self, error: Exception | None) -> str:
        """Return the end of the stream; `useChat` shows the text of an error as its `error`."""
        if error is None:
            return ("" if self._finished else self._finish("other")) + _DONE
        stopped = error is STOPPED
        last = chunk("abort", reason="stopped") if stopped else chunk("error", errorText=error_facts(error).message)
        return self._close() + last + _DONE

    def _finish(self, reason: str, **metadata: object) -> str:
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
        if self._approvals.is_decided(call):
            return ""  # the client's message says so already
        self._asked.add(call.id)
        return chunk("tool-approval-request", approvalId=self._ask_for_approval(call), toolCallId=call.id)

    def _tool_end(self, end: turn_events.ToolEnd) -> str:
        call, said = end.call.id, end.result.content
        if end.refused:
            return chunk("tool-output-denied", toolCallId=call)
        if end.result.is_error:
            return chunk("tool-output-error", toolCallId=call, errorText=said)
        return chunk("tool-output-available", toolCallId=call, output=said)


def _is_to_be_carried(response: events.Response) -> bool:
    signed = any(isinstance(part, ReasoningPart | ToolCall) and part.vendor for part in response.parts)
    return any(isinstance(part, VendorPart) for part in response.parts) or (signed and bool(response.tool_calls))


_DONE = "data: [DONE]\n\n"


def chunk(kind: str, **fields: object) -> str:
    r"""Return one chunk of the protocol as a server-sent event.

    Example:
    >>> chunk("text-end", id="1")
    'data: {"type":"text-end","id":"1"}\n\n'
    """
    return f"data: {encode_line({'type': kind, **fields})}\n\n"


def _metadata(response: events.Response) -> dict[str, object]:
    usage = {name: count for name, count in msgspec.structs.asdict(response.usage).items() if count is not None}
    counted = any(name.endswith("tokens") for name in usage)
    facts = {"model": response.model, "provider": response.provider, "usage": usage if counted else None}
    return {name: value for name, value in facts.items() if value is not None}
