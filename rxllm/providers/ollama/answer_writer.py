"""Writes answers as Ollama `/api/chat`: a JSON document per line; tool calls come whole.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._json import Json, encode
from ...events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallEnd
from .._answer_writer import AnswerHead, AnswerWriter
from .._vendor_terms import WORDS


class OllamaWriter(AnswerWriter):
    """An `AnswerWriter` of lines."""

    content_type = "application/x-ndjson"
    words = WORDS["ollama"]

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._line_head: Json = {"model": head.model, "created_at": "2025-01-01T00:00:00.000000Z"}

    def event(self, event: TokenEvent) -> str:
        """Return the line of a delta, or of a whole tool call."""
        match event:
            case TextDelta(text):
                return self._line({"content": text})
            case ReasoningDelta(text):
                return self._line({"content": "", "thinking": text})
            case ToolCallEnd(index, call):
                function = {"index": index, "name": call.name, "arguments": call.arguments}
                return self._line({"content": "", "tool_calls": [{"id": call.id, "function": function}]})
            case _:
                return ""

    def end(self, response: Response) -> str:
        """Return the line that says that the answer is done."""
        return encode(self._document({"content": ""}, response)).decode() + "\n"

    def error(self, message: str, kind: str) -> str:
        """Return the error."""
        return encode({"error": message}).decode() + "\n"

    def keep_alive(self) -> str:
        """Return an empty line."""
        return "\n"

    def document(self, response: Response) -> Json:
        """Return the answer as one document."""
        calls = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in response.tool_calls
        ]
        return self._document({"content": response.text, **({"tool_calls": calls} if calls else {})}, response)

    def _document(self, message: Mapping[str, object], response: Response) -> Json:
        reason = "length" if response.finish_reason == "length" else "stop"
        counts = self.words.written_counts(response.usage)
        said = {"role": "assistant", **message}
        return {**self._line_head, "message": said, "done": True, "done_reason": reason, "total_duration": 1, **counts}

    def _line(self, message: Mapping[str, object]) -> str:
        return encode({**self._line_head, "message": {"role": "assistant", **message}, "done": False}).decode() + "\n"
