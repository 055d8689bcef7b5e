"""One WebSocket: any number of streams on it, each of which can be resumed on another. No I/O here.

The adapter gives what arrives to `receive` and sends what `take` returns. So a client that reads slowly gets fewer and
longer deltas, and a client that does not read costs no more than what was taken last.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..errors import ConfigurationError, LLMError
from . import stream_api
from .formats import websocket
from .formats.websocket import Approve, Ask, Command, Ping, Resume, Stop, WebSocketMessages
from .http import TOO_DEEP, HttpRequest, StreamBody
from .served_stream import ServedStream
from .stream_factory import StreamFactory

log = logging.getLogger("rxllm")

MAX_WATCHED = 64
_MAX_REPLIES = 256


class WebSocketSession:
    """A client's connection.

    Args:
        factory: Makes and finds streams.
        http: The request that opened the WebSocket, with its user.
        notify: Called from any thread when there is something to take. Must not block.
    """

    def __init__(self, factory: StreamFactory, http: HttpRequest, notify: Callable[[], object]) -> None:
        self._factory = factory
        self._http = http
        self._notify = notify
        self._watched: dict[str, StreamBody] = {}
        self._lock = threading.Lock()
        """Guards `_watched`: commands run on one thread, messages are taken on another."""
        self._replies: deque[str] = deque()
        self._closed = False
        self._is_behind = False

    @property
    def is_flooded(self) -> bool:
        """Whether the client sends commands without reading the replies: then it is not read from for now."""
        return len(self._replies) > _MAX_REPLIES

    def receive(self, text: str | bytes) -> None:
        """Run one command."""
        try:
            command = websocket.command_of(text)
        except (ValueError, RecursionError):
            self._reply(websocket.refused(ConfigurationError("unknown command")))
            return
        try:
            self._carry_out(command)
        except Exception as caught:
            error = ConfigurationError(TOO_DEEP) if isinstance(caught, RecursionError) else caught
            if not isinstance(error, LLMError):
                log.exception("a command failed")
            request = command.request if isinstance(command, Ask) else ""
            stream = "" if isinstance(command, Ask | Ping) else command.stream
            self._reply(websocket.refused(error, request=request, stream=stream))

    @property
    def is_behind(self) -> bool:
        """Whether there is more to take at once, without waiting for a notification."""
        return self._is_behind

    def take(self) -> list[str]:
        """Return the messages that are ready, in order."""
        messages: list[str] = []
        while self._replies:
            messages.append(self._replies.popleft())
        with self._lock:
            for name, cursor in list(self._watched.items()):
                messages.extend(filter(None, cursor.take()))
                if cursor.ended:
                    cursor.stream.unwatch(self._notify)
                    del self._watched[name]
            self._is_behind = any(cursor.is_behind for cursor in self._watched.values())
        return messages

    def close(self) -> None:
        """Watch nothing more: the client has left."""
        with self._lock:
            self._closed = True
            watched, self._watched = self._watched, {}
        for cursor in watched.values():
            cursor.stream.unwatch(self._notify)

    def _carry_out(self, command: Command) -> None:
        """Do what a command says; raises what the client reads as a refusal."""
        match command:
            case Ask(body, request):
                self._refuse_too_many()
                stream = stream_api.ask(self._factory, self._http, body)
                self._reply(websocket.started(stream.id, request))
                self._watch(stream, 0)
            case Resume(id, after):
                self._refuse_too_many()
                self._watch(self._factory.stream(self._http, id), max(after, 0))
            case Stop(id):
                self._factory.stream(self._http, id).stop()
            case Approve(id, call, approved, reason):
                self._factory.approve(self._factory.stream(self._http, id), call, approved, reason)
            case Ping():
                self._reply(websocket.PONG)

    def _watch(self, stream: ServedStream[object], after: int) -> None:
        """Send a stream's events after the number `after` from now on."""
        with self._lock:
            if self._closed:  # the client left while its command was carried out
                return
            if stream.id not in self._watched:
                stream.watch(self._notify)
            self._watched[stream.id] = StreamBody(stream, WebSocketMessages(stream.id), after=after)
        self._notify()

    def _refuse_too_many(self) -> None:
        if len(self._watched) >= MAX_WATCHED:
            raise ConfigurationError(f"a connection watches at most {MAX_WATCHED} streams")

    def _reply(self, message: str) -> None:
        self._replies.append(message)
        self._notify()
