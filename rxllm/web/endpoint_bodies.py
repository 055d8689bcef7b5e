"""One Observable to one client, in each of the formats; disposed as soon as the client is gone.

Each begins the stream at once. Give the feed to `asgi.StreamResponse` or `wsgi.StreamApplication`.
"""

from __future__ import annotations

import secrets
import time
from typing import TypeVar, cast

from reactivex import Observable

from .ai_sdk_turn import UITurn
from .formats.ndjson import NDJSON
from .formats.openai_chat import OpenAIStream, openai_status
from .formats.sse import SSE
from .served_stream import ServedStream
from .stream_body import StreamBody

T = TypeVar("T")


def sse(source: Observable[T]) -> StreamBody:
    """Server-sent events; items are token events, an assistant's events, or other msgspec structs."""
    return StreamBody(_live(source), SSE())


def ndjson(source: Observable[T]) -> StreamBody:
    """Lines of JSON."""
    return StreamBody(_live(source), NDJSON())


def ui_messages(source: Observable[T], *, message_id: str | None = None) -> StreamBody:
    """The AI SDK's UI message stream, for `useChat`."""
    return StreamBody(_live(source), UITurn(message_id))


def openai_chunks(
    source: Observable[T], *, model: str = "rxllm", usage: bool = False, tools: bool = False
) -> StreamBody:
    """Chunks of OpenAI's Chat Completions API; with the counts at the end, and tool calls, where asked for."""
    wire = OpenAIStream(f"chatcmpl-{secrets.token_urlsafe(16)}", model, int(time.time()), usage=usage, tools=tools)
    return StreamBody(_live(source), wire, status_of=openai_status)


def _live(source: Observable[T]) -> ServedStream[object]:
    stream = ServedStream(cast("Observable[object]", source))
    stream.start()
    return stream
