"""What all answer writers share: their contract, and the framing of their events.

A writer is the server's side of a wire: it writes the events of an answer as the vendor does. The web server answers
clients of the vendors' APIs with it, and the scripted test server plays the vendor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .._json import encode
from ..events import Response, TokenEvent, Usage
from ._words import Words

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
    def document(self, response: Response) -> dict[str, object]:
        """Return the answer as the one JSON document of a request without streaming."""

    def _finish(self, response: Response) -> str:
        """Return the vendor's word for the finish reason."""
        return self.words.word_for(response.finish_reason or "stop") or self._head.unknown_finish


def sse(payload: Mapping[str, object], event: str = "") -> str:
    """Return one SSE event with this name, or without a name."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {encode(payload).decode()}\n\n"


def sse_event(kind: str, **fields: object) -> str:
    """Return one SSE event with its name in its payload too."""
    return sse({"type": kind, **fields}, kind)


def is_counted(usage: Usage) -> bool:
    """Return whether the vendor gave any token count."""
    return usage.input_tokens is not None or usage.output_tokens is not None or usage.total_tokens is not None
