"""ASGI: a stream as a Starlette response, and a `Service` as an ASGI application.

A client that leaves is seen at once, whether or not there is something to send. A request is refused before its body is
read, and bodies are bounded in size, in time and in number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, cast

from .._arguments import check_type
from .._lazy_imports import needed

needed("starlette", "rxllm.web.asgi", "rxllm[web]")  # before the imports below

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ..errors import APIStatusError, BadRequestError, OverloadedError
from ..sinks._async_wakeup import AsyncWakeup
from . import routes
from .http import MAX_BODY_BYTES, HttpRequest, StreamBody, checked_keep_alive
from .loop_calls import new_wakeup
from .model_service import Service
from .websocket_session import WebSocketSession

__all__ = ["StreamResponse", "asgi_app"]

log = logging.getLogger("rxllm")

KEEP_ALIVE_SECONDS = 15.0

BODY_SECONDS = 60.0
"""Seconds in which a request's body must arrive."""

BODY_IDLE_SECONDS = 5.0
"""Seconds in which the next piece of a request's body must arrive."""

MAX_BODY_BYTES_AT_ONCE = 4 * MAX_BODY_BYTES
"""Bytes of bodies that may be on their way at once; further ones are refused."""

STALLED_SECONDS = 60.0
"""Seconds after which a client that takes nothing of what is sent is disconnected."""

MAX_WEBSOCKETS = 1000
MAX_WEBSOCKETS_PER_CLIENT = 256
"""How many of them one client (a user, or else an address) may have."""

_POLICY_VIOLATION = 1008


