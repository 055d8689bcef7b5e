"""ASGI: a body as a Starlette response, and a `Service` as an ASGI application.

A client that leaves is seen at once, whether or not there is something to send.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from .async_wakeup import AsyncBell
from .http import MAX_BODY_BYTES, HttpRequest, refusal
from .service import Service
from .stream_body import StreamBody
from .websocket_session import WebSocketSession

KEEP_ALIVE_SECONDS = 15.0

_POLICY_VIOLATION = 1008


class StreamResponse(Response):
    """A body as the response of a Starlette or FastAPI endpoint."""

    def __init__(self, body: StreamBody, *, keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        self.status_code = 200
        self.background = None
        self._body = body
        self._keep_alive = keep_alive
        self.init_headers(body.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body, until it ends or the client leaves."""
        await _first_of(_until_gone(receive), self._send(send))

    async def _send(self, send: Send) -> None:
        body, stream = self._body, self._body.stream
        bell = AsyncBell(self._keep_alive)
        stream.watch(bell.ring)
        try:
            while not body.ready():
                await bell.wait()
            if (failure := body.failure()) is not None:
                await _send_plain(send, *failure)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            bell.ring()
            while not body.ended:
                piece = body.take() if await bell.wait() else body.silence
                if piece:
                    await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
                if body.is_behind:
                    bell.ring()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            bell.close()
            stream.unwatch(bell.ring)


def asgi_app(service: Service, *, drain_seconds: float = 10.0) -> Starlette:
    """All of `service`, its page and its WebSocket included; when the server stops, streams have time to end.

    A Starlette application: mount it in one of your own, or run it with any ASGI server.
    """

    async def handle(request: StarletteRequest) -> Response:
        return await _handle(service, request)

    async def websocket(socket: WebSocket) -> None:
        await serve_websocket(service, socket)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        yield
        await asyncio.to_thread(service.close, drain_seconds)

    methods = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"]
    routes = [WebSocketRoute("/api/ws", websocket), Route("/{path:path}", handle, methods=methods)]
    return Starlette(routes=routes, lifespan=lifespan)


async def serve_websocket(service: Service, socket: WebSocket) -> None:
    """Serve a session on `socket`, until either side ends it."""
    client = socket.client.host if socket.client is not None else ""
    request = HttpRequest("GET", socket.url.path, dict(socket.query_params), _headers(socket), b"", client)
    refusal = service.refusal(request)
    if refusal is not None or not service.enter_session():
        await socket.close(_POLICY_VIOLATION, "refused" if refusal is not None else "too many connections")
        return
    await socket.accept()
    bell = AsyncBell(None)
    taken = asyncio.Event()
    session = WebSocketSession(service.factory, client, bell.ring)
    try:
        await _first_of(_receive(socket, session, taken), _send(socket, session, bell, taken))
    finally:
        session.close()
        service.leave_session()


async def _receive(socket: WebSocket, session: WebSocketSession, taken: asyncio.Event) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the latter once sending has failed
        while True:
            await asyncio.to_thread(session.receive, await socket.receive_text())
            while session.is_flooded:  # who does not read is not heard
                taken.clear()
                await taken.wait()


async def _send(socket: WebSocket, session: WebSocketSession, bell: AsyncBell, taken: asyncio.Event) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            messages = session.take()
            taken.set()
            for message in messages:
                await socket.send_text(message)
            await (asyncio.sleep(0) if session.is_behind else bell.wait())  # the others have their turn


async def _handle(service: Service, request: StarletteRequest) -> Response:
    try:
        body = await _body(request)
    except ClientDisconnect:
        return Response(status_code=400)
    if body is None:
        reply = refusal(413, "the request is too large")
    else:
        client = request.client.host if request.client is not None else ""
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        asked = HttpRequest(request.method, path, dict(request.query_params), _headers(request), body, client)
        reply = await asyncio.to_thread(service.handle, asked)  # what is on offer may block: memory on a disk
    if isinstance(reply.body, StreamBody):
        return StreamResponse(reply.body, keep_alive=service.keep_alive)
    return Response(reply.body, reply.status, dict(reply.headers))


async def _body(request: StarletteRequest) -> bytes | None:
    """The request's body; None where it is too large."""
    blocks: list[bytes] = []
    size = 0
    async for block in request.stream():
        size += len(block)
        if size > MAX_BODY_BYTES:
            return None
        blocks.append(block)
    return b"".join(blocks)


def _headers(request: StarletteRequest | WebSocket) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_plain(send: Send, status: int, body: str) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


async def _first_of(*coroutines: Coroutine[object, object, None]) -> None:
    """Run all until the first is done, and cancel the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
