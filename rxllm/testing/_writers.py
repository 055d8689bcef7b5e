"""Write the pieces of a reply in the protocol of its request, with the answer writers of the wires."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .._json import encode, object_at
from ..events import (
    ReasoningDelta,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
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


def writer_for(request: RecordedRequest, answer_id: str, model: str) -> AnswerWriter:
    """Return a writer of the request's wire."""
    wire = request.wire or "openai-chat"
    kind = WRITERS[wire]
    wants_usage = wire != "openai-chat" or bool(object_at(request.json, "stream_options").get("include_usage"))
    head = AnswerHead(answer_id or kind.id_prefix + _REPLY_ID, model, usage=wants_usage)
    return kind(replace(head, input_tokens=len(request.prompt.split()), unknown_finish="unheard_of"))


def piece_texts(writer: AnswerWriter, events: Sequence[TokenEvent]) -> Iterator[str]:
    """Yield a piece of `reply_pieces`, in as many writes as this wire uses."""
    texts = [writer.event(event) for event in events]
    if len(texts) > 1:  # the last arguments of a call and its end
        texts[-2:] = ["".join(texts[-2:])]
    yield from filter(None, texts)


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
