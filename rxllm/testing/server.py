"""A language-model server on the loopback interface that says what a test tells it to.

It is a real HTTP/1.1 server (keep-alive, a thread per connection) and speaks all five protocols:
clients, ours or anybody's, are pointed at it by their base URL, and nothing is patched.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Self, TypeAlias

from .._json import encode
from ._connection import RawRequest, read_request, write_response
from ._exchange import Exchange
from ._script import Chunk, Script, script_of
from ._sockets import Sockets
from .recorded import RecordedRequest
from .replies import Answer, ErrorReply, Hang, Reply

Answering: TypeAlias = Answer | str | Callable[[RecordedRequest], Answer | str]
"""An answer, text that stands for a `Reply`, or a function from the request to either."""

_WITHOUT_V1 = frozenset({"anthropic", "gemini", "ollama"})


def echo(request: RecordedRequest) -> Reply:
    """The prompt, said back: what a server answers that was told nothing."""
    return Reply(request.prompt)


class LLMServer:
    """A scripted server, from its creation to `close`, or as a context manager.

    Each request for an answer takes the next of `replies` (and of what `enqueue` adds), and the
    `default` once there is none: itself an answer, or a function from the request to one.
    `models` are the names it lists. Safe to use from many threads.

    >>> import requests
    >>> with LLMServer("Hello there") as server:
    ...     url = server.base_url("ollama") + "/api/chat"
    ...     lines = requests.post(url, json={"model": "m", "messages": []}).text.splitlines()
    >>> lines[0]
    '{"model":"m","created_at":"2025-01-01T00:00:00.000000Z","message":{"role":"assistant","content":"Hello"},"done":false}'
    """

    def __init__(
        self, *replies: Answering, default: Answering = echo, models: tuple[str, ...] = ("scripted",), port: int = 0
    ) -> None:
        self.default = default
        self.models = models
        self.requests: list[RecordedRequest] = []
        """Every request for an answer, in the order they came."""
        self.connections = 0
        """How many connections were made so far."""
        self._replies = deque(replies)
        self._attempts: Counter[tuple[str, bytes]] = Counter()
        self._changed = threading.Condition()
        self._open: dict[socket.socket, Exchange | None] = {}  # the latest request of each
        self._idle: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._names = itertools.count(1)
        self._closing = False
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        """The root of the server, without a path."""
        self._sockets = Sockets(listener, self._accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def base_url(self, provider: str = "openai") -> str:
        """The `base_url` with which the provider of this name reaches the server."""
        return self.url if provider in _WITHOUT_V1 else f"{self.url}/v1"

    def enqueue(self, *replies: Answering) -> None:
        """Answer the next requests so, one each, before the `default`."""
        with self._changed:
            self._replies.extend(replies)

    def wait_for_request(self, number: int = 1, timeout: float = 10.0) -> RecordedRequest:
        """The request with this number, from 1, as soon as it has come.

        Raises `TimeoutError` where it has not come after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= number, timeout):
                raise TimeoutError(f"{len(self.requests)} requests came within {timeout} s, not {number}")
            return self.requests[number - 1]

    def close_idle_connections(self) -> None:
        """Close the connections that wait for another request, as servers do after a while.

        One whose answer has been sent (`RecordedRequest.answered`) is one of them, be it just now.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._turning_idle())
            idle = {connection: self._open[connection] for connection in self._idle}
        _end(idle)

    def close(self) -> None:
        """End all connections and threads. Harmless when done twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            connections, threads = dict(self._open), list(self._threads)
        _end(connections)
        for thread in threads:
            thread.join()
        self._sockets.stop()

    def _turning_idle(self) -> bool:
        """Whether an answer has been sent whose connection does not wait for the next request yet."""
        return any(
            request is not None and request.answered.is_set() and connection not in self._idle
            for connection, request in self._open.items()
        )

    def _accepted(self, connection: socket.socket) -> None:
        """On the sockets' thread: give the connection a thread of its own."""
        name = f"llm-server-{next(self._names)}"
        thread = threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True)
        with self._changed:
            self.connections += 1
            if self._closing:
                self._sockets.close(connection)
                return
            self._open[connection] = None
            self._threads = [thread, *(other for other in self._threads if other.is_alive())]
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """On a connection's own thread: answer its requests, one after the other."""
        ending = "drop"
        try:
            with connection.makefile("rb") as reader:
                ending = self._answer_all(connection, reader)
        finally:
            with self._changed:
                del self._open[connection]
                self._idle.discard(connection)
                self._changed.notify_all()
            self._sockets.close(connection, reset=ending == "reset")

    def _answer_all(self, connection: socket.socket, reader: IO[bytes]) -> str:
        """Answer until one side ends the connection; how it ends."""
        request = None
        while (raw := read_request(reader)) is not None:
            request = self._record(connection, raw)
            self._sockets.watch(connection, request.client_left)
            ending = self._respond(connection, request)
            if ending != "whole" or not raw.keeps_alive:
                return ending
            with self._changed:
                self._idle.add(connection)
                self._changed.notify_all()
        if request is not None:
            request.client_left()
        return "whole"

    def _record(self, connection: socket.socket, raw: RawRequest) -> Exchange:
        with self._changed:
            self._attempts[raw.path, raw.body] += 1
            request = Exchange(*raw, attempt=self._attempts[raw.path, raw.body])
            self._open[connection] = request
            self._idle.discard(connection)
            if self._closing:
                request.give_up()
            if request.wire is not None:
                self.requests.append(request)
                self._changed.notify_all()
            return request

    def _respond(self, connection: socket.socket, request: Exchange) -> str:
        """Answer `request`; how the connection is to go on or end."""
        answer = self._script(request)
        if answer is None:
            request.wait(None)
            return "drop"
        try:
            if not write_response(connection, answer, request):
                return "drop"
        except OSError:
            if not self._closing:
                request.client_left()
            return "drop"
        if answer.ending == "whole":
            request.answered.set()
        return "drop" if answer.framing in ("close", "bare") else answer.ending

    def _script(self, request: RecordedRequest) -> Script | None:
        """The response to `request`; None where none is to come."""
        if request.wire is None:
            return self._about(request)
        with self._changed:
            answering = self._replies.popleft() if self._replies else self.default
        try:
            answer = answering(request) if callable(answering) else answering
        except Exception:
            answer = ErrorReply(500, f"the test's own script raised: {traceback.format_exc(limit=-3)}")
        if isinstance(answer, Hang):
            return None
        return script_of(Reply(answer) if isinstance(answer, str) else answer, request)

    def _about(self, request: RecordedRequest) -> Script:
        """What a server tells of itself: its models; and that there is nothing else."""
        path = request.path.partition("?")[0].rstrip("/")
        if path.endswith("/api/tags"):
            told: object = {"models": [{"name": name, "model": name} for name in self.models]}
        elif path.endswith("/api/version"):
            told = {"version": "0.0.0-scripted"}
        elif path.endswith("/models"):
            told = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        else:
            return script_of(ErrorReply(404, f"there is nothing at {request.path}"), request)
        return Script([Chunk(encode(told))], "application/json", framing="length")


def _end(connections: Mapping[socket.socket, Exchange | None]) -> None:
    """End connections from this side, and all waiting on them."""
    for connection, request in connections.items():
        if request is not None:
            request.give_up()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
