"""Turn an answer into its HTTP response: the bytes, when to write them, and how the response ends. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .._json import encode, object_at
from ..events import (
    ReasoningDelta,
    Response,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from ..providers._answer_writer import AnswerHead, AnswerWriter
from ..providers.anthropic.answer_writer import MessagesWriter
from ..providers.gemini.answer_writer import GenerateContentWriter
from ..providers.ollama.answer_writer import OllamaWriter
from ..providers.openai_chat.answer_writer import ChatCompletionsWriter
from ..providers.openai_responses.answer_writer import ResponsesWriter
from .gates import Gate
from .recorded import RecordedRequest, WireName
from .replies import Drop, Ending, ErrorReply, Fail, HttpFraming, KeepAlive, RawReply, Reply, Reset, Stall

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


class Chunk(NamedTuple):
    """One write: its bytes, the delay before it in seconds, and the gate to pass first."""

    data: bytes
    delay: float = 0.0
    gate: Gate | None = None


@dataclass(frozen=True)
class Script:
    """A whole HTTP response. The chunks may be endless; the ending follows them."""

    chunks: Iterable[Chunk]
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    framing: HttpFraming = "chunked"
    ending: Ending = "whole"


def script_of(reply: Reply | RawReply | ErrorReply, request: RecordedRequest) -> Script:
    """Return the HTTP response that gives `reply` to `request`."""
    wire: WireName = request.wire or "openai-chat"
    if isinstance(reply, ErrorReply):
        return Script([Chunk(error_body(reply, wire))], "application/json", reply.status, reply.headers, "length")
    ending = reply.fault.ending if reply.fault is not None else "whole"
    content_type = WRITERS[wire].content_type
    if isinstance(reply, Reply):
        return Script(_reply_chunks(reply, request), content_type, 200, reply.headers, reply.framing, ending)
    body, content_type = _raw_chunks(reply), reply.content_type or content_type
    return Script(body, content_type, reply.status, reply.headers, reply.framing, ending)


def _reply_chunks(reply: Reply, request: RecordedRequest) -> Iterator[Chunk]:
    """Yield the chunks up to the fault, and what the fault sends; without one, the usage and the end."""
    writer = writer_for(request, reply.id, reply.model or request.model)
    written = 0

    def pieces() -> Iterator[str]:
        nonlocal written
        for events in reply_pieces(reply):  # perhaps endless
            written += 1
            yield from piece_texts(writer, events)

    fault = reply.fault
    if begin := writer.begin():
        yield Chunk(begin.encode())
    for count, text in enumerate(pieces()):
        if fault is not None and count == fault.after:
            break
        yield Chunk(text.encode(), reply.delay if count else 0.0, reply.gate)
    match fault:
        case Fail(_, message, kind):
            yield Chunk(writer.error(message, kind).encode())
        case KeepAlive(_, every):
            while True:
                yield Chunk(writer.keep_alive().encode(), every)
        case None | Stall(None) | Drop(None) | Reset(None):
            finish = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
            usage = counted_usage(reply, request.prompt, written)
            yield Chunk(writer.end(Response(finish_reason=finish, usage=usage or Usage())).encode())
        case _:
            return


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


def counted_usage(reply: Reply, prompt: str, pieces: int) -> Usage | None:
    """Return the usage of `reply` when `pieces` pieces of text and tool calls were sent. Counts words of the prompt."""
    if reply.usage != "counted":
        return reply.usage
    words = len(prompt.split())
    return Usage(input_tokens=words, output_tokens=pieces, total_tokens=words + pieces)


def error_body(reply: ErrorReply, wire: WireName) -> bytes:
    """Return the body of an HTTP error in the vendor's form, or as it is if it is bytes."""
    if isinstance(reply.body, bytes):
        return reply.body
    return encode(_error_document(wire, reply.status, reply.body, reply.kind))


def _raw_chunks(reply: RawReply) -> Iterator[Chunk]:
    after = None if reply.fault is None else reply.fault.after
    for number, piece in enumerate(filter(None, _cut(reply.body, reply.cuts))):
        if number == after:
            return
        yield Chunk(piece, reply.delay if number else 0.0, reply.gate)


def _cut(body: bytes, cuts: int | Iterable[int] | None) -> Iterator[bytes]:
    """Yield `body` in pieces of one size, or of the given sizes and then the rest."""
    if isinstance(cuts, int):
        for start in range(0, len(body), cuts):
            yield body[start : start + cuts]
        return
    start = 0
    for size in cuts or ():
        yield body[start : start + size]
        start += size
    yield body[start:]


def _error_document(wire: WireName, status: int, message: str, kind: str) -> Mapping[str, object]:
    """Return an HTTP error as the vendor of `wire` writes it."""
    match wire:
        case "anthropic":
            return {"type": "error", "error": {"type": kind, "message": message}}
        case "gemini":
            return {"error": {"code": status, "message": message, "status": kind.upper()}}
        case "ollama":
            return {"error": message}
        case _:
            return {"error": {"message": message, "type": kind, "param": None, "code": None}}
