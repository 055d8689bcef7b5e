"""Write the pieces of a reply in the protocol of its request, with the answer writers of the wires."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
from ..providers._writer import AnswerHead, AnswerWriter
from ..providers.anthropic.writer import MessagesWriter
from ..providers.gemini.writer import GenerateContentWriter
from ..providers.ollama.writer import OllamaWriter
from ..providers.openai_chat.writer import ChatCompletionsWriter
from ..providers.openai_responses.writer import ResponsesWriter
from .recorded import RecordedRequest, WireName
from .replies import Reply

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

    def piece(self, events: Sequence[TokenEvent]) -> Iterator[bytes]:
        """Yield a piece of `reply_pieces`, in as many writes as this wire uses."""
        texts = [self._writer.event(event) for event in events]
        if len(texts) > 1:  # the last arguments of a call and its end
            texts[-2:] = ["".join(texts[-2:])]
        yield from (text.encode() for text in texts if text)

    def end(self, finish: FinishReason, usage: Usage | None) -> bytes:
        """Return the last events."""
        return self._writer.end(Response(finish_reason=finish, usage=usage or Usage())).encode()

    def error(self, message: str, kind: str) -> bytes:
        """Return the vendor's error inside the stream."""
        return self._writer.error(message, kind).encode()

    def keep_alive(self) -> bytes:
        """Return a keep-alive, which carries no content."""
        return self._writer.keep_alive().encode()


def reply_pieces(reply: Reply) -> Iterator[tuple[TokenEvent, ...]]:
    """Yield the events of each piece of a reply: a word, or a tool call with its arguments cut in the middle."""
    for piece in words_of(reply.reasoning) if isinstance(reply.reasoning, str) else reply.reasoning:
        yield (ReasoningDelta(piece),)
    for piece in words_of(reply.text) if reply.pieces is None else reply.pieces:
        yield (TextDelta(piece),)
    for index, call in enumerate(reply.tool_calls):
        text = encode(call.arguments).decode()
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas = (ToolCallDelta(index, half) for half in halves)
        yield ToolCallStart(index, call.id, call.name), *deltas, ToolCallEnd(index, call)


def words_of(text: str) -> list[str]:
    """Return `text` cut before each word, as models cut it. The joined pieces are the text.

    >>> words_of("To be, or not")
    ['To', ' be,', ' or', ' not']
    """
    return re.findall(r"\s*\S+|\s+$", text)
