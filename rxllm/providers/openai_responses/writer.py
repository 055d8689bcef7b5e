"""Writes answers as OpenAI Responses: items open and close, and all of them are repeated at the end.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..._json import encode
from ...events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from ...messages import ToolCall
from .._words import WORDS
from .._writer import AnswerHead, AnswerWriter, is_counted, sse

_Json = dict[str, object]
_Kind: TypeAlias = Literal["reasoning", "message", "function_call"]


@dataclass
class _Item:
    """One item of the answer's output."""

    kind: _Kind
    id: str
    index: int
    call: ToolCall | None = None
    pieces: list[str] = field(default_factory=list[str])

    def json(self, status: str) -> _Json:
        """Return the item as far as it has come."""
        text = "".join(self.pieces)
        head: _Json = {"type": self.kind, "id": self.id, "status": status}
        is_new = status == "in_progress"
        if self.call is not None:
            return {**head, "call_id": self.call.id, "name": self.call.name, "arguments": text}
        if self.kind == "reasoning":
            return {**head, "summary": [] if is_new else [_part("reasoning", text)]}
        return {**head, "role": "assistant", "content": [] if is_new else [_part("message", text)]}


class ResponsesWriter(AnswerWriter):
    """An `AnswerWriter` of `response.*` events."""

    id_prefix = "resp_"
    words = WORDS["openai-responses"]

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._number = 0
        self._unique = head.id.removeprefix(self.id_prefix)
        self._open: _Item | None = None
        """The text or reasoning that is being written."""
        self._calls: dict[int, _Item] = {}
        """The calls that are being written, by index."""
        self._items: list[_Item] = []

    def begin(self) -> str:
        """Return the events that say that the answer has begun."""
        response = self._response("in_progress", Response())
        created = self._event("response.created", response=response)
        return created + self._event("response.in_progress", response=response)

    def event(self, event: TokenEvent) -> str:
        """Return the events of a delta or of a part of a tool call."""
        match event:
            case TextDelta(text):
                return self._say("message", text)
            case ReasoningDelta(text):
                return self._say("reasoning", text)
            case ToolCallStart(index, id, name):
                return self._close() + self._start_call(index, ToolCall(id, name, {}))
            case ToolCallDelta(index, arguments) if index in self._calls:
                return self._add_arguments(self._calls[index], arguments)
            case ToolCallEnd(index, call):
                started = "" if index in self._calls else self._close() + self._start_call(index, call)
                return started + self._end_call(self._calls.pop(index), call)
            case _:
                return ""

    def end(self, response: Response) -> str:
        """Return the last event, which holds the whole answer."""
        closed = self._close()
        status = _status(response)
        return closed + self._event(f"response.{status}", response=self._response(status, response))

    def error(self, message: str, kind: str) -> str:
        """Return the event that says that the answer failed."""
        failed = {**self._response("failed", Response()), "error": {"code": kind, "message": message}}
        return self._event("response.failed", response=failed)

    def keep_alive(self) -> str:
        """Return a keep-alive event."""
        return self._event("keepalive")

    def document(self, response: Response) -> _Json:
        """Return a `response`."""
        if response.reasoning:
            self._new_item("reasoning").pieces.append(response.reasoning)
        if response.text or not response.tool_calls:
            self._new_item("message").pieces.append(response.text)
        for call in response.tool_calls:
            self._new_item("function_call", call).pieces.append(encode(call.arguments).decode())
        return self._response(_status(response), response)

    def _say(self, kind: Literal["reasoning", "message"], piece: str) -> str:
        """Return the events of a delta; a new item begins if it is of another kind than the open one."""
        opened, item = "", self._open
        if item is None or item.kind != kind:
            opened = self._close()
            item = self._open = self._new_item(kind)
            opened += self._item_event("added", item)
            opened += self._event(f"{_PARTS[kind]}.added", **_at(item), part=_part(kind, ""))
        item.pieces.append(piece)
        return opened + self._event(f"{_TEXTS[kind]}.delta", **_at(item), delta=piece, **_logprobs(kind))

    def _close(self) -> str:
        """Return the events that end the open item, if there is one."""
        item, self._open = self._open, None
        if item is None:
            return ""
        kind, text = item.kind, "".join(item.pieces)
        done = self._event(f"{_TEXTS[kind]}.done", **_at(item), text=text, **_logprobs(kind))
        done += self._event(f"{_PARTS[kind]}.done", **_at(item), part=_part(kind, text))
        return done + self._item_event("done", item)

    def _start_call(self, index: int, call: ToolCall) -> str:
        item = self._calls[index] = self._new_item("function_call", call)
        return self._item_event("added", item)

    def _add_arguments(self, item: _Item, arguments: str) -> str:
        item.pieces.append(arguments)
        return self._event("response.function_call_arguments.delta", **_at(item), delta=arguments)

    def _end_call(self, item: _Item, call: ToolCall) -> str:
        """Return the events that end a call; its whole arguments if none were written before."""
        events = "" if item.pieces else self._add_arguments(item, encode(call.arguments).decode())
        done = {**_at(item), "name": call.name, "arguments": "".join(item.pieces)}
        events += self._event("response.function_call_arguments.done", **done)
        return events + self._item_event("done", item)

    def _item_event(self, stage: Literal["added", "done"], item: _Item) -> str:
        """Return the event that announces or ends an item, with its JSON."""
        json = item.json("in_progress" if stage == "added" else "completed")
        return self._event(f"response.output_item.{stage}", output_index=item.index, item=json)

    def _new_item(self, kind: _Kind, call: ToolCall | None = None) -> _Item:
        prefix = {"reasoning": "rs", "message": "msg", "function_call": "fc"}[kind]
        index = len(self._items)
        item = _Item(kind, f"{prefix}_{self._unique}_{index}", index, call)
        self._items.append(item)
        return item

    def _response(self, status: str, response: Response) -> _Json:
        """Return the response object with the items so far."""
        incomplete = {"reason": "max_output_tokens" if response.finish_reason == "length" else "content_filter"}
        is_done = status in ("completed", "incomplete")
        return {
            "id": self._head.id,
            "object": "response",
            "created_at": self._head.created,
            "status": status,
            "model": self._head.model,
            "output": [item.json("completed") for item in self._items] if status != "in_progress" else [],
            "error": None,
            "incomplete_details": incomplete if status == "incomplete" else None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "usage": self.words.whole_counts(response.usage, "cached_input_tokens", "reasoning_tokens")
            if is_done and is_counted(response.usage)
            else None,
        }

    def _event(self, kind: str, **fields: object) -> str:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **fields}, kind)


def _status(response: Response) -> str:
    return "incomplete" if response.finish_reason in ("length", "content_filter") else "completed"


def _at(item: _Item) -> _Json:
    """Return the fields that name an item, and its only part, in an event."""
    part = {"reasoning": {"summary_index": 0}, "message": {"content_index": 0}}.get(item.kind, {})
    return {"output_index": item.index, "item_id": item.id, **part}


def _part(kind: _Kind, text: str) -> _Json:
    if kind == "reasoning":
        return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _logprobs(kind: _Kind) -> _Json:
    return {"logprobs": []} if kind == "message" else {}


_TEXTS = {"reasoning": "response.reasoning_summary_text", "message": "response.output_text"}
"""The events of the text of an item, by its kind."""
_PARTS = {"reasoning": "response.reasoning_summary_part", "message": "response.content_part"}
"""The events of its only part."""
