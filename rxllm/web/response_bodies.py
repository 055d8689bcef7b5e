"""One Observable to one client, for an endpoint of your own; disposed as soon as the client leaves.

Each function starts the stream at once. Give the body to `asgi.StreamResponse` or `wsgi.StreamApplication`.
"""

from __future__ import annotations

from typing import TypeVar, cast

from reactivex import Observable

from .._arguments import check_type
from .ai_sdk_turn import UITurn
from .formats.errors import OPENAI_ERRORS
from .formats.json_lines import NDJSON, SSE
from .http import StreamBody
from .served_stream import ServedStream
from .vendor_api import chat_format

T = TypeVar("T")


def sse(source: Observable[T]) -> StreamBody:
    """Return `source` as server-sent events.

    Args:
        source: Token events, an assistant's events, or other msgspec structs.
    """
    return StreamBody(_served(source), SSE())


def ndjson(source: Observable[T]) -> StreamBody:
    """Return `source` as lines of JSON.

    Args:
        source: Token events, an assistant's events, or other msgspec structs.
    """
    return StreamBody(_served(source), NDJSON())


def ui_messages(source: Observable[T], *, message_id: str | None = None) -> StreamBody:
    """Return `source` as the AI SDK's UI message stream, for `useChat`.

    Args:
        source: Token events or an assistant's events.
        message_id: The id of the message. Default: the client makes one.
    """
    return StreamBody(_served(source), UITurn(message_id))


def openai_chunks(
    source: Observable[T], *, model: str = "rxllm", usage: bool = False, tools: bool = False
) -> StreamBody:
    """Return `source` as chunks of OpenAI's Chat Completions API.

    Args:
        source: Token events or an assistant's events.
        model: The model's name, as the client reads it.
        usage: Whether the stream ends with the token counts.
        tools: Whether the client gets the tool calls.
    """
    form = chat_format(model, usage=usage, tools=tools)
    return StreamBody(_served(source), form, error_response=OPENAI_ERRORS.response)


def _served(source: Observable[T]) -> ServedStream:
    check_type("source", source, Observable)
    stream = ServedStream(cast("Observable[object]", source))
    stream.start()
    return stream