class StreamResponse(Response):
    """A stream as the response of a Starlette or FastAPI endpoint.

    Args:
        body: The stream.
        keep_alive: Seconds without data after which a keep-alive is sent.
        headers: Further headers of the response.
    """

    def __init__(
        self, body: StreamBody, *, keep_alive: float = KEEP_ALIVE_SECONDS, headers: dict[str, str] | None = None
    ) -> None:
        check_type("StreamResponse(body=...), for example sse(stream),", body, StreamBody)
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self._body = body
        self._keep_alive = checked_keep_alive(keep_alive)
        self._extra_headers = headers or {}
        self._since = time.monotonic()
        """When the last piece was begun or taken."""
        self._is_sending = self._is_silent = False
        self.init_headers({**body.format.headers, **self._extra_headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client leaves; then run the response's background tasks."""
        wakeup = new_wakeup()
        self._body.stream.watch(notify := wakeup.set)
        try:
            await _first_of(_until_gone(receive), self._until_stalled(wakeup), self._send(wakeup, scope, receive, send))
        finally:
            self._body.stream.unwatch(notify)
        if self.background is not None:  # FastAPI sets it, for an endpoint with `BackgroundTasks`
            await self.background()

    async def _send(self, wakeup: AsyncWakeup, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then what there is, whenever `wakeup` is set; or the error that the stream failed with.

        After a silence the head of a stream is sent as it is, so that no proxy gives up on a slow model.
        """
        body = self._body
        while not body.is_head_ready() and (body.whole or not self._is_silent):
            await wakeup.wait()
        if (failure := body.failure()) is not None:
            whole = Response(failure.body, failure.status, {**failure.headers, **self._extra_headers})
            await whole(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while not body.ended and scope["method"] != "HEAD":
            text = body.text() or (body.format.keep_alive if self._is_silent else "")
            if text:
                await self._send_piece(send, text)
            if body.is_behind:
                await asyncio.sleep(0)  # other tasks have their turn
            elif not body.ended:
                await wakeup.wait()
        await self._send_piece(send, "", more_body=False)

    async def _send_piece(self, send: Send, text: str, *, more_body: bool = True) -> None:
        """Send a piece of the body; blocks while the client takes nothing of the pieces before."""
        self._is_silent, self._is_sending, self._since = False, True, time.monotonic()
        await send({"type": "http.response.body", "body": text.encode(), "more_body": more_body})
        self._is_sending, self._since = False, time.monotonic()

    async def _until_stalled(self, wakeup: AsyncWakeup) -> None:
        """Return when the client has taken nothing for 60 s; have a keep-alive sent after each silence meanwhile."""
        while True:  # after this, the server closes the connection: the response is not complete
            limit = STALLED_SECONDS if self._is_sending else self._keep_alive
            left = self._since + limit - time.monotonic()
            if left > 0:
                await asyncio.sleep(min(left, self._keep_alive, STALLED_SECONDS))
            elif self._is_sending:
                return
            else:
                self._is_silent, self._since = True, time.monotonic()
                wakeup.set_here()


def asgi_app(service: Service, *, drain_seconds: float = 10.0) -> Router:
    """Return an ASGI application with everything that `service` has, the page and the WebSocket included.

    Mount it in an application of yours, or run it with any ASGI server. When the server shuts down, no more streams
    start, and those under way have time to end.

    Args:
        service: The models and streams.
        drain_seconds: Seconds that streams have to end at shutdown.
    """
    check_type("asgi_app(service=...)", service, Service)

    @contextlib.asynccontextmanager
    async def lifespan(_: Router) -> AsyncGenerator[None, None]:
        with _closing_on_signals(service, drain_seconds), _refusing_without_descriptors():
            yield
        await asyncio.to_thread(service.close, drain_seconds)

    web_socket = WebSocketRoute("/api/ws", partial(_serve_websocket, service, []))
    return Router([web_socket, Route("/{path:path}", _Endpoint(service))], lifespan=lifespan)


async def _serve_websocket(service: Service, others: list[str], socket: WebSocket) -> None:
    """Serve a session until either side ends it; `others` has the account of each that there is."""
    head = _head(socket, "GET")
    try:
        head = await _admit(service, head, socket.query_params.get("token", ""))
    except Exception as error:
        routes.refuse(service, head, error)  # for the log
        await socket.close(_POLICY_VIOLATION, "refused")
        return
    if len(others) >= MAX_WEBSOCKETS or others.count(head.account) >= MAX_WEBSOCKETS_PER_CLIENT:
        await socket.close(_POLICY_VIOLATION, "too many connections")
        return
    others.append(head.account)
    try:
        await socket.accept()
        await WebSocketSession(service, head, socket, STALLED_SECONDS).run()
    finally:
        others.remove(head.account)


async def _admit(service: Service, head: HttpRequest, query_token: str = "") -> HttpRequest:
    if not service.authenticates:
        return service.admit(head, query_token=query_token)
    return await asyncio.to_thread(service.admit, head, query_token=query_token)


class _Endpoint:
    """Answers HTTP requests; it is not a function, so it gets those of all methods. For one event loop.

    Bodies are bounded in size and time, and all together in size.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._bytes_left = MAX_BODY_BYTES_AT_ONCE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; its body is read after it was admitted."""
        request = StarletteRequest(scope, receive)
        head = _head(request, request.method)
        try:
            head = await _admit(self._service, head)
            head = replace(head, body=await self._body(request))
            made = await asyncio.to_thread(routes.respond, self._service, head)  # functions on offer may block
        except ClientDisconnect:
            return
        except Exception as error:
            made = routes.refuse(self._service, head, error)
            made = made.with_headers({"connection": "close"})  # the rest of the body is not read
        if isinstance(made.body, StreamBody):
            response: Response = StreamResponse(
                made.body, keep_alive=self._service.keep_alive, headers=dict(made.headers)
            )
        else:
            response = Response(made.body, made.status, made.headers)
        await response(scope, receive, send)

    async def _body(self, request: StarletteRequest) -> bytes:
        """Return the body. Raises an `LLMError` if it is too large or too slow, or too many bodies are on their way."""
        too_large = BadRequestError("the request is too large", status_code=413)
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
            raise too_large
        received = 0
        blocks: list[bytes] = []
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + BODY_SECONDS
            async with asyncio.timeout(BODY_IDLE_SECONDS) as limit:
                async for block in request.stream():
                    limit.reschedule(min(deadline, loop.time() + BODY_IDLE_SECONDS))
                    received += len(block)
                    self._bytes_left -= len(block)  # all requests share them
                    if received > MAX_BODY_BYTES:
                        raise too_large
                    if self._bytes_left < 0:
                        raise OverloadedError("the server reads too many requests", status_code=503, retry_after=1.0)
                    blocks.append(block)
        except TimeoutError as error:
            raise APIStatusError("the request's body did not arrive in time", status_code=408) from error
        finally:
            self._bytes_left += received
        return b"".join(blocks)


@contextlib.contextmanager
def _closing_on_signals(service: Service, drain_seconds: float) -> Generator[None]:
    """Close the service on SIGTERM and SIGINT before the server's own handler runs.

    uvicorn waits for its connections before it ends the lifespan, and closes WebSockets at once: streams would keep it
    running, and their readers would see no end. A second signal goes to the server directly.
    """
    loop = asyncio.get_running_loop()
    found: dict[int, Callable[[int, FrameType | None], object]] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        """Close the service in a thread, and call the server's own handler after that."""
        own = found.pop(number, None)
        if own is None:
            return
        signal.signal(number, own)

        def close() -> None:
            service.close(drain_seconds)
            loop.call_soon_threadsafe(own, number, None)

        threading.Thread(target=close, name="rxllm-web-drain", daemon=True).start()

    if threading.current_thread() is threading.main_thread():
        for watched in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(watched)
            if callable(handler) and handler is not signal.default_int_handler:
                found[watched] = handler
                signal.signal(watched, on_signal)
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _refusing_without_descriptors() -> Generator[None]:
    """Close the connections that asyncio cannot accept for want of descriptors; log that at most once a minute.

    asyncio would try, and log, thousands of times a second. One descriptor is kept back to accept and close with.
    """
    loop = asyncio.get_running_loop()
    former = loop.get_exception_handler()
    spare = [os.open(os.devnull, os.O_RDONLY)]
    silent_until = 0.0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Refuse all waiting connections if there are no descriptors; pass other problems on."""
        nonlocal silent_until
        if not str(context.get("message", "")).startswith("socket.accept() out of system resource"):
            (loop.default_exception_handler if former is None else partial(former, loop))(context)
            return
        while spare:
            os.close(spare.pop())
        listener = socket.socket(fileno=context["socket"].fileno())
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
        listener.detach()
        with contextlib.suppress(OSError):  # another thread was faster: without a spare one for now
            spare.append(os.open(os.devnull, os.O_RDONLY))
        if loop.time() >= silent_until:
            silent_until = loop.time() + 60.0
            log.error("the server cannot accept connections: %s", context.get("exception"))

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(former)
        while spare:
            os.close(spare.pop())


def _head(request: StarletteRequest | WebSocket, method: str) -> HttpRequest:
    """Return a request without its body."""
    client = request.client.host if request.client is not None else ""
    path = cast(str, request.scope["path"]).removeprefix(cast(str, request.scope.get("root_path", "")))
    headers = {name.lower(): value for name, value in request.headers.items()}
    return HttpRequest(method, path, dict(request.query_params), headers, b"", client)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
