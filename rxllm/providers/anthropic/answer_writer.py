"""Writes answers as Anthropic Messages: content blocks open and close, one after the other.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from ..._json import Json
from ...events import Response
from .._answer_writer import Block, BlockWriter, sse_event
from .._vendor_terms import WORDS


class MessagesWriter(BlockWriter):
    """An `AnswerWriter` of `message_*` and `content_block_*` events."""

    id_prefix = "msg_"
    words = WORDS["anthropic"]
    signature = ""
    """Of thinking. A model's real one is bound to its vendor, so clients of this server get none."""

    def begin(self) -> str:
        """Return the message's start, and a ping."""
        return sse_event("message_start", message=self._message([], Response(), stop_reason=None)) + self.keep_alive()

    def end(self, response: Response) -> str:
        """Return the end of the open block and of the message."""
        delta = {"stop_reason": self._finish(response), "stop_sequence": None}
        usage = {"output_tokens": 0, **self.words.written_counts(response.usage)}
        return self._close_all() + sse_event("message_delta", delta=delta, usage=usage) + sse_event("message_stop")

    def error(self, message: str, kind: str) -> str:
        """Return the error event."""
        return sse_event("error", error={"type": kind, "message": message})

    def keep_alive(self) -> str:
        """Return a ping."""
        return sse_event("ping")

    def document(self, response: Response) -> Json:
        """Return a `message`."""
        content: list[Json] = []
        if response.reasoning:
            content.append({"type": "thinking", "thinking": response.reasoning, "signature": self.signature})
        if response.text:
            content.append({"type": "text", "text": response.text})
        for call in response.tool_calls:
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
        return self._message(content, response, stop_reason=self._finish(response))

    def _message(self, content: list[Json], response: Response, *, stop_reason: str | None) -> Json:
        """Return a `message` object with this content and the token counts of `response`."""
        counts = {"input_tokens": self._head.input_tokens, "output_tokens": 0}
        return {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": counts | self.words.written_counts(response.usage),
        }

    def _opened(self, block: Block) -> str:
        """Return the event that begins a block, and an empty delta for a tool call."""
        match block.key:
            case "text":
                content: Json = {"type": "text", "text": ""}
            case "reasoning":
                content = {"type": "thinking", "thinking": "", "signature": ""}
            case _:
                content = {"type": "tool_use", "id": block.call.id, "name": block.call.name, "input": {}}
        start = sse_event("content_block_start", index=block.index, content_block=content)
        return start + (self._added(block, "") if isinstance(block.key, int) else "")

    def _added(self, block: Block, piece: str) -> str:
        match block.key:
            case "text":
                return self._delta(block, type="text_delta", text=piece)
            case "reasoning":
                return self._delta(block, type="thinking_delta", thinking=piece)
            case _:
                return self._delta(block, type="input_json_delta", partial_json=piece)

    def _closed(self, block: Block) -> str:
        is_thought = block.key == "reasoning"
        signed = self._delta(block, type="signature_delta", signature=self.signature) if is_thought else ""
        return signed + sse_event("content_block_stop", index=block.index)

    def _delta(self, block: Block, **delta: object) -> str:
        return sse_event("content_block_delta", index=block.index, delta=delta)
