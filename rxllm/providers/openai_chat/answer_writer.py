"""Writes answers as OpenAI Chat Completions. Reasoning travels as `reasoning_content`, as several servers have it.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import encode
from ...events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from ...messages import ToolCall
from .._answer_writer import AnswerHead, AnswerWriter, is_counted, sse
from .._vendor_terms import WORDS


class ChatCompletionsWriter(AnswerWriter):
    """An `AnswerWriter` of `chat.completion.chunk` events."""

    id_prefix = "chatcmpl-"
    words = WORDS["openai-chat"]

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._envelope: dict[str, object] = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
        }
        self._argued: set[int] = set()
        """The calls of which arguments have been written."""

    def begin(self) -> str:
        """Return the chunk with the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def event(self, event: TokenEvent) -> str:
        """Return the chunk of a delta or of a part of a tool call."""
        match event:
            case TextDelta(text):
                return self._chunk({"content": text})
            case ReasoningDelta(text):
                return self._chunk({"reasoning_content": text})
            case ToolCallStart(index, id, name):
                function = {"name": name, "arguments": ""}
                return self._call({"index": index, "id": id, "type": "function", "function": function})
            case ToolCallDelta(index, arguments):
                self._argued.add(index)
                return self._call({"index": index, "function": {"arguments": arguments}})
            case ToolCallEnd(index, call) if index not in self._argued:
                return self._call({"index": index, "function": {"arguments": encode(call.arguments).decode()}})
            case _:
                return ""

    def end(self, response: Response) -> str:
        """Return the finish reason, the token counts if they are wanted, and the end mark."""
        last = self._chunk({}, self._finish(response))
        if self._head.usage and is_counted(response.usage):
            last += sse({**self._envelope, "choices": [], "usage": self.words.whole_counts(response.usage)})
        return last + "data: [DONE]\n\n"

    def error(self, message: str, kind: str) -> str:
        """Return the error that OpenAI's clients raise."""
        return sse({"error": {"message": message, "type": kind, "param": None, "code": kind}})

    def document(self, response: Response) -> dict[str, object]:
        """Return a `chat.completion`."""
        message: dict[str, object] = {"role": "assistant", "content": response.text, "refusal": None}
        if response.reasoning:
            message["reasoning_content"] = response.reasoning
        if response.tool_calls:
            message["tool_calls"] = list(map(_tool_call, response.tool_calls))
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish(response)}
        usage = self.words.whole_counts(response.usage) if is_counted(response.usage) else None
        return {**self._envelope, "object": "chat.completion", "choices": [choice], "usage": usage}

    def _call(self, part: Mapping[str, object]) -> str:
        return self._chunk({"tool_calls": [part]})

    def _chunk(self, delta: Mapping[str, object], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**self._envelope, "choices": [choice]})


def _tool_call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}
