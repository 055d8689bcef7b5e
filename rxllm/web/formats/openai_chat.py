"""Streams as the OpenAI Chat Completions API tells them: what any OpenAI client reads. No I/O here.

Reasoning travels as `reasoning_content`, as several servers have it. Tool calls are sent only to
a client that brought tools: those of an assistant here are run here. The protocol cannot take
anything back, so a `StreamReset` after the first piece is an error to the client.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..._json import encode
from ...errors import APIStatusError, ConfigurationError, LLMError, StreamInterruptedError
from ...events import (
    FinishReason,
    ReasoningDelta,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from ...messages import ToolCall
from .json_lines import error_facts
from .sse import SSE_COMMENT, SSE_HEADERS

_FINISH: Mapping[FinishReason | None, str] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


class OpenAIStream:
    """One answer as `chat.completion.chunk` events; `id` and `created` (seconds) are the answer's."""

    headers: Mapping[str, str] = SSE_HEADERS
    silence = SSE_COMMENT

    def __init__(self, id: str, model: str, created: int, *, usage: bool = False, tools: bool = False) -> None:  # noqa: A002 - the field's name
        self._envelope = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._usage = usage
        self._tools = tools
        self._argued: set[int] = set()
        self._told = False
        self._failed = False

    def begin(self) -> str:
        """Whose turn it is."""
        return self._chunk({"role": "assistant", "content": ""})

    def event(self, number: int, event: object) -> str:
        """The chunks that one event brings."""
        if self._failed:
            return ""
        match event:
            case TextDelta(text):
                self._told = True
                return self._chunk({"content": text})
            case ReasoningDelta(text):
                self._told = True
                return self._chunk({"reasoning_content": text})
            case ToolCallStart() | ToolCallDelta() | ToolCallEnd():
                if not self._tools:
                    return ""
                self._told = True
                return "".join(self._chunk({"tool_calls": [part]}) for part in self._call_parts(event))
            case StreamReset():
                if not self._told:
                    return ""
                self._failed = True
                return _data({"error": openai_error(StreamInterruptedError("the answer broke off and began again"))})
            case StreamEnd(response):
                finish = self._chunk({}, _FINISH.get(response.finish_reason, "stop"))
                return finish + self._counts(response.usage)
            case StreamStart() | UsageUpdate() | VendorEvent():
                return ""
            case _:  # no token event
                return ""

    def completed(self) -> str:
        """The end."""
        return "" if self._failed else "data: [DONE]\n\n"

    def stopped(self) -> str:
        """The end, where somebody stopped the stream: an error, so that half an answer never looks whole."""
        return self.failed(StreamInterruptedError("the stream was stopped at the server"))

    def failed(self, error: Exception) -> str:
        """The end, where the stream failed."""
        return "" if self._failed else _data({"error": openai_error(error)})

    def _call_parts(self, event: ToolCallStart | ToolCallDelta | ToolCallEnd) -> Iterator[dict[str, object]]:
        match event:
            case ToolCallStart(index, id, name):
                function = {"name": name, "arguments": ""}
                yield {"index": index, "id": id, "type": "function", "function": function}
            case ToolCallDelta(index, arguments):
                self._argued.add(index)
                yield {"index": index, "function": {"arguments": arguments}}
            case ToolCallEnd(index, call):
                if index not in self._argued:
                    yield {"index": index, "function": {"arguments": encode(call.arguments).decode()}}

    def _counts(self, usage: Usage) -> str:
        if not self._usage:
            return ""
        return _data({**self._envelope, "choices": [], "usage": _usage(usage)})

    def _chunk(self, delta: Mapping[str, object], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**self._envelope, "choices": [choice]})


class OpenAICompletion:
    """One whole answer as a `chat.completion`: nothing is sent before it is there."""

    headers: Mapping[str, str] = {"content-type": "application/json"}
    silence = "\n"  # white space before a JSON document means nothing, and shows that the connection lives

    def __init__(self, id: str, model: str, created: int, *, tools: bool = False) -> None:  # noqa: A002 - the field's name
        self._envelope = {"id": id, "object": "chat.completion", "created": created, "model": model}
        self._tools = tools
        self._told = False

    def begin(self) -> str:
        """Nothing yet."""
        return ""

    def event(self, number: int, event: object) -> str:
        """The answer, when it is whole."""
        if not isinstance(event, StreamEnd):
            return ""
        self._told = True
        response = event.response
        message: dict[str, object] = {"role": "assistant", "content": response.text, "refusal": None}
        if response.reasoning:
            message["reasoning_content"] = response.reasoning
        if response.tool_calls and self._tools:
            message["tool_calls"] = list(map(_call, response.tool_calls))
        finish = _FINISH.get(response.finish_reason, "stop")
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return encode({**self._envelope, "choices": [choice], "usage": _usage(response.usage)}).decode()

    def completed(self) -> str:
        """Nothing more; an error where there was no answer."""
        return "" if self._told else self.failed(StreamInterruptedError("the stream ended without an answer"))

    def stopped(self) -> str:
        """Somebody stopped the stream."""
        return self.failed(StreamInterruptedError("the stream was stopped at the server"))

    def failed(self, error: Exception) -> str:
        """The stream failed."""
        return encode({"error": openai_error(error)}).decode()


def openai_error(error: Exception) -> dict[str, object]:
    """The "error" object for a client; it holds no key.

    >>> openai_error(ConfigurationError("no such model"))["type"]
    'invalid_request_error'
    """
    facts = error_facts(error)
    kind = "invalid_request_error" if 400 <= openai_status(error) < 500 else "server_error"
    return {"message": facts["message"], "type": kind, "param": None, "code": facts["kind"]}


def openai_status(error: Exception) -> int:
    """The HTTP status that tells a client of `error`: the provider's own, else 400 or 502; 500 for what is not ours.

    A provider that refuses this server's own key is this server's trouble, not its client's.
    """
    match error:
        case APIStatusError(status_code=int(status)):
            return 502 if status in (401, 403) else status
        case ConfigurationError():
            return 400
        case LLMError():
            return 502
        case _:
            return 500


def _call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _usage(usage: Usage) -> dict[str, object] | None:
    """The counts under OpenAI's names; None where the vendor gave none."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    total = usage.total_tokens
    if total is None:
        total = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    counts: dict[str, object] = {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": total,
    }
    if usage.cached_input_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def _data(value: object) -> str:
    return f"data: {encode(value).decode()}\n\n"
