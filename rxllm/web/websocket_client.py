"""The streams of a `Service` in another process as Observables here: over a WebSocket. Needs the package websockets.

As `rxllm.web.client`, with one connection for each subscription.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit, urlunsplit

from reactivex import Observable, abc
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .._json import decode, encode, is_object, object_at, text_at
from ..assistant.events import AssistantEvent
from ..errors import APIConnectionError, LLMError, StreamInterruptedError
from ..events import StreamEnd
from ..prompt import Prompt, messages_of
from ..sinks._lines import error_of
from ._lines import Position
from .client import resumed


def ask(
    url: str,
    prompt: Prompt,
    *,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    token: str | None = None,
) -> Observable[AssistantEvent]:
    """As `rxllm.web.client.ask`."""
    body = {**(options or {}), "messages": messages_of(prompt), **({} if model is None else {"model": model})}
    command = encode({"type": "prompt", "body": body}).decode()
    return _subscribing(url, token, lambda: Position(None), command)


def watch(url: str, stream: str, *, after: int = 0, token: str | None = None) -> Observable[AssistantEvent]:
    """As `rxllm.web.client.watch`."""
    return _subscribing(url, token, lambda: Position(stream, after), None)


def _subscribing(
    url: str, token: str | None, begin: Callable[[], Position], prompt: str | None
) -> Observable[AssistantEvent]:
    def subscribe(
        observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        position = begin()

        def read(inner: abc.ObserverBase[AssistantEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return _Reading(url, token, position, prompt, inner).start()

        def attempt() -> Observable[AssistantEvent]:
            return Observable(read)

        return resumed(attempt, position).subscribe(observer, scheduler=scheduler)

    return Observable(subscribe)


class _Reading(abc.DisposableBase):
    """One connection, read on a thread of its own."""

    def __init__(
        self,
        url: str,
        token: str | None,
        position: Position,
        prompt: str | None,
        observer: abc.ObserverBase[AssistantEvent],
    ) -> None:
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        self._url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/api/ws", "", ""))
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._position = position
        self._prompt = prompt
        self._observer = observer
        self._connection: ClientConnection | None = None
        self._disposed = False

    def start(self) -> abc.DisposableBase:
        threading.Thread(target=self._run, name="rxllm-websocket", daemon=True).start()
        return self

    def dispose(self) -> None:
        """Stop the stream, where it is our own prompt's, and close the connection at once."""
        self._disposed = True
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(OSError, WebSocketException):
            if self._prompt is not None and self._position.stream is not None and not self._position.is_told:
                connection.send(encode({"type": "stop", "stream": self._position.stream}).decode())
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with connect(self._url, additional_headers=self._headers, max_size=None, close_timeout=1) as connection:
                self._connection = connection
                if not self._disposed:
                    self._begin(connection)
                while not self._disposed and self._hear(connection.recv()):
                    pass
            end = self._observer.on_completed
        except LLMError as error:
            end = _failing(self._observer, error)
        except ConnectionClosed as error:
            broken = StreamInterruptedError("the connection ended before the stream did")
            broken.__cause__ = error
            end = _failing(self._observer, broken)
        except (OSError, WebSocketException) as error:
            unreachable = APIConnectionError(f"no WebSocket at {self._url}: {error}")
            unreachable.__cause__ = error
            end = _failing(self._observer, unreachable)
        if not self._disposed:
            end()

    def _begin(self, connection: ClientConnection) -> None:
        stream, after = self._position.stream, self._position.after
        if stream is None:
            connection.send(self._prompt or "")
        else:
            connection.send(encode({"type": "resume", "stream": stream, "after": after}).decode())

    def _hear(self, message: str | bytes) -> bool:
        """Pass on what a message brings; whether more is to come."""
        line = decode(message)
        kind = text_at(line, "type") if is_object(line) else None
        if is_object(line) and kind == "started":
            self._position.stream = text_at(line, "stream")
            return True
        if is_object(line) and kind == "refused":
            self._position.is_told = True
            raise error_of(object_at(line, "error"))
        event = self._position.read(message)
        if event is None:
            raise StreamInterruptedError("the stream ended without a StreamEnd", transient=False)
        self._observer.on_next(event)
        return not isinstance(event, StreamEnd)


def _failing(observer: abc.ObserverBase[AssistantEvent], error: LLMError) -> Callable[[], None]:
    return lambda: observer.on_error(error)
