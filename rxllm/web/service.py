"""One server's models and streams: from an HTTP request to a response. Servers are for `asgi` and `wsgi`.

GET    /                              the chat page, and its files
GET    /api/models                    the names on offer
POST   /api/chat                      a prompt: SSE, or NDJSON if the client accepts that
GET    /api/streams/ID                the stream again, after `Last-Event-ID` (or ?after=)
DELETE /api/streams/ID                stop it
POST   /api/streams/ID/approve        {"call", "approved"}: may that tool call run?
POST   /api/ui-chat                   `useChat` of the AI SDK
GET    /api/ui-chat/CHAT/stream       resume it; DELETE stops it
POST   /v1/chat/completions           OpenAI clients
POST   /v1/responses                  OpenAI clients
POST   /v1/messages                   Anthropic clients
GET    /v1/models, /v1/models/ID
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar, cast

from reactivex import Observable

from ..errors import APIStatusError, AuthenticationError, ConfigurationError, LLMError, NotFoundError
from ..messages import Role
from . import ai_sdk_api, page_files, stream_api, vendor_api
from .chat_request import ROLES, Offer
from .formats.errors import ANTHROPIC_ERRORS, OPENAI_ERRORS
from .guard import Guard
from .http import TOO_DEEP, HttpRequest, HttpResponse, checked_keep_alive
from .served_stream import ServedStream
from .stream_factory import StreamFactory
from .streams import Streams

T = TypeVar("T")

log = logging.getLogger("rxllm")

Authenticate: TypeAlias = Callable[[HttpRequest], str | None]


class Service:
    """The models (or functions from a `ChatRequest` to a stream) on offer. Thread-safe.

    Args:
        offers: Models or functions by the names that clients use; the first is the default.
        guard: Who may use the server. Default: this machine.
        authenticate: Returns the user who asks, from a request whose body has not been read yet; None refuses it
            (401). It may block. Streams, chats and approvals belong to their user. Default: all clients are one user.
        streams: The streams and their limits.
        linger: Seconds that a stream that can be resumed lives without a watcher. Default: 30.
        keep_alive: Seconds without data on a connection after which a keep-alive is sent. Default: 15.
        sessions: How many WebSockets there may be at once. Default: 1000.
        sessions_per_client: How many of them one client (a user, or else an address) may have. Default: 256.
        client_roles: The roles that messages of clients may have. Leave out "system" to keep that word to yourself.
    """

    def __init__(
        self,
        offers: Mapping[str, Offer],
        *,
        guard: Guard | None = None,
        authenticate: Authenticate | None = None,
        streams: Streams[object] | None = None,
        linger: float = 30.0,
        keep_alive: float = 15.0,
        sessions: int = 1000,
        sessions_per_client: int = 256,
        client_roles: Collection[Role] = ROLES,
    ) -> None:
        self.factory = StreamFactory(offers, Streams() if streams is None else streams, linger, client_roles)
        self.guard = guard or Guard()
        self.keep_alive = checked_keep_alive(keep_alive)
        self.authenticates = authenticate is not None
        """Whether `admit` may block."""
        self._authenticate = authenticate
        self._max_sessions = sessions
        self._max_sessions_per_client = sessions_per_client
        self._sessions: list[str] = []
        """The account of each open WebSocket."""
        self._sessions_lock = threading.Lock()

    def admit(self, request: HttpRequest, *, query_token: str = "") -> HttpRequest | HttpResponse:
        """Check the sender of a request; its body need not have been read.

        Args:
            request: The request.
            query_token: The token in the address of a WebSocket.

        Returns:
            The request with its user, or the response that refuses it or answers a preflight request.
        """
        try:
            return self._admitted(request, query_token)
        except Exception as error:
            return self.refuse(request, error)

    def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request that was admitted. Raises nothing."""
        try:
            return self._shared(request, self._route(request))
        except Exception as error:
            return self.refuse(request, error)

    def refuse(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """Return the response that gives the error in the form of the API; log one that is not the client's."""
        if isinstance(error, RecursionError):
            error = ConfigurationError(TOO_DEEP)
        if not isinstance(error, LLMError):
            log.error("a request failed", exc_info=error)
        is_anthropic = request.path.startswith("/v1/messages") or "anthropic-version" in request.headers
        return self._shared(request, (ANTHROPIC_ERRORS if is_anthropic else OPENAI_ERRORS).response(error))

    def publish(
        self, source: Observable[T], *, user: str | None = None, linger: float | None = None
    ) -> ServedStream[object]:
        """Start a stream of the application's own for any number of watchers.

        Args:
            source: The stream.
            user: Who may watch and stop it. Default: every client that knows its id.
            linger: Seconds that it lives after the last watcher has left. Default: the service's.
        """
        wait = self.factory.linger if linger is None else linger
        return self.factory.streams.open(cast("Observable[object]", source), user=user, linger=wait)

    def enter_session(self, request: HttpRequest) -> bool:
        """Return whether this client may have one more WebSocket. If so, the caller must call `leave_session` later."""
        with self._sessions_lock:
            of_client = self._sessions.count(request.account)
            if len(self._sessions) >= self._max_sessions or of_client >= self._max_sessions_per_client:
                return False
            self._sessions.append(request.account)
        return True

    def leave_session(self, request: HttpRequest) -> None:
        """Free the place of a WebSocket of this client that has ended."""
        with self._sessions_lock:
            self._sessions.remove(request.account)

    def close(self, seconds: float = 10.0) -> None:
        """Start no more streams, wait up to `seconds` for those under way, and dispose the rest. Blocks."""
        self.factory.streams.drain(seconds)

    def _admitted(self, request: HttpRequest, query_token: str) -> HttpRequest | HttpResponse:
        """Return the request with its user, or the answer to a preflight request; raises what refuses it."""
        is_api = request.path.startswith(("/api/", "/v1/"))
        is_preflight = request.method == "OPTIONS"
        self.guard.check(request.headers, query_token, public=is_preflight or not is_api)
        if is_preflight:
            return self._shared(request, HttpResponse(204))
        request = replace(request, client=self.guard.client_of(request.headers, request.client))
        if self._authenticate is None or not is_api:
            return request
        user = self._authenticate(request)
        if not user:
            raise AuthenticationError("not authenticated", status_code=401)
        return replace(request, user=user)

    def _route(self, request: HttpRequest) -> HttpResponse:
        """Return the response of the route for this path and method, or of the page's file."""
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, routes in _ROUTES.items():
            match = re.fullmatch(pattern, request.path)
            if match is not None and method in routes:
                return routes[method](self.factory, request, "".join(match.groups()))
            if match is not None:
                refusal = self.refuse(request, APIStatusError("method not allowed", status_code=405))
                return refusal.with_headers({"allow": ", ".join(routes)})
        found = page_files.file(request.path) if method == "GET" else None
        if found is None:
            raise NotFoundError("not found", status_code=404)
        return found

    def _shared(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Return the response with what lets a page of an allowed origin read it."""
        origin = request.headers.get("origin")
        if origin is None or not self.guard.allows(origin):
            return response
        headers = {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": _EXPOSED,
            "vary": "origin, access-control-request-headers",
        }
        if request.method == "OPTIONS":
            headers |= {
                "access-control-allow-methods": "GET, POST, DELETE",
                "access-control-allow-headers": request.headers.get("access-control-request-headers", ""),
                "access-control-max-age": "600",
            }
            if request.headers.get("access-control-request-private-network") == "true":
                headers["access-control-allow-private-network"] = "true"
        return response.with_headers(headers)


Route: TypeAlias = Callable[[StreamFactory, HttpRequest, str], HttpResponse]

_EXPOSED = "retry-after, x-request-id, request-id, x-rxllm-stream, x-vercel-ai-ui-message-stream"

_ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/api/models": {"GET": stream_api.models},
    "/api/chat": {"POST": stream_api.chat},
    "/api/streams/([^/]+)": {"GET": stream_api.resume, "POST": stream_api.resume, "DELETE": stream_api.stop},
    "/api/streams/([^/]+)/stop": {"POST": stream_api.stop},
    "/api/streams/([^/]+)/approve": {"POST": stream_api.approve},
    "/api/ui-chat": {"POST": ai_sdk_api.chat},
    "/api/ui-chat/([^/]+)/stream": {"GET": ai_sdk_api.resume, "DELETE": ai_sdk_api.stop},
    "/v1/chat/completions": {"POST": vendor_api.chat_completions},
    "/v1/responses": {"POST": vendor_api.responses},
    "/v1/messages": {"POST": vendor_api.messages},
    "/v1/models": {"GET": vendor_api.models},
    "/v1/models/(.+)": {"GET": vendor_api.model},
}
"""What answers, by a pattern of the path, and by the method. A function gets the part of the path in parentheses."""
