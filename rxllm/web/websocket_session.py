"""One WebSocket: any number of streams on it, each resumable on another. No I/O here.

What arrives is given to `receive`; what is to be sent is taken, all of it that is ready, with
`take`. So a client that reads slowly gets fewer and longer deltas, and one that is frozen costs no
more than what was taken last.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ..errors import ConfigurationError, LLMError
from .formats import websocket
from .formats.websocket import Approve, Ask, Command, Ping, Resume, Stop, WebSocketMessages
from .served_stream import ServedStream
from .stream_factory import StreamFactory

log = logging.getLogger("rxllm")

MOST_WATCHED = 64
_MOST_WAITING = 256


class WebSocketSession:
    """A client's connection: `ring` is called, from any thread, when there is something to take."""

    def __init__(self, factory: StreamFactory, client: str, ring: Callable[[], None]) -> None:
        self._factory = factory
        self._client = client
        self._ring = ring
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        """Guards `_watched`: commands are carried out on one thread, messages taken on another."""
        self._replies: deque[str] = deque()
        self._closed = False
        self._is_behind = False

    @property
    def is_flooded(self) -> bool:
        """Whether the client asks on and on and does not read the replies: then it is not to be heard for now."""
        return len(self._replies) > _MOST_WAITING

    def receive(self, text: str) -> None:
        """Carry out one command."""
        try:
            command = websocket.command_of(text)
        except (ValueError, RecursionError):
            self._reply(websocket.refused(ConfigurationError("that is no command")))
            return
        try:
            self._carry_out(command)
        except Exception as error:
            if not isinstance(error, LLMError):  # the fault of a function on offer: its client learns no more than that
                log.exception("a command failed")
            request = command.request if isinstance(command, Ask) else ""
            stream = "" if isinstance(command, Ask | Ping) else command.stream
            self._reply(websocket.refused(error, request=request, stream=stream))

    @property
    def is_behind(self) -> bool:
        """Whether there is more to take at once."""
        return self._is_behind

    def take(self) -> list[str]:
        """The messages that are ready, in order; take again where it `is_behind`."""
        messages: list[str] = []
        while self._replies:
            messages.append(self._replies.popleft())
        with self._lock:
            for name, watched in list(self._watched.items()):
                messages.extend(watched.take())
                if watched.ended:
                    watched.stream.unwatch(self._ring)
                    del self._watched[name]
            self._is_behind = any(watched.is_behind for watched in self._watched.values())
        return messages

    def close(self) -> None:
        """The client is gone: watch nothing more."""
        with self._lock:
            self._closed = True
            watched, self._watched = self._watched, {}
        for one in watched.values():
            one.stream.unwatch(self._ring)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Ask(body, request):
                self._refuse_too_many()
                stream = self._factory.ask(body.get("model"), body, self._client, linger=self._factory.linger)
                self._reply(websocket.started(stream.id, request))
                self._watch(stream, 0)
            case Resume(id, after):
                self._refuse_too_many()
                self._watch(self._factory.stream(id), max(after, 0))
            case Stop(id):
                self._factory.stream(id).stop()
            case Approve(id, call, approved, reason):
                self._factory.stream(id).approve(call, approved, reason)
            case Ping():
                self._reply(websocket.PONG)

    def _watch(self, stream: ServedStream[object], after: int) -> None:
        with self._lock:
            if self._closed:  # the client left while its command was carried out
                return
            if stream.id not in self._watched:
                stream.watch(self._ring)
            self._watched[stream.id] = _Watched(stream, after)
        self._ring()

    def _refuse_too_many(self) -> None:
        if len(self._watched) >= MOST_WATCHED:
            raise ConfigurationError(f"a connection watches at most {MOST_WATCHED} streams")

    def _reply(self, message: str) -> None:
        self._replies.append(message)
        self._ring()


class _Watched:
    """How far the client is with one stream."""

    def __init__(self, stream: ServedStream[object], after: int) -> None:
        self.stream = stream
        self.ended = False
        self._after = after
        self._messages = WebSocketMessages(stream.id)

    @property
    def is_behind(self) -> bool:
        return self._after < self.stream.last

    def take(self) -> Iterator[str]:
        state = self.stream.state  # before the events: what comes after it is taken next time
        for entry in self.stream.since(self._after):
            self._after = entry.id
            yield self._messages.event(entry.id, entry.event)
        if self.is_behind:
            return
        if state == "open":
            self.ended = self.stream.is_released
            return
        self.ended = True
        if state == "cancelled":
            yield self._messages.stopped()
        elif self.stream.error is not None:
            yield self._messages.failed(self.stream.error)
        else:
            yield self._messages.completed()
