"""Streams as the AI SDK's UI message stream, version 1: what `useChat` of React, Vue, Svelte and Angular reads.

No I/O here. Text and reasoning become parts with a start and an end, tool calls become tool input,
usage and model the message's metadata. What the protocol has no word for travels as data parts:
"data-vendor", "data-parts" and, where a retry voids what came before, "data-reset". Tools that ran here, their
output and their approval are written by the methods below.

Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ...events import (
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
from ...messages import ReasoningPart, ToolCall, VendorPart
from .json_lines import error_facts
from .sse import SSE_COMMENT, SSE_HEADERS

UI_MESSAGE_STREAM_HEADERS: Mapping[str, str] = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}
"""The headers of the response; without the last one, `useChat` takes the stream for plain text."""

_FINISH: Mapping[FinishReason | None, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}

PARTS = "data-parts"
"""The data part with all of a step, where text and tool parts cannot hold it: in a request it stands for them."""

_Kind = Literal["text", "reasoning"]


class UIMessageStream:
    """One assistant message on its way out; an instance for each stream.

    >>> stream = UIMessageStream("m1")
    >>> print(stream.begin() + stream.event(1, TextDelta("Hi")) + stream.completed(), end="")
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

    headers = UI_MESSAGE_STREAM_HEADERS
    silence = SSE_COMMENT

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        self._open: _Kind | None = None
        self._parts = 0
        self.in_step = False
        self._finished = False
        self._carried = False
        self._calls: dict[int, str] = {}

    def begin(self) -> str:
        """The message begins, and its first step."""
        return self.start() + self.start_step()

    def start(self) -> str:
        """The message begins, or (under the id it has) goes on."""
        identity = {} if self._message_id is None else {"messageId": self._message_id}
        return chunk("start", **identity)

    def event(self, number: int, event: object) -> str:
        """The chunks that one event brings."""
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
                return self.carry(response) + self._finish(
                    _FINISH.get(response.finish_reason, "other"), _metadata(response)
                )
            case StreamStart() | UsageUpdate():
                return ""
            case _:  # no token event
                return ""

    def start_step(self) -> str:
        """The model is asked, for the first time or after tools have run."""
        self._calls.clear()
        self._carried = False
        before = self.finish_step()
        self.in_step = True
        return before + chunk("start-step")

    def carry(self, response: Response) -> str:
        """What its vendor wants back as it came (signatures of calls, items of its own tools): the client keeps it."""
        if self._carried or not _is_to_be_carried(response):
            return ""
        self._carried = True
        return self._close() + chunk(PARTS, data=response.parts)

    def finish_step(self) -> str:
        """The model has answered."""
        if not self.in_step:
            return ""
        self.in_step = False
        return self._close() + chunk("finish-step")

    def tool_approval(self, call_id: str, approval_id: str | None = None) -> str:
        """A tool call waits for approval; the question has the call's own id where it has no other."""
        return chunk("tool-approval-request", approvalId=approval_id or call_id, toolCallId=call_id)

    def tool_output(self, call_id: str, output: object, *, preliminary: bool = False) -> str:
        """What a tool gave; `preliminary` while it still runs."""
        mark = {"preliminary": True} if preliminary else {}
        return chunk("tool-output-available", toolCallId=call_id, output=output, **mark)

    def tool_error(self, call_id: str, text: str) -> str:
        """A tool failed."""
        return chunk("tool-output-error", toolCallId=call_id, errorText=text)

    def tool_denied(self, call_id: str) -> str:
        """A tool did not run, as it was not allowed to."""
        return chunk("tool-output-denied", toolCallId=call_id)

    def waiting(self) -> str:
        """The end of this response, where the message goes on when the user has answered what was asked."""
        return self._finish("tool-calls", {}) + _DONE

    def completed(self) -> str:
        """The end."""
        return ("" if self._finished else self._finish("other", {})) + _DONE

    def stopped(self) -> str:
        """The end, where somebody stopped the stream."""
        return self._close() + chunk("abort", reason="stopped") + _DONE

    def failed(self, error: Exception) -> str:
        """The end, where the stream failed: `useChat` shows the text as its `error`."""
        return self._close() + chunk("error", errorText=str(error_facts(error)["message"])) + _DONE

    def _finish(self, reason: str, metadata: Mapping[str, object]) -> str:
        self._finished = True
        extra = {"messageMetadata": metadata} if metadata else {}
        return self.finish_step() + chunk("finish", finishReason=reason, **extra)

    def _delta(self, kind: _Kind, text: str) -> str:
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


def _is_to_be_carried(response: Response) -> bool:
    if any(isinstance(part, VendorPart) for part in response.parts):
        return True
    signed = any(isinstance(part, ReasoningPart | ToolCall) and part.vendor for part in response.parts)
    return signed and bool(response.tool_calls)


_DONE = "data: [DONE]\n\n"


def chunk(kind: str, **fields: object) -> str:
    r"""One chunk of the protocol as a server-sent event.

    >>> chunk("text-end", id="1")
    'data: {"type":"text-end","id":"1"}\n\n'
    """
    return f"data: {msgspec.json.encode({'type': kind, **fields}, enc_hook=str).decode()}\n\n"


def _metadata(response: Response) -> dict[str, object]:
    usage = {name: count for name, count in msgspec.structs.asdict(response.usage).items() if count is not None}
    counted = any(name.endswith("tokens") for name in usage)
    facts = {"model": response.model, "provider": response.provider, "usage": usage if counted else None}
    return {name: value for name, value in facts.items() if value is not None}
