"""Token streams to browsers and other services.

Which one do I need?

- One stream out of an endpoint of my own: `sse`, `ndjson`, `ui_messages` or `openai_chunks` make a
  `StreamBody` of an Observable; `rxllm.web.asgi.StreamResponse` (Starlette, FastAPI) or
  `rxllm.web.wsgi.StreamApplication` (Flask) sends it.
- All of it, with resuming, stopping, limits, the OpenAI-compatible endpoint and the chat page: a
  `Service` of named models, and `rxllm.web.asgi.asgi_app` or `rxllm.web.wsgi.wsgi_app`.
- As many processes of that as I like: `rxllm.web.multiprocess.streams.RelayedStreams`, with a Redis between them.

Only `asgi` needs Starlette, and `serve` uvicorn: ``pip install "rxllm[web]"``.
"""

from .endpoint_bodies import ndjson, openai_chunks, sse, ui_messages
from .guard import Guard
from .http import HttpRequest, HttpResponse
from .request_parsing import AnswerFunction, ChatRequest
from .served_stream import ServedStream
from .service import Service
from .stream_body import Format, StreamBody
from .streams import Streams

__all__ = [
    "AnswerFunction",
    "ChatRequest",
    "Format",
    "Guard",
    "HttpRequest",
    "HttpResponse",
    "ServedStream",
    "Service",
    "StreamBody",
    "Streams",
    "ndjson",
    "openai_chunks",
    "sse",
    "ui_messages",
]
