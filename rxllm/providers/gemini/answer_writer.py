"""Writes answers as Gemini `generateContent` with alt=sse: a finishReason ends them, and tool calls come whole.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import Json
from ...events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallEnd
from .._answer_writer import AnswerHead, AnswerWriter, sse
from .._vendor_terms import WORDS


class GenerateContentWriter(AnswerWriter):
    """An `AnswerWriter` of `GenerateContentResponse` events."""

    content_type = "text/event-stream"
    words = WORDS["gemini"]

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._tail: Json = {"modelVersion": head.model, "responseId": head.id}

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

    def document(self, response: Response) -> Json:
        """Return the answer as one `GenerateContentResponse`."""
        calls: list[Json] = [
            {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}} for call in response.tool_calls
        ]
        return self._document([{"text": response.text}, *calls], response)

    def _document(self, parts: list[Json], response: Response) -> Json:
        finish = self._finish(response)
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, "finishReason": finish}
        counts = self.words.written_counts(response.usage)
        return {"candidates": [candidate], **({"usageMetadata": counts} if counts else {}), **self._tail}

    def _part(self, part: Mapping[str, object]) -> str:
        return sse({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **self._tail})
