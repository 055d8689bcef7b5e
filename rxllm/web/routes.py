"""From an HTTP request to a response of a `Service`. The servers are for `asgi` and `wsgi`.

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
from collections.abc import Callable, Mapping
from typing import TypeAlias

from ..errors import APIStatusError, ConfigurationError, LLMError, NotFoundError
from . import ai_sdk_api, page_files, stream_api, vendor_api
from .formats.errors import ANTHROPIC_ERRORS, OPENAI_ERRORS
from .http import TOO_DEEP, HttpRequest, HttpResponse
from .model_service import Service

log = logging.getLogger("rxllm")

Route: TypeAlias = Callable[[Service, HttpRequest, str], HttpResponse]

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


def respond(service: Service, request: HttpRequest) -> HttpResponse:
    """Return the response to a request that was admitted. Raises nothing."""
    try:
        return _shared(service, request, _route(service, request))
    except Exception as error:
        return refuse(service, request, error)


def refuse(service: Service, request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the response that gives the error in the form of the API; log one that is not the client's."""
    if isinstance(error, RecursionError):
        error = ConfigurationError(TOO_DEEP)
    if not isinstance(error, LLMError):
        log.error("a request failed", exc_info=error)
    is_anthropic = request.path.startswith("/v1/messages") or "anthropic-version" in request.headers
    return _shared(service, request, (ANTHROPIC_ERRORS if is_anthropic else OPENAI_ERRORS).response(error))


def _route(service: Service, request: HttpRequest) -> HttpResponse:
    """Return the response of the route for this path and method, or of the page's file."""
    if request.method == "OPTIONS":  # asked before a page's own request
        return HttpResponse(204)
    method = "GET" if request.method == "HEAD" else request.method
    for pattern, routes in _ROUTES.items():
        match = re.fullmatch(pattern, request.path)
        if match is not None and method in routes:
            return routes[method](service, request, "".join(match.groups()))
        if match is not None:
            refusal = refuse(service, request, APIStatusError("method not allowed", status_code=405))
            return refusal.with_headers({"allow": ", ".join(routes)})
    found = page_files.file(request.path) if method == "GET" else None
    if found is None:
        raise NotFoundError("not found", status_code=404)
    return found


def _shared(service: Service, request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the response with what lets a page of an allowed origin read it."""
    origin = request.headers.get("origin")
    if origin is None or not service.guard.allows(origin):
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
