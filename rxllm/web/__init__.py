"""Token streams to browsers and other services.

Which one do I need?

- One stream out of an endpoint of my own: `sse`, `ndjson`, `ui_messages` or `openai_chunks` make a
  `Feed` of an Observable; `rxllm.web.asgi.FeedResponse` (Starlette, FastAPI) or
  `rxllm.web.wsgi.FeedApplication` (Flask) sends it.
- All of it, with resuming, stopping, limits, the OpenAI-compatible endpoint and the chat page: a
  `Service` of named models, and `rxllm.web.asgi.asgi_app` or `rxllm.web.wsgi.wsgi_app`.
- As many processes of that as I like: `rxllm.web.multiprocess.streams.RelayedStreams`, with a Redis between them.

Only `asgi` needs Starlette, and `serve` uvicorn: ``pip install "rxllm[web]"``.
"""

from .feed import Feed, Format
from .guard import Guard
from .http import Reply, Request
from .live import LiveStream
from .one_stream import ndjson, openai_chunks, sse, ui_messages
from .request_parsing import Answering, ChatRequest
from .service import Service
from .streams import Streams

__all__ = [
    "Answering",
    "ChatRequest",
    "Feed",
    "Format",
    "Guard",
    "LiveStream",
    "Reply",
    "Request",
    "Service",
    "Streams",
    "ndjson",
    "openai_chunks",
    "sse",
    "ui_messages",
]
