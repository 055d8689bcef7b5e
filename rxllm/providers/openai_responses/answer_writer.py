"""Writes answers as OpenAI Responses: items open and close, and all of them are repeated at the end.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..._json import Json, encode
from ...events import Response
from .._answer_writer import AnswerHead, Block, BlockKey, BlockWriter, is_counted, sse
from .._vendor_terms import WORDS


class ResponsesWriter(BlockWriter):
    """An `AnswerWriter` of `response.*` events."""

    id_prefix = "resp_"
    words = WORDS["openai-responses"]

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._number = 0

    def begin(self) -> str:
        """Return the events that say that the answer has begun."""
        response = self._response("in_progress", Response())
        created = self._event("response.created", response=response)
        return created + self._event("response.in_progress", response=response)

    def end(self, response: Response) -> str:
        """Return the last event, which holds the whole answer."""
        closed, status = self._close_all(), _status(response)
        return closed + self._event(f"response.{status}", response=self._response(status, response))

    def error(self, message: str, kind: str) -> str:
        """Return the event that says that the answer failed."""
        failed = {**self._response("failed", Response()), "error": {"code": kind, "message": message}}
        return self._event("response.failed", response=failed)

    def keep_alive(self) -> str:
        """Return a keep-alive event."""
        return self._event("keepalive")

    def document(self, response: Response) -> Json:
        """Return a `response`."""
        if response.reasoning:
            self._new_block("reasoning").pieces.append(response.reasoning)
        if response.text or not response.tool_calls:
            self._new_block("text").pieces.append(response.text)
        for index, call in enumerate(response.tool_calls):
            self._new_block(index, call).pieces.append(encode(call.arguments).decode())
        return self._response(_status(response), response)

    def _opened(self, block: Block) -> str:
        added = self._item_event("added", block)
        return added if isinstance(block.key, int) else added + self._part_event("added", block)

    def _added(self, block: Block, piece: str) -> str:
        return self._text_event("delta", block, delta=piece)

    def _closed(self, block: Block) -> str:
        text = "".join(block.pieces)
        if isinstance(block.key, int):
            whole = self._text_event("done", block, name=block.call.name, arguments=text)
        else:
            whole = self._text_event("done", block, text=text) + self._part_event("done", block)
        return whole + self._item_event("done", block)

    def _item_event(self, stage: Literal["added", "done"], block: Block) -> str:
        """Return the event that announces or ends an item, with its JSON."""
        item = self._item(block, "in_progress" if stage == "added" else "completed")
        return self._event(f"response.output_item.{stage}", output_index=block.index, item=item)

    def _part_event(self, stage: Literal["added", "done"], block: Block) -> str:
        """Return the event that announces or ends the only part of a message or of reasoning."""
        kind = "reasoning_summary_part" if block.key == "reasoning" else "content_part"
        return self._event(f"response.{kind}.{stage}", **self._place(block), part=_part(block))

    def _text_event(self, stage: Literal["delta", "done"], block: Block, **fields: object) -> str:
        """Return an event about the text, or the arguments, of an item."""
        logprobs: Json = {"logprobs": []} if block.key == "text" else {}
        return self._event(f"response.{_kind(block).text}.{stage}", **self._place(block), **fields, **logprobs)

    def _place(self, block: Block) -> Json:
        """Return the fields that name an item, and its only part, in an event."""
        part = {"reasoning": {"summary_index": 0}, "text": {"content_index": 0}}.get(str(block.key), {})
        return {"output_index": block.index, "item_id": self._item_id(block), **part}

    def _item_id(self, block: Block) -> str:
        return f"{_kind(block).id_prefix}_{self._head.id.removeprefix(self.id_prefix)}_{block.index}"

    def _item(self, block: Block, status: str) -> Json:
        """Return the JSON of an item as far as it has come."""
        head: Json = {"type": _kind(block).item, "id": self._item_id(block), "status": status}
        if isinstance(block.key, int):
            arguments = "".join(block.pieces)
            return {**head, "call_id": block.call.id, "name": block.call.name, "arguments": arguments}
        parts = [] if status == "in_progress" else [_part(block)]
        return (
            {**head, "summary": parts} if block.key == "reasoning" else {**head, "role": "assistant", "content": parts}
        )

    def _response(self, status: str, response: Response) -> Json:
        """Return the response object with the items so far."""
        incomplete = {"reason": "max_output_tokens" if response.finish_reason == "length" else "content_filter"}
        is_counted_now = status in ("completed", "incomplete") and is_counted(response.usage)
        counts = self.words.whole_counts(response.usage, "cached_input_tokens", "reasoning_tokens")
        return {
            "id": self._head.id,
            "object": "response",
            "created_at": self._head.created,
            "status": status,
            "model": self._head.model,
            "output": [self._item(block, "completed") for block in self._blocks],
            "error": None,
            "incomplete_details": incomplete if status == "incomplete" else None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "usage": counts if is_counted_now else None,
        }

    def _event(self, kind: str, **fields: object) -> str:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **fields}, kind)


class _Kind(NamedTuple):
    """What a kind of block is called: the type of its item, the beginning of its id, the events of its text."""

    item: str
    id_prefix: str
    text: str


_KINDS: Mapping[BlockKey, _Kind] = {
    "text": _Kind("message", "msg", "output_text"),
    "reasoning": _Kind("reasoning", "rs", "reasoning_summary_text"),
}


def _kind(block: Block) -> _Kind:
    return _KINDS.get(block.key, _Kind("function_call", "fc", "function_call_arguments"))


def _status(response: Response) -> str:
    return "incomplete" if response.finish_reason in ("length", "content_filter") else "completed"


def _part(block: Block) -> Json:
    text = "".join(block.pieces)
    if block.key == "reasoning":
        return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
