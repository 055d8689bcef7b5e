"""One server's models and streams behind plain requests and replies; frameworks are for `asgi` and `wsgi`.

GET    /                              the chat page, and its files
GET    /api/models                    what may be asked
POST   /api/chat                      a prompt: SSE, or NDJSON where that is what is accepted
GET    /api/streams/ID                the stream again, after `Last-Event-ID` (or ?after=)
DELETE /api/streams/ID                stop it
POST   /api/streams/ID/approve        {"call", "approved"}: may that tool call run?
POST   /api/ui-chat                   as `useChat` of the AI SDK asks and reads
GET    /api/ui-chat/CHAT/stream       resume it; DELETE stops it
POST   /v1/chat/completions           as any OpenAI client asks and reads
GET    /v1/models
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, cast

from reactivex import Observable

from ..errors import LLMError
from . import ai_sdk_api, openai_api, page_files, stream_api
from .guard import Guard
from .http import HttpRequest, HttpResponse, error_response, refusal
from .request_parsing import Offer
from .served_stream import ServedStream
from .stream_factory import StreamFactory
from .streams import Streams

T = TypeVar("T")

log = logging.getLogger("rxllm")


class Service:
    """The models (or functions from a `ChatRequest` to a stream) on offer, by the names clients use for them.

    `streams` holds the limits. A stream that may be resumed lives `linger` seconds without a
    watcher; any other is disposed with its client. `sessions` bounds the WebSockets, `keep_alive`
    is for how many seconds a connection stays silent. Safe to use from any thread.
    """

    def __init__(
        self,
        offers: Mapping[str, Offer],
        *,
        guard: Guard | None = None,
        streams: Streams[object] | None = None,
        linger: float = 30.0,
        keep_alive: float = 15.0,
        sessions: int = 1000,
    ) -> None:
        self.factory = StreamFactory(offers, Streams() if streams is None else streams, linger)
        self.guard = guard or Guard()
        self.keep_alive = keep_alive
        self._sessions_left = threading.BoundedSemaphore(sessions)

    def handle(self, request: HttpRequest) -> HttpResponse:
        """The reply to `request`; returns soon, raises nothing."""
        refused = self.refusal(request)
        if refused is not None:
            return refused
        reply = HttpResponse(204) if request.method == "OPTIONS" else self._routed(request)
        origin = request.headers.get("origin")
        if origin is None or not self.guard.allows(origin):
            return reply
        shared = _cors(origin)
        if not isinstance(reply.body, bytes):
            reply.body.headers.update(shared)
        return HttpResponse(reply.status, {**reply.headers, **shared}, reply.body)

    def refusal(self, request: HttpRequest) -> HttpResponse | None:
        """What to reply where the request's sender may not use this server; None where it may."""
        public = request.method == "OPTIONS" or not request.path.startswith(("/api/", "/v1/"))
        reason = self.guard.refusal(request.headers, request.query, public=public)
        return None if reason is None else refusal(401 if "token" in reason else 403, reason)

    def publish(self, source: Observable[T], *, linger: float | None = None) -> ServedStream[object]:
        """Start a stream of the application's own; whoever is told its id can watch it, and stop it.

        It is disposed `linger` seconds (else the service's) after the last watcher has left.
        """
        wait = self.factory.linger if linger is None else linger
        return self.factory.streams.open(cast("Observable[object]", source), linger=wait)

    def enter_session(self) -> bool:
        """Whether there is room for one more WebSocket; `leave_session` follows."""
        return self._sessions_left.acquire(blocking=False)

    def leave_session(self) -> None:
        """A WebSocket has ended."""
        self._sessions_left.release()

    def close(self, seconds: float = 10.0) -> None:
        """Begin no more, give what is under way so many seconds to end, and dispose the rest. Blocks meanwhile."""
        self.factory.streams.drain(seconds)

    def _routed(self, request: HttpRequest) -> HttpResponse:
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, routes in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match is not None:
                route = routes.get(method)
                parameter = match.group(1) if pattern.groups else ""
                return refusal(405, "not that way") if route is None else self._answered(route, request, parameter)
        found = page_files.file(request.path) if method == "GET" else None
        return refusal(404, "there is nothing here") if found is None else found

    def _answered(self, route: Route, request: HttpRequest, parameter: str) -> HttpResponse:
        try:
            return route(self.factory, request, parameter)
        except LLMError as error:
            return error_response(error)
        except Exception as error:  # the fault of a function on offer: its client learns no more than that
            log.exception("a request failed")
            return error_response(error)


Route: TypeAlias = Callable[[StreamFactory, HttpRequest, str], HttpResponse]

_ROUTES: tuple[tuple[re.Pattern[str], Mapping[str, Route]], ...] = (
    (re.compile("/api/models"), {"GET": stream_api.models}),
    (re.compile("/api/chat"), {"POST": stream_api.chat}),
    (
        re.compile("/api/streams/([^/]+)"),
        {"GET": stream_api.resume, "POST": stream_api.resume, "DELETE": stream_api.stop},
    ),
    (re.compile("/api/streams/([^/]+)/stop"), {"POST": stream_api.stop}),
    (re.compile("/api/streams/([^/]+)/approve"), {"POST": stream_api.approve}),
    (re.compile("/api/ui-chat"), {"POST": ai_sdk_api.chat}),
    (re.compile("/api/ui-chat/([^/]+)/stream"), {"GET": ai_sdk_api.resume, "DELETE": ai_sdk_api.stop}),
    (re.compile("/v1/chat/completions"), {"POST": openai_api.completions}),
    (re.compile("/v1/models"), {"GET": openai_api.models}),
)


def _cors(origin: str) -> dict[str, str]:
    """What lets a page of an allowed origin read the reply."""
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type, last-event-id",
        "access-control-expose-headers": "x-rxllm-stream, x-vercel-ai-ui-message-stream",
        "vary": "origin",
    }
