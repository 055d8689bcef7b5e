"""What all answer writers share: their contract, and the framing of their events.

A writer is the server's side of a wire: it writes the events of an answer as the vendor does. The web server answers
clients of the vendors' APIs with it, and the scripted test server plays the vendor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from .._json import Json, encode, encode_line
from ..events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart, Usage
from ..messages import ToolCall
from ._vendor_terms import Words

SSE_COMMENT = ": keep-alive\n\n"


@dataclass(frozen=True)
class AnswerHead:
    """What a writer says about an answer beside its events.

    Args:
        id: The answer's id, with the wire's prefix.
        model: The model's name.
        created: Seconds since the epoch.
        usage: Whether the client wants the token counts, if the protocol lets the client choose.
        input_tokens: Tokens of the prompt, if the protocol sends them before the answer.
        unknown_finish: What to write for the finish reason "other".
    """

    id: str
    model: str
    created: int = 0
    usage: bool = True
    input_tokens: int = 0
    unknown_finish: str = "stop"


_NO_CALL = ToolCall("", "", {})


class AnswerWriter(ABC):
    """The text of one answer on one wire."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    """Of the streamed answer."""
    id_prefix: ClassVar[str] = ""
    """What ids of answers begin with."""
    words: ClassVar[Words]
    """The words of the wire."""

    def __init__(self, head: AnswerHead) -> None:
        self._head = head

    def begin(self) -> str:
        """Return what comes before the first event."""
        return ""

    @abstractmethod
    def event(self, event: TokenEvent) -> str:
        """Return the text of a delta or of a part of a tool call; "" for all other events."""

    @abstractmethod
    def end(self, response: Response) -> str:
        """Return the last events of a complete answer."""

    @abstractmethod
    def error(self, message: str, kind: str) -> str:
        """Return the vendor's error inside a stream."""

    def keep_alive(self) -> str:
        """Return a keep-alive message without content."""
        return SSE_COMMENT

    @abstractmethod
    def document(self, response: Response) -> Json:
        """Return the answer as the one JSON document of a request without streaming."""

    def _finish(self, response: Response) -> str:
        """Return the vendor's word for the finish reason."""
        return self.words.word_for(response.finish_reason or "stop") or self._head.unknown_finish


BlockKey: TypeAlias = Literal["text", "reasoning"] | int
"""What a block holds: text, reasoning, or the tool call of an index."""


@dataclass
class Block:
    """A block of an answer, such as Anthropic's content blocks and the output items of OpenAI Responses."""

    key: BlockKey
    index: int
    call: ToolCall
    """Its tool call, if it is one; without arguments."""
    pieces: list[str] = field(default_factory=list[str])


class BlockWriter(AnswerWriter):
    """An answer of blocks that open and close one after the other: what comes beside an open tool call waits."""

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(head)
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._waiting: list[TokenEvent] = []

    @abstractmethod
    def _opened(self, block: Block) -> str:
        """Return the events that begin a block."""

    @abstractmethod
    def _added(self, block: Block, piece: str) -> str:
        """Return the event of a delta."""

    @abstractmethod
    def _closed(self, block: Block) -> str:
        """Return the events that end a block."""

    def event(self, event: TokenEvent) -> str:
        """Return the events of a delta or of a part of a tool call, and of what has waited for its end."""
        key: BlockKey
        call, piece = _NO_CALL, ""
        match event:
            case TextDelta(piece):
                key = "text"
            case ReasoningDelta(piece):
                key = "reasoning"
            case ToolCallStart(key, id, name):
                call = ToolCall(id, name, {})
            case ToolCallDelta(key, piece):
                pass
            case ToolCallEnd(key, call):
                pass
            case _:
                return ""
        before = self._open
        if before is not None and before.key != key and isinstance(before.key, int):
            self._waiting.append(event)
            return ""
        written = "" if before is None or before.key == key else self._close()
        block = self._open
        if block is None:
            block = self._open = self._new_block(key, call)
            written += self._opened(block)
        ends = isinstance(event, ToolCallEnd)
        if ends and not block.pieces:
            piece = encode(call.arguments).decode()
        if piece:
            block.pieces.append(piece)
            written += self._added(block, piece)
        return written + (self._close() if ends else "")

    def _new_block(self, key: BlockKey, call: ToolCall = _NO_CALL) -> Block:
        self._blocks.append(Block(key, len(self._blocks), call))
        return self._blocks[-1]

    def _close(self) -> str:
        """Return the events that end the open block, if there is one, and those of what has waited."""
        block, self._open = self._open, None
        waiting, self._waiting = self._waiting, []
        closed = "" if block is None else self._closed(block)
        return closed + "".join(map(self.event, waiting))

    def _close_all(self) -> str:
        """Return the events that end all blocks."""
        closed = ""
        while self._open is not None:
            closed += self._close()
        return closed


def sse(payload: Mapping[str, object], event: str = "") -> str:
    """Return one SSE event with this name, or without a name."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {encode_line(payload)}\n\n"


def sse_event(kind: str, **fields: object) -> str:
    """Return one SSE event with its name in its payload too."""
    return sse({"type": kind, **fields}, kind)


def is_counted(usage: Usage) -> bool:
    """Return whether the vendor gave any token count."""
    return usage.input_tokens is not None or usage.output_tokens is not None or usage.total_tokens is not None
