"""Token streams to browsers and other services.

Which one do I need?

- One stream out of an endpoint of your own: `sse`, `ndjson`, `ui_messages` or `openai_chunks` make a `StreamBody` of an
  Observable; `rxllm.web.asgi.StreamResponse` (Starlette, FastAPI) or `rxllm.web.wsgi.StreamApplication` (Flask) sends
  it.
- Everything, with resuming, stopping, users, limits, the vendors' APIs and the chat page: a `Service` of named models,
  and `rxllm.web.asgi.asgi_app` or `rxllm.web.wsgi.wsgi_app`.
- The same in several processes: `rxllm.web.multiprocess.relayed_streams.RelayedStreams`, which share a Redis.

Only `asgi` needs Starlette, and `rxllm serve` uvicorn: ``pip install "rxllm[web]"``.
"""

from .chat_request import AnswerFunction, ChatRequest
from .formats.stream_format import StreamFormat
from .guard import Guard
from .http import HttpRequest, HttpResponse, StreamBody
from .model_service import Service
from .response_bodies import ndjson, openai_chunks, sse, ui_messages
from .served_stream import ServedStream
from .stream_registry import Streams

__all__ = [
    "AnswerFunction",
    "ChatRequest",
    "Guard",
    "HttpRequest",
    "HttpResponse",
    "ServedStream",
    "Service",
    "StreamBody",
    "StreamFormat",
    "Streams",
    "ndjson",
    "openai_chunks",
    "sse",
    "ui_messages",
]
