"""Our own way to ask, for pages and for `rxllm.web.client`: streams that can be resumed and stopped by their id."""

from __future__ import annotations

from .._json import int_at, text_at
from ..errors import ConfigurationError
from .formats.ndjson import NDJSON
from .formats.sse import SSE, last_event_id
from .http import HttpRequest, HttpResponse, json_response
from .served_stream import ServedStream
from .stream_body import StreamBody
from .stream_factory import StreamFactory


def models(factory: StreamFactory, request: HttpRequest, _: str) -> HttpResponse:
    """What may be asked, the default first."""
    return json_response({"models": list(factory.offers)})


def chat(factory: StreamFactory, request: HttpRequest, _: str) -> HttpResponse:
    """A prompt: {"messages" or "prompt", "model", options..., "linger": seconds}."""
    body = request.json()
    linger = body.get("linger", factory.linger)
    if not isinstance(linger, int | float) or linger < 0:
        raise ConfigurationError("linger is a number of seconds")
    return _feed(factory.ask(body.get("model"), body, request.client, linger=min(linger, factory.linger)), request, 0)


def resume(factory: StreamFactory, request: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """The rest of a stream; 204, which makes an EventSource give up, where its end was seen already."""
    stream = factory.stream(id)
    body = request.json() if request.method == "POST" else {}
    after = int_at(body, "after") or last_event_id(request.headers.get("last-event-id") or request.query.get("after"))
    if stream.is_over(after):
        return HttpResponse(204)
    return _feed(stream, request, after)


def stop(factory: StreamFactory, request: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """Stop a stream; its request is disposed when this returns."""
    factory.stream(id).stop()
    return HttpResponse(204)


def approve(factory: StreamFactory, request: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the field's name
    """Answer an approval request: {"call": id, "approved": true or false, "reason": why not}."""
    body = request.json()
    call, approved = body.get("call"), body.get("approved")
    if not isinstance(call, str) or not isinstance(approved, bool):
        raise ConfigurationError('an approval is {"call": "id", "approved": true or false}')
    factory.stream(id).approve(call, approved, text_at(body, "reason") or "")
    return HttpResponse(204)


def _feed(stream: ServedStream[object], request: HttpRequest, after: int) -> HttpResponse:
    lines = "application/x-ndjson" in request.headers.get("accept", "")
    return HttpResponse(200, body=StreamBody(stream, NDJSON() if lines else SSE(after), after=after))
