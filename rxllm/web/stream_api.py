"""This server's own API, for pages and for `rxllm.web.client`: streams that are resumed and stopped by their id."""

from __future__ import annotations

from typing import Annotated, cast

import msgspec

from .._schema import converted
from ..prompt import Prompt, messages_of
from .chat_request import check_size
from .formats.json_lines import NDJSON, SSE, last_event_id
from .formats.websocket import Approve
from .http import HttpRequest, HttpResponse, StreamBody, json_response
from .model_service import Service
from .options import OPTION_NAMES, options_of
from .served_stream import ServedStream


class ChatBody(msgspec.Struct, frozen=True):
    """The body of `POST /api/chat`, beside the options: "messages", or a "prompt" of text."""

    model: str | None = None
    messages: object = None
    prompt: str | None = None
    linger: Annotated[float, msgspec.Meta(ge=0)] | None = None


_KNOWN = OPTION_NAMES | frozenset(ChatBody.__struct_fields__)


def models(service: Service, http: HttpRequest, _: str) -> HttpResponse:
    """Return the names on offer, the default first."""
    return json_response({"models": list(service.offers)})


def chat(service: Service, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a conversation."""
    return _body(ask(service, http, http.json()), http, 0)


def ask(service: Service, http: HttpRequest, body: dict[str, object]) -> ServedStream:
    """Start the stream that answers `body`; shared with the WebSocket."""
    check_size(body)
    asked = converted(body, ChatBody, "the request")
    linger = service.linger if asked.linger is None else min(asked.linger, service.linger)
    extra = {name: value for name, value in body.items() if name not in _KNOWN}
    said = messages_of(cast(Prompt, asked.prompt if asked.messages is None else asked.messages))
    return service.start(http, asked.model, said, options_of(body), linger=linger, extra=extra)


def resume(service: Service, http: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """Return the rest of a stream; 204, on which an EventSource gives up, if the client has seen its end."""
    stream = service.stream(http, id)
    after = last_event_id(http.headers.get("last-event-id") or http.query.get("after"))
    if stream.has_nothing_after(after):
        return HttpResponse(204)
    return _body(stream, http, after)


def stop(service: Service, http: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """Stop a stream; its request is disposed when this returns."""
    service.stream(http, id).stop()
    return HttpResponse(204)


def approve(service: Service, http: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """Answer an approval request."""
    answer = converted(
        {**http.json(), "stream": id}, Approve, 'an approval is {"call": "id", "approved": true or false}'
    )
    service.approve(service.stream(http, id), answer.call, answer.approved, answer.reason)
    return HttpResponse(204)


def _body(stream: ServedStream, http: HttpRequest, after: int) -> HttpResponse:
    lines = "application/x-ndjson" in http.headers.get("accept", "")
    body = StreamBody(stream, NDJSON() if lines else SSE(after), after=after)
    return HttpResponse(200, {"x-rxllm-stream": stream.id}, body)
