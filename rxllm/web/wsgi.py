"""WSGI: a stream as a response, and a `Service` as an application. For Flask, Django and plain WSGI servers.

A reader costs a thread. WSGI says nothing about a client that leaves: gunicorn, Werkzeug and waitress have ways of
their own to see it; everywhere else it is seen when something is sent, at the latest a keep-alive. There are no
WebSockets here.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .._arguments import check_type
from .._runtime.platform import is_closed_by_peer
from ..errors import BadRequestError
from . import routes
from .http import MAX_BODY_BYTES, HttpRequest, HttpResponse, StreamBody, checked_keep_alive
from .model_service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["StreamApplication", "wsgi_app"]

WSGI_KEEP_ALIVE_SECONDS = 5.0

_LOOK_SECONDS = 0.5
"""Seconds between two checks whether the client has left."""


class StreamApplication:
    """A stream as a WSGI application of one answer: return it from a Flask view.

    Args:
        body: The stream.
        keep_alive: Seconds without data after which a keep-alive is sent.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        body: StreamBody,
        *,
        keep_alive: float = WSGI_KEEP_ALIVE_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        check_type("StreamApplication(body=...), for example sse(stream),", body, StreamBody)
        self._body = body
        self._keep_alive = checked_keep_alive(keep_alive)
        self._extra_headers = headers or {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the stream until it ends or the client leaves."""
        pieces = _pieces(self._body, self._keep_alive, _leaving(environ))
        next(pieces)
        failure = self._body.failure()
        if failure is not None:
            pieces.close()
            return _send_whole(failure.with_headers(self._extra_headers), environ, start_response)
        start_response("200 OK", list({**self._body.format.headers, **self._extra_headers}.items()))
        if environ["REQUEST_METHOD"] == "HEAD":
            pieces.close()
        return pieces


def wsgi_app(service: Service, *, keep_alive: float = WSGI_KEEP_ALIVE_SECONDS) -> WSGIApplication:
    """Return a WSGI application with everything that `service` has except the WebSocket.

    Args:
        service: The models and streams.
        keep_alive: Seconds without data after which a keep-alive is sent.
    """
    check_type("wsgi_app(service=...)", service, Service)
    checked_keep_alive(keep_alive)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; its body is read only after the service has admitted it."""
        head = _head(environ)
        try:
            head = service.admit(head)
            response = routes.respond(service, replace(head, body=_body(environ)))
        except Exception as error:
            response = routes.refuse(service, head, error)
        if isinstance(response.body, StreamBody):
            application = StreamApplication(response.body, keep_alive=keep_alive, headers=response.headers)
            return application(environ, start_response)
        return _send_whole(response, environ, start_response)

    return app


def _pieces(body: StreamBody, keep_alive: float, has_left: Callable[[], bool] | None) -> Generator[bytes]:
    """Yield b"" when the head can be sent, then the pieces of the stream, and a keep-alive after each silence.

    The stream is watched from the first `next` until `close`, which servers call in any case. The head waits no longer
    than one keep-alive. For a whole answer, whose status says whether it is one, it waits to the end if the server
    sees who leaves.
    """
    news = threading.Event()
    notify = news.set
    body.stream.watch(notify)
    try:
        is_patient = body.whole and has_left is not None
        has_left = has_left or (lambda: False)
        deadline = math.inf if is_patient else time.monotonic() + keep_alive
        while not body.is_head_ready() and not has_left() and time.monotonic() < deadline:
            news.wait(_LOOK_SECONDS)
            news.clear()
        yield b""
        news.set()
        deadline = time.monotonic() + keep_alive
        while not body.ended:
            piece = ""
            if news.wait(min(_LOOK_SECONDS, keep_alive)):
                news.clear()
                piece = body.text()
                if body.is_behind:
                    news.set()
            elif has_left():
                return
            elif time.monotonic() >= deadline:
                piece = body.format.keep_alive
            if piece:
                yield piece.encode()
                deadline = time.monotonic() + keep_alive
    finally:
        body.stream.unwatch(notify)


def _leaving(environ: WSGIEnvironment) -> Callable[[], bool] | None:
    """Return a function that returns whether the client has left; None if this server cannot know."""
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)  # waitress asks its socket seldom
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket") or getattr(channel, "socket", None)
    if isinstance(connection, socket.socket):
        return lambda: is_closed_by_peer(connection)
    return None


def _body(environ: WSGIEnvironment) -> bytes:
    """Return the body. Raises `BadRequestError` if it is too large (413), or cut off or malformed (400).

    A body without a length comes in chunks. It is read only if the server ends it, as a read could block for ever.
    """
    too_large = BadRequestError("the request is too large", status_code=413)
    length = environ.get("CONTENT_LENGTH") or ""
    size = int(length) if length.isascii() and length.isdecimal() else 0
    if size > MAX_BODY_BYTES:
        raise too_large
    if not length and environ.get("wsgi.input_terminated"):
        size = MAX_BODY_BYTES + 1
    try:
        body: bytes = environ["wsgi.input"].read(size) if size else b""
    except OSError as error:
        raise BadRequestError("the request's body did not arrive whole", status_code=400) from error
    if len(body) > MAX_BODY_BYTES:
        raise too_large
    return body


def _head(environ: WSGIEnvironment) -> HttpRequest:
    """Return the request without its body."""
    headers = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    path = environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    return HttpRequest(environ["REQUEST_METHOD"], path, query, headers, b"", environ.get("REMOTE_ADDR", ""))


def _send_whole(response: HttpResponse, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {"content-length": str(len(body)), **response.headers}
    start_response(f"{response.status} {responses.get(response.status, '')}", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
