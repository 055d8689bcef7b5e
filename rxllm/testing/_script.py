"""Turn an answer into its HTTP response: the bytes, when to write them, and how the response ends. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from .._json import encode
from ..events import Usage
from ._writers import WRITERS, ReplyWriter, reply_pieces
from .gates import Gate
from .recorded import RecordedRequest, WireName
from .replies import Drop, ErrorReply, Fail, Fault, HttpFraming, KeepAlive, RawReply, Reply, Reset, Stall

Ending: TypeAlias = Literal["whole", "stall", "drop", "reset"]


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


def script_of(answer: Reply | RawReply | ErrorReply, request: RecordedRequest) -> Script:
    """Return the HTTP response that gives `answer` to `request`."""
    wire: WireName = request.wire or "openai-chat"
    match answer:
        case Reply():
            writer = ReplyWriter(request, answer.id, answer.model or request.model)
            return Script(
                _reply_chunks(answer, writer, request.prompt),
                writer.content_type,
                headers=answer.headers,
                framing=answer.framing,
                ending=_ending(answer.fault),
            )
        case RawReply():
            return Script(
                _raw_chunks(answer),
                answer.content_type or WRITERS[wire].content_type,
                answer.status,
                answer.headers,
                answer.framing,
                _ending(answer.fault),
            )
        case ErrorReply():
            chunks = [Chunk(error_body(answer, wire))]
            return Script(chunks, "application/json", answer.status, answer.headers, "length")


def _reply_chunks(reply: Reply, writer: ReplyWriter, prompt: str) -> Iterator[Chunk]:
    """Yield the chunks up to the fault, and what the fault sends; without one, the usage and the end."""
    written = 0

    def pieces() -> Iterator[bytes]:
        nonlocal written
        for events in reply_pieces(reply):  # perhaps endless
            written += 1
            yield from writer.piece(events)

    fault = reply.fault
    if begin := writer.begin():
        yield Chunk(begin)
    for count, data in enumerate(pieces()):
        if fault is not None and count == fault.after:
            break
        yield Chunk(data, reply.delay if count else 0.0, reply.gate)
    match fault:
        case Fail(_, message, kind):
            yield Chunk(writer.error(message, kind))
        case KeepAlive(_, every):
            while True:
                yield Chunk(writer.keep_alive(), every)
        case None | Stall(None) | Drop(None) | Reset(None):
            finish = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
            yield Chunk(writer.end(finish, counted_usage(reply, prompt, written)))
        case _:
            return


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


def _ending(fault: Fault | None) -> Ending:
    """Return how the response ends with this fault."""
    match fault:
        case Stall():
            return "stall"
        case Drop():
            return "drop"
        case Reset():
            return "reset"
        case _:
            return "whole"


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
