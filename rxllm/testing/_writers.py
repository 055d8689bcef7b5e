"""Write the pieces of a reply in the protocol of its request, with the answer writers of the wires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .._json import encode, object_at
from ..events import (
    FinishReason,
    ReasoningDelta,
    Response,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from ..messages import ToolCall
from ..providers._writer import AnswerHead, AnswerWriter
from ..providers.anthropic.writer import MessagesWriter
from ..providers.gemini.writer import GenerateContentWriter
from ..providers.ollama.writer import OllamaWriter
from ..providers.openai_chat.writer import ChatCompletionsWriter
from ..providers.openai_responses.writer import ResponsesWriter
from .recorded import RecordedRequest, WireName

_REPLY_ID = "reply_1"


class _SignedMessagesWriter(MessagesWriter):
    """Signs thinking, as the vendor does."""

    signature = "c2lnbmVk"


WRITERS: Mapping[WireName, type[AnswerWriter]] = {
    "openai-chat": ChatCompletionsWriter,
    "openai-responses": ResponsesWriter,
    "anthropic": _SignedMessagesWriter,
    "gemini": GenerateContentWriter,
    "ollama": OllamaWriter,
}


class ReplyWriter:
    """Writes the pieces of one reply as bytes of the request's wire."""

    def __init__(self, request: RecordedRequest, answer_id: str, model: str) -> None:
        wire = request.wire or "openai-chat"
        kind = WRITERS[wire]
        wants_usage = wire != "openai-chat" or bool(object_at(request.json, "stream_options").get("include_usage"))
        head = AnswerHead(answer_id or kind.id_prefix + _REPLY_ID, model, usage=wants_usage)
        self._writer = kind(replace(head, input_tokens=len(request.prompt.split()), unknown_finish="unheard_of"))
        self.content_type = kind.content_type

    def begin(self) -> bytes:
        """Return what precedes the first piece."""
        return self._writer.begin().encode()

    def reasoning(self, piece: str) -> bytes:
        """Return a piece of reasoning."""
        return self._writer.event(ReasoningDelta(piece)).encode()

    def text(self, piece: str) -> bytes:
        """Return a piece of text."""
        return self._writer.event(TextDelta(piece)).encode()

    def tool_call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        """Yield a whole tool call, in as many events as this wire uses."""
        pieces = [ToolCallDelta(index, piece) for piece in argument_pieces(call)]
        events: list[TokenEvent] = [ToolCallStart(index, call.id, call.name), *pieces, ToolCallEnd(index, call)]
        texts = [self._writer.event(event) for event in events]
        *before, delta, end = texts
        yield from (text.encode() for text in (*before, delta + end) if text)

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        """Return the last events."""
        return self._writer.end(Response(finish_reason=finish, usage=usage or Usage())).encode()

    def error(self, message: str, kind: str) -> bytes:
        """Return the vendor's error inside the stream."""
        return self._writer.error(message, kind).encode()

    def keep_alive(self) -> bytes:
        """Return a keep-alive, which carries no content."""
        return self._writer.keep_alive().encode()


def argument_pieces(call: ToolCall) -> list[str]:
    """Return the arguments' JSON text in two pieces, cut in the middle."""
    text = encode(call.arguments).decode()
    middle = len(text) // 2
    return [text[:middle], text[middle:]]
