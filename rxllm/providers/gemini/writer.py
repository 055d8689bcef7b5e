"""Writes answers as Gemini `generateContent` with alt=sse: a finishReason ends them, and tool calls come whole.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from collections.abc import Mapping

from ...events import FinishReason, ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallEnd, Usage
from .._request import without_none
from .._writer import SSE_COMMENT, AnswerHead, is_counted, sse

_Json = dict[str, object]

_FINISH: Mapping[FinishReason | None, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    None: "STOP",
}


class GenerateContentWriter:
    """An `AnswerWriter` of `GenerateContentResponse` events."""

    content_type = "text/event-stream"
    id_prefix = ""

    def __init__(self, head: AnswerHead) -> None:
        self._tail: _Json = {"modelVersion": head.model, "responseId": head.id}
        self._unknown_finish = head.unknown_finish

    def begin(self) -> str:
        """Return nothing."""
        return ""

    def event(self, event: TokenEvent) -> str:
        """Return the event of a delta, or of a whole tool call."""
        match event:
            case TextDelta(text):
                return self._part({"text": text})
            case ReasoningDelta(text):
                return self._part({"text": text, "thought": True})
            case ToolCallEnd(_, call):
                return self._part({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}})
            case _:
                return ""

    def end(self, response: Response) -> str:
        """Return the event with the finish reason and the counts."""
        return sse(self._document([{"text": ""}], response))

    def error(self, message: str, kind: str) -> str:
        """Return the error."""
        return sse({"error": {"code": 503, "message": message, "status": kind.upper()}})

    def keep_alive(self) -> str:
        """Return a comment."""
        return SSE_COMMENT

    def document(self, response: Response) -> _Json:
        """Return the answer as one `GenerateContentResponse`."""
        calls: list[_Json] = [
            {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}} for call in response.tool_calls
        ]
        return self._document([{"text": response.text}, *calls], response)

    def _document(self, parts: list[_Json], response: Response) -> _Json:
        finish = _FINISH.get(response.finish_reason, self._unknown_finish)
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, "finishReason": finish}
        counts: _Json = {"usageMetadata": _usage(response.usage)} if is_counted(response.usage) else {}
        return {"candidates": [candidate], **counts, **self._tail}

    def _part(self, part: Mapping[str, object]) -> str:
        return sse({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **self._tail})


def _usage(usage: Usage) -> _Json:
    return without_none(
        promptTokenCount=usage.input_tokens,
        candidatesTokenCount=usage.output_tokens,
        totalTokenCount=usage.total_tokens,
        cachedContentTokenCount=usage.cached_input_tokens,
        thoughtsTokenCount=usage.reasoning_tokens,
    )
