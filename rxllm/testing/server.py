"""A language-model server on the loopback interface whose answers a test chooses.

It is a real HTTP/1.1 server (keep-alive, two threads for each connection) and speaks five protocols.
Any client can use it through its base URL; nothing is patched.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import Self, TypeAlias

from .._json import encode
from .._runtime.platform import reset_when_closed
from ._connection import Exchange, read_request, write_response
from ._script import Chunk, Script, script_of
from .recorded import RecordedRequest
from .replies import Answer, ErrorReply, Hang, Reply

Answering: TypeAlias = Answer | str | Callable[[RecordedRequest], Answer | str]
"""An answer, text (a `Reply`), or a function from the request to one of these."""

_LOOK_SECONDS = 0.2
"""Seconds after which the accepting thread checks whether the server is closed, if `close` could not wake it."""

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
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.settimeout(_LOOK_SECONDS)
        self._threads: list[threading.Thread] = []
        self._start("llm-server-accept", self._accept_all)

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

    def wait_for_request(self, number: int = 1, timeout: float = 60.0) -> RecordedRequest:
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
        with contextlib.suppress(OSError):  # on Linux it wakes the accepting thread, which else looks by itself
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        self._listener.close()

    def _accept_all(self) -> None:
        """Start a thread for each connection, until `close`. Runs on the accepting thread."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nothing came for a while, or the client has closed the connection already
                if self._closing:
                    return
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                if self._closing:
                    connection.close()
                    return
                self.connections += 1
                self._open[connection] = None
                self._start(f"llm-server-{self.connections}", self._serve, connection)

    def _start(self, name: str, work: Callable[..., object], *arguments: object) -> None:
        """Run `work` on a thread that `close` waits for."""
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        self._threads = [thread, *(other for other in self._threads if other.is_alive())]
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Read the requests of one connection until either side ends it. Runs on the connection's own thread.

        A second thread answers, so that this one always reads, and sees at once that the client has closed the
        connection, also while the other one sends, sleeps or waits at a gate.
        """
        request = answering = None
        with connection, connection.makefile("rb") as reader:
            while (following := read_request(reader)) is not None:
                if answering is not None:
                    answering.join()
                request = following
                self._record(connection, request)
                name = f"{threading.current_thread().name}-answer"
                answering = threading.Thread(target=self._respond, args=(connection, request), name=name, daemon=True)
                answering.start()
            if request is not None:
                request.client_left()
            if answering is not None:
                answering.join()
            with self._changed:
                del self._open[connection]

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

    def _respond(self, connection: socket.socket, request: Exchange) -> None:
        """Answer `request`, and end the connection if that is how the answer ends, or if it raises."""
        ending = "drop"
        try:
            ending = self._answer(connection, request)
        finally:
            if ending != "whole" or request.headers.get("connection", "").lower() == "close":
                request.close_by_server()
                with contextlib.suppress(OSError):  # wakes the reading thread, which closes the socket
                    if ending == "reset":
                        reset_when_closed(connection)
                        connection.shutdown(socket.SHUT_RD)  # the other direction would end without a reset
                    else:
                        connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket, request: Exchange) -> str:
        """Answer `request`. Return how the connection ends, "whole" if it continues."""
        answer = self._script(request)
        try:
            if answer is None:
                request.wait(None)
            if answer is None or not write_response(connection, answer, request):
                return "drop"
        except OSError:
            if not self._closing:
                request.client_left()  # before this thread marks the connection as closed by the server
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
