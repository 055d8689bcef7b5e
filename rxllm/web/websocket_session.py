"""One WebSocket: any number of streams on it, each of which can be resumed on another.

Each stream that the client watches has a task. A client that reads slowly gets fewer and longer deltas, and no command
of a client that does not read its replies is carried out.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect

from .._json import encode
from ..errors import ConfigurationError, LLMError
from . import stream_api
from .formats.errors import error_facts
from .formats.websocket import Approve, Ask, Ping, Resume, Stop, WebSocketMessages, command_of
from .http import TOO_DEEP, HttpRequest, StreamBody
from .loop_calls import new_wakeup
from .model_service import Service

log = logging.getLogger("rxllm")

MAX_WATCHED = 64


class WebSocketSession:
    """A client's connection.

    Args:
        service: Makes and finds streams.
        http: The request that opened the WebSocket, with its user.
        socket: The WebSocket, accepted.
        stalled_seconds: Seconds after which a client that takes nothing of what is sent is disconnected.
    """

    def __init__(self, service: Service, http: HttpRequest, socket: WebSocket, stalled_seconds: float) -> None:
        self._service = service
        self._http = http
        self._socket = socket
        self._stalled_seconds = stalled_seconds
        self._watched: dict[str, asyncio.Task[None]] = {}
        """The tasks that send streams, by the ids of these."""

    async def run(self) -> None:
        """Carry out the client's commands, and send it the streams, until it leaves."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    received = await self._socket.receive()
                    if received["type"] != "websocket.receive":
                        raise WebSocketDisconnect
                    text = received.get("text") or received.get("bytes") or b""
                    reply, body = await asyncio.to_thread(self._carry_out, text)
                    await self._send(reply)
                    if body is not None:
                        if body.stream.id in self._watched:
                            self._watched[body.stream.id].cancel()
                        self._watched[body.stream.id] = tasks.create_task(self._watch(body))
        except* (WebSocketDisconnect, RuntimeError):  # the latter once sending has failed
            pass

    async def _watch(self, body: StreamBody) -> None:
        """Send a stream to its end."""
        wakeup = new_wakeup()
        notify = wakeup.set
        body.stream.watch(notify)
        try:
            while not body.ended:
                for message in body.take():
                    await self._send(message)
                await (asyncio.sleep(0) if body.is_behind or body.ended else wakeup.wait())  # others have their turn
        finally:
            body.stream.unwatch(notify)
            if self._watched.get(body.stream.id) is asyncio.current_task():
                del self._watched[body.stream.id]

    async def _send(self, message: str) -> None:
        if message:
            await asyncio.wait_for(self._socket.send_text(message), self._stalled_seconds)

    def _carry_out(self, text: str | bytes) -> tuple[str, StreamBody | None]:
        """Return the reply to a command ("" for none), and the stream to watch from now on. May block."""
        request = stream = ""
        try:
            match command_of(text):
                case Ask(body, request):
                    self._refuse_too_many()
                    started = stream_api.ask(self._service, self._http, body)
                    reply = _message("started", stream=started.id, request=request)
                    return reply, StreamBody(started, WebSocketMessages(started.id))
                case Resume(stream, after):
                    self._refuse_too_many()
                    found = self._service.stream(self._http, stream)
                    return "", StreamBody(found, WebSocketMessages(stream), after=max(after, 0))
                case Stop(stream):
                    self._service.stream(self._http, stream).stop()
                case Approve(stream, call, approved, reason):
                    self._service.approve(self._service.stream(self._http, stream), call, approved, reason)
                case Ping():
                    return _message("pong"), None
        except Exception as caught:
            error = ConfigurationError(TOO_DEEP) if isinstance(caught, RecursionError) else caught
            if not isinstance(error, LLMError):
                log.exception("a command failed")
            return _message("refused", request=request, stream=stream, error=error_facts(error)), None
        return "", None

    def _refuse_too_many(self) -> None:
        if len(self._watched) >= MAX_WATCHED:
            raise ConfigurationError(f"a connection watches at most {MAX_WATCHED} streams")


def _message(kind: str, **fields: object) -> str:
    return encode({"type": kind, **fields}).decode()
