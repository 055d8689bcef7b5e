"""How the two OpenAI protocols say an answer: Chat Completions and Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .._json import object_at
from ..events import FinishReason, Usage
from ..messages import ToolCall
from ._writing import ANSWER_ID, argument_pieces, known, sse
from .recorded import RecordedRequest

_EMPTY_TEXT: Mapping[str, object] = {"type": "output_text", "text": "", "annotations": []}


class ChatWriter:
    """OpenAI Chat Completions."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        self._head = {"id": answer_id or f"chatcmpl-{ANSWER_ID}", "object": "chat.completion.chunk", "created": 0}
        self._model = model
        self._wants_usage = bool(object_at(request.json, "stream_options").get("include_usage"))

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def reasoning(self, piece: str) -> bytes:
        return self._chunk({"reasoning_content": piece})

    def text(self, piece: str) -> bytes:
        return self._chunk({"content": piece})

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        named = {"name": call.name, "arguments": ""}
        yield self._chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": named}]})
        for piece in argument_pieces(call):
            yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        reason = {"refusal": "stop", "other": "unheard_of"}.get(finish, finish)
        last = self._chunk({}, reason)
        if usage is not None and self._wants_usage:
            last += sse({**self._head, "model": self._model, "choices": [], "usage": _chat_usage(usage)})
        return last + b"data: [DONE]\n\n"

    def error(self, message: str, kind: str) -> bytes:
        return sse({"error": {"message": message, "type": kind, "code": kind}})

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def _chunk(self, delta: Mapping[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({**self._head, "model": self._model, "choices": [choice]})


class ResponsesWriter:
    """OpenAI Responses: items open and close, and are all repeated at the end."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        self._response: dict[str, object] = {"id": answer_id or f"resp_{ANSWER_ID}", "object": "response"}
        self._model = model
        self._number = 0
        self._open: str | None = None
        self._said: list[str] = []
        self._items: list[dict[str, object]] = []

    def begin(self) -> bytes:
        response = self._whole("in_progress", None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def reasoning(self, piece: str) -> bytes:
        opened = self._turn_to("reasoning")
        self._said.append(piece)
        return opened + self._event("response.reasoning_summary_text.delta", **self._at("summary_index"), delta=piece)

    def text(self, piece: str) -> bytes:
        opened = self._turn_to("message")
        self._said.append(piece)
        return opened + self._event("response.output_text.delta", **self._at("content_index"), delta=piece)

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        closed = self._turn_to(None)
        item = {"type": "function_call", "id": f"fc_{index}", "call_id": call.id, "name": call.name}
        at = {"output_index": len(self._items), "item_id": item["id"]}
        added = {**item, "arguments": "", "status": "in_progress"}
        yield closed + self._event("response.output_item.added", output_index=at["output_index"], item=added)
        *pieces, last = argument_pieces(call)
        for piece in pieces:
            yield self._event("response.function_call_arguments.delta", **at, delta=piece)
        whole = "".join((*pieces, last))
        self._items.append({**item, "arguments": whole, "status": "completed"})
        yield (
            self._event("response.function_call_arguments.delta", **at, delta=last)
            + self._event("response.function_call_arguments.done", **at, arguments=whole)
            + self._event("response.output_item.done", output_index=at["output_index"], item=self._items[-1])
        )

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        closed = self._turn_to(None)
        if finish in ("length", "content_filter"):
            reason = "max_output_tokens" if finish == "length" else "content_filter"
            response = {**self._whole("incomplete", usage), "incomplete_details": {"reason": reason}}
            return closed + self._event("response.incomplete", response=response)
        return closed + self._event("response.completed", response=self._whole("completed", usage))

    def error(self, message: str, kind: str) -> bytes:
        failed = {**self._whole("failed", None), "error": {"code": kind, "message": message}}
        return self._event("response.failed", response=failed)

    def keep_alive(self) -> bytes:
        return self._event("keepalive")

    def _turn_to(self, kind: str | None) -> bytes:
        """Close the item that is open and open one of `kind`."""
        if kind == self._open:
            return b""
        out = self._closed() if self._open else b""
        self._open, self._said = kind, []
        if kind is None:
            return out
        item: dict[str, object] = {"type": kind, "id": f"item_{len(self._items)}", "status": "in_progress"}
        item |= {"summary": []} if kind == "reasoning" else {"role": "assistant", "content": []}
        out += self._event("response.output_item.added", output_index=len(self._items), item=item)
        if kind == "reasoning":
            return out + self._event(
                "response.reasoning_summary_part.added",
                **self._at("summary_index"),
                part={"type": "summary_text", "text": ""},
            )
        return out + self._event("response.content_part.added", **self._at("content_index"), part=_EMPTY_TEXT)

    def _closed(self) -> bytes:
        text, kind = "".join(self._said), self._open
        item: dict[str, object] = {"type": kind, "id": f"item_{len(self._items)}", "status": "completed"}
        if kind == "reasoning":
            part: dict[str, object] = {"type": "summary_text", "text": text}
            out = self._event("response.reasoning_summary_text.done", **self._at("summary_index"), text=text)
            out += self._event("response.reasoning_summary_part.done", **self._at("summary_index"), part=part)
            item["summary"] = [part]
        else:
            part = {**_EMPTY_TEXT, "text": text}
            out = self._event("response.output_text.done", **self._at("content_index"), text=text)
            out += self._event("response.content_part.done", **self._at("content_index"), part=part)
            item |= {"role": "assistant", "content": [part]}
        out += self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        return out

    def _at(self, part_index: str) -> dict[str, object]:
        return {"output_index": len(self._items), "item_id": f"item_{len(self._items)}", part_index: 0}

    def _whole(self, status: str, usage: Usage | None) -> dict[str, object]:
        return {
            **self._response,
            "created_at": 0,
            "status": status,
            "model": self._model,
            "output": list(self._items),
            "error": None,
            "incomplete_details": None,
            "usage": None if usage is None else _responses_usage(usage),
        }

    def _event(self, kind: str, **fields: object) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **fields}, kind)


def _chat_usage(usage: Usage) -> dict[str, object]:
    return known(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=known(cached_tokens=usage.cached_input_tokens),
        completion_tokens_details=known(reasoning_tokens=usage.reasoning_tokens),
    )


def _responses_usage(usage: Usage) -> dict[str, object]:
    return known(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_tokens_details=known(cached_tokens=usage.cached_input_tokens),
        output_tokens_details=known(reasoning_tokens=usage.reasoning_tokens),
    )
