"""A language-model server on the loopback interface whose answers a test chooses.

It is a real HTTP/1.1 server (keep-alive, one thread for each connection) and speaks five protocols.
Any client can use it through its base URL; nothing is patched.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import IO, Self, TypeAlias

from .._json import encode
from ._connection import Exchange, read_request, write_response
from ._script import Chunk, Script, script_of
from ._sockets import Sockets
from .recorded import RecordedRequest
from .replies import Answer, ErrorReply, Hang, Reply

Answering: TypeAlias = Answer | str | Callable[[RecordedRequest], Answer | str]
"""An answer, text (a `Reply`), or a function from the request to one of these."""

_WITHOUT_V1 = frozenset({"anthropic", "gemini", "ollama"})


def echo(request: RecordedRequest) -> Reply:
    """Return the text of the last message: the default answer of a server.

    Args:
        request: the request to answer.
    """
    return Reply(request.prompt)


class LLMServer:
    """A scripted server that runs until `close`. Also a context manager. Thread-safe.

    Args:
        replies: what to answer, one for each request; then `default`.
        default: what to answer when no reply is left; default: the text of the last message.
        models: the names of the models that it lists.
        port: the port to listen at; 0 takes a free one.

    Attributes:
        requests: every request for an answer, in the order in which they came.
        connections: how many connections were made so far.
        url: the root of the server, without a path.

    Example:
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
        self.connections = 0
        self._replies = deque(replies)
        self._attempts: Counter[tuple[str, bytes]] = Counter()
        """How often each request came, by path and body."""
        self._changed = threading.Condition()
        """Guards the state that threads share; notified when a request has come."""
        self._open: dict[socket.socket, Exchange | None] = {}
        """The latest request of each open connection; None before its first."""
        self._threads: list[threading.Thread] = []
        self._names = itertools.count(1)
        """Numbers in the names of the threads."""
        self._closing = False
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._sockets = Sockets(listener, self._accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def base_url(self, provider: str = "openai") -> str:
        """Return the `base_url` with which a provider reaches the server.

        Args:
            provider: the provider's name, as for `create_streaming_model`.
        """
        return self.url if provider in _WITHOUT_V1 else f"{self.url}/v1"

    def enqueue(self, *replies: Answering) -> None:
        """Add replies for the next requests.

        Args:
            replies: what to answer, one for each request.
        """
        with self._changed:
            self._replies.extend(replies)

    def wait_for_request(self, number: int = 1, timeout: float = 10.0) -> RecordedRequest:
        """Block until a request has come, and return it.

        Args:
            number: which one, from 1.
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: it has not come within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= number, timeout):
                raise TimeoutError(f"{len(self.requests)} requests came within {timeout} s, not {number}")
            return self.requests[number - 1]

    def close(self) -> None:
        """End all connections and threads. Blocks until they have ended; a second call does nothing."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            connections, threads = dict(self._open), list(self._threads)
        for connection, request in connections.items():
            if request is not None:
                request.close_by_server()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        self._sockets.stop()

    def _accepted(self, connection: socket.socket) -> None:
        """Start a thread for the connection. Runs on the thread of `Sockets`."""
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
        """Answer the requests of one connection in turn. Runs on the connection's own thread."""
        ending = "drop"
        try:
            with connection.makefile("rb") as reader:
                ending = self._answer_all(connection, reader)
        finally:
            with self._changed:
                del self._open[connection]
            self._sockets.close(connection, reset=ending == "reset")

    def _answer_all(self, connection: socket.socket, reader: IO[bytes]) -> str:
        """Answer until one side ends the connection. Return how it ends."""
        request = None
        while (following := read_request(reader)) is not None:
            request = following
            self._record(connection, request)
            self._sockets.watch(connection, request.client_left)
            ending = self._respond(connection, request)
            if ending != "whole" or request.headers.get("connection", "").lower() == "close":
                return ending
        if request is not None:
            request.client_left()
        return "whole"

    def _record(self, connection: socket.socket, request: Exchange) -> None:
        """Keep the request, and note how often the same one has come."""
        with self._changed:
            self._attempts[request.path, request.body] += 1
            request.attempt = self._attempts[request.path, request.body]
            self._open[connection] = request
            if self._closing:
                request.close_by_server()
            if request.wire is not None:
                self.requests.append(request)
                self._changed.notify_all()

    def _respond(self, connection: socket.socket, request: Exchange) -> str:
        """Answer `request`. Return whether the connection continues or how it ends."""
        answer = self._script(request)
        try:
            if answer is None:
                request.wait(None)
            if answer is None or not write_response(connection, answer, request):
                return "drop"
        except OSError:
            if not self._closing:
                request.client_left()
            return "drop"
        if answer.ending == "whole":
            request.answered.set()
        return "drop" if answer.framing in ("close", "bare") else answer.ending

    def _script(self, request: RecordedRequest) -> Script | None:
        """Return the response to `request`; None for `Hang`."""
        if request.wire is None:
            return self._server_info(request)
        with self._changed:
            answering = self._replies.popleft() if self._replies else self.default
        try:
            answer = answering(request) if callable(answering) else answering
        except Exception:
            answer = ErrorReply(500, f"the function that makes the reply raised: {traceback.format_exc(limit=-3)}")
        if isinstance(answer, Hang):
            return None
        return script_of(Reply(answer) if isinstance(answer, str) else answer, request)

    def _server_info(self, request: RecordedRequest) -> Script:
        """Return the response to a request for the models or the version, else 404."""
        path = request.path.partition("?")[0].rstrip("/")
        if path.endswith("/api/tags"):
            info: object = {"models": [{"name": name, "model": name} for name in self.models]}
        elif path.endswith("/api/version"):
            info = {"version": "0.0.0-scripted"}
        elif path.endswith("/models"):
            info = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        else:
            return script_of(ErrorReply(404, f"not found: {request.path}"), request)
        return Script([Chunk(encode(info))], "application/json", framing="length")
