"""The OpenAI way to ask: any client of its Chat Completions API can have what is on offer here as its model."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .._json import object_at
from .formats.openai_chat import OpenAICompletion, OpenAIStream, openai_status
from .http import HttpRequest, HttpResponse, json_response
from .stream_body import Format, StreamBody
from .stream_factory import StreamFactory


def models(factory: StreamFactory, request: HttpRequest, _: str) -> HttpResponse:
    """What may be asked."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "rxllm"} for name in factory.offers]
    return json_response({"object": "list", "data": data})


def completions(factory: StreamFactory, request: HttpRequest, _: str) -> HttpResponse:
    """An answer, streamed or whole; disposed with its client."""
    body = request.json()
    stream = factory.ask(body.get("model"), body, request.client, linger=0.0)
    wire = _format(body, f"chatcmpl-{stream.id}", str(body.get("model") or next(iter(factory.offers))))
    return HttpResponse(
        200, body=StreamBody(stream, wire, status_of=openai_status, whole=body.get("stream") is not True)
    )


def _format(body: Mapping[str, object], id: str, model: str) -> Format:  # noqa: A002 - the field's name
    tools, created = bool(body.get("tools")), int(time.time())
    if body.get("stream") is not True:
        return OpenAICompletion(id, model, created, tools=tools)
    usage = object_at(body, "stream_options").get("include_usage") is True
    return OpenAIStream(id, model, created, usage=usage, tools=tools)
