"""Our own way to ask, for pages and for `rxllm.web.client`: streams that can be resumed and stopped by their id."""

from __future__ import annotations

from .._json import int_at, text_at
from ..errors import ConfigurationError
from .feed import Feed
from .formats.ndjson import NDJSON
from .formats.sse import SSE, last_event_id
from .http import Reply, Request, json_reply
from .live import LiveStream
from .stream_factory import Desk


def models(desk: Desk, request: Request, _: str) -> Reply:
    """What may be asked, the default first."""
    return json_reply({"models": list(desk.offers)})


def chat(desk: Desk, request: Request, _: str) -> Reply:
    """A prompt: {"messages" or "prompt", "model", options..., "linger": seconds}."""
    body = request.json()
    linger = body.get("linger", desk.linger)
    if not isinstance(linger, int | float) or linger < 0:
        raise ConfigurationError("linger is a number of seconds")
    return _feed(desk.ask(body.get("model"), body, request.client, linger=min(linger, desk.linger)), request, 0)


def resume(desk: Desk, request: Request, id: str) -> Reply:  # noqa: A002 - the field's name
    """The rest of a stream; 204, which makes an EventSource give up, where its end was seen already."""
    stream = desk.stream(id)
    body = request.json() if request.method == "POST" else {}
    after = int_at(body, "after") or last_event_id(request.headers.get("last-event-id") or request.query.get("after"))
    if stream.is_over(after):
        return Reply(204)
    return _feed(stream, request, after)


def stop(desk: Desk, request: Request, id: str) -> Reply:  # noqa: A002 - the field's name
    """Stop a stream; its request is disposed when this returns."""
    desk.stream(id).stop()
    return Reply(204)


def approve(desk: Desk, request: Request, id: str) -> Reply:  # noqa: A002 - the field's name
    """Answer an approval request: {"call": id, "approved": true or false, "reason": why not}."""
    body = request.json()
    call, approved = body.get("call"), body.get("approved")
    if not isinstance(call, str) or not isinstance(approved, bool):
        raise ConfigurationError('an approval is {"call": "id", "approved": true or false}')
    desk.stream(id).approve(call, approved, text_at(body, "reason") or "")
    return Reply(204)


def _feed(stream: LiveStream[object], request: Request, after: int) -> Reply:
    lines = "application/x-ndjson" in request.headers.get("accept", "")
    return Reply(200, body=Feed(stream, NDJSON() if lines else SSE(after), after=after))
