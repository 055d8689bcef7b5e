"""WSGI: a body as a response, and a `Service` as an application. For Flask, Django and plain WSGI servers.

A reader costs a thread. That a client has left is seen when something is sent to it: keep-alives
bound how long that takes. There are no WebSockets here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .http import MAX_BODY_BYTES, HttpRequest, HttpResponse, refusal
from .service import Service
from .stream_body import StreamBody

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WSGI_KEEP_ALIVE_SECONDS = 5.0


class StreamApplication:
    """A body as a WSGI application of one answer: return it from a Flask view."""

    def __init__(self, body: StreamBody, *, keep_alive: float = WSGI_KEEP_ALIVE_SECONDS) -> None:
        self._body = body
        self._keep_alive = keep_alive

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the body, until it ends or the client leaves."""
        pieces = _Pieces(self._body, self._keep_alive)
        failure = pieces.failure()
        if failure is not None:
            pieces.close()
            status, body = failure
            return _plain(HttpResponse(status, {"content-type": "application/json"}, body.encode()), start_response)
        start_response("200 OK", list(self._body.headers.items()))
        return pieces


def wsgi_app(service: Service, *, keep_alive: float = WSGI_KEEP_ALIVE_SECONDS) -> WSGIApplication:
    """All of `service` but its WebSocket."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = _request(environ)
        reply = refusal(413, "the request is too large") if request is None else service.handle(request)
        if isinstance(reply.body, StreamBody):
            return StreamApplication(reply.body, keep_alive=keep_alive)(environ, start_response)
        return _plain(reply, start_response)

    return app


class _Pieces(Iterator[bytes]):
    """The body; `close`, which servers call in any case, ends the watching, which begins at once."""

    def __init__(self, body: StreamBody, keep_alive: float) -> None:
        self._body = body
        self._keep_alive = keep_alive
        self._rung = threading.Event()
        body.stream.watch(self._rung.set)

    def failure(self) -> tuple[int, str] | None:
        """Wait until the head can be sent; the failure that is to be told instead."""
        while not self._body.ready():
            self._rung.wait()
            self._rung.clear()
        self._rung.set()
        return self._body.failure()

    def __next__(self) -> bytes:
        while not self._body.ended:
            if not self._rung.wait(self._keep_alive):
                return self._body.silence.encode()
            self._rung.clear()
            text = self._body.take()
            if self._body.is_behind:
                self._rung.set()
            if text:
                return text.encode()
        raise StopIteration

    def close(self) -> None:
        self._body.stream.unwatch(self._rung.set)


def _request(environ: WSGIEnvironment) -> HttpRequest | None:
    """The request; None where its body is too large."""
    length = environ.get("CONTENT_LENGTH") or "0"
    size = int(length) if length.isascii() and length.isdecimal() else 0
    if size > MAX_BODY_BYTES:
        return None
    headers = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    return HttpRequest(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO", "/"),
        dict(parse_qsl(environ.get("QUERY_STRING", ""))),
        headers,
        environ["wsgi.input"].read(size) if size else b"",
        environ.get("REMOTE_ADDR", ""),
    )


def _plain(reply: HttpResponse, start_response: StartResponse) -> Iterable[bytes]:
    body = reply.body if isinstance(reply.body, bytes) else b""
    headers = {"content-length": str(len(body)), **reply.headers}
    start_response(f"{reply.status} {responses.get(reply.status, '')}", list(headers.items()))
    return [body]
