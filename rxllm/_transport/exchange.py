"""One exchange of HTTP/1.1: a request is sent, and the head of its response read."""

from __future__ import annotations

import socket

from ..errors import ProtocolError
from .body import Body
from .connections import Call, CallAborted, Connection, connect
from .http1 import parse_head, request_head
from .pool import Pool
from .settings import Settings
from .sockets import receive

_SEND_BYTES = 256 * 1024
_HEAD_BLOCK_BYTES = 16 * 1024
_MAX_INTERIM = 100
"""Interim (1xx) responses before the final one."""


class Stale(Exception):
    """The server had closed a pooled connection before the request arrived, or had sent what nothing asked for."""


class Exchange:
    """One request, and the connection on which its response arrives. Its methods are for one thread at a time."""

    def __init__(self, settings: Settings, call: Call, pool: Pool) -> None:
        self.connection: Connection | None = None
        """None before the request was sent, if it must be sent again, and once the body has it."""
        self._settings = settings
        self._head = request_head(settings.target, settings.headers.items())
        self._call = call
        self._pool = pool
        self._is_reused = False
        self._send_failure: OSError | None = None

    def send(self) -> None:
        """Send the request on a pooled connection, or on a new one. Blocks."""
        pooled = self._pool.take(self._settings.route)
        if pooled is not None:
            try:
                pooled.own(self._call)
                self._send(pooled)
                return
            except CallAborted:
                pooled.close()
                raise
            except Stale:
                pass
        self._send_on_new()

    def complete(self) -> Body:
        """Return the body once the head of its response has arrived. Blocks.

        A pooled connection may turn out to be closed by the server. The request is then sent once more, on a new
        connection, and only if no byte of an answer has arrived.
        """
        while True:
            try:
                body = self.receive()
            except Stale:
                self._send_on_new()
            else:
                if body is not None:
                    return body

    def receive(self) -> Body | None:
        """Read the socket once; return the body if the head of its response is complete, else None.

        Raises:
            Stale: The request must be sent again: `complete` does so.
        """
        connection = self.connection
        if connection is None:
            raise Stale
        try:
            block = receive(connection.sock, _HEAD_BLOCK_BYTES)
            if block is None:
                return None
            if not block:
                raise self._send_failure or ConnectionResetError("the server closed the connection without an answer")
            self._data += block
            body = self._parse(connection)
        except BaseException as error:
            self._drop(connection, error)
            raise
        if body is not None:
            self.connection = None  # it is the body's
        return body

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        if self.connection is not None:
            self.connection.close()

    def _send_on_new(self) -> None:
        if self._call.aborted:
            raise CallAborted
        self._send(connect(self._settings.route.dialer(), self._call))

    def _send(self, connection: Connection) -> None:
        """Send the request; raise `Stale` if a reused connection was closed."""
        call, settings = self._call, self._settings
        self._data, self._interim = b"", 0  # a response that asked to send again may have left some
        self._is_reused, connection.served = connection.served > 0, connection.served + 1
        try:
            call.on_phase("sending")
            if self._is_reused and not connection.is_usable():  # again: the line above may start other requests first
                self._pool.discard(settings.route, connection)
                raise Stale
            self._send_failure = _send_all(connection.sock, self._head + settings.body, call)
            call.on_phase("waiting")
        except BaseException as error:
            self._drop(connection, error)
            raise
        self.connection = connection

    def _parse(self, connection: Connection) -> Body | None:
        while (parsed := parse_head(self._data)) is not None:
            head, self._data = parsed
            if head.status >= 200:
                if head.status == 408 and self._is_reused and not head.keeps_alive:
                    raise Stale  # an idle timeout that crossed the request (RFC 9110, section 15.5.9)
                return Body(connection, head, self._data, self._call, self._pool, self._settings.route)
            if head.status == 101:
                raise ProtocolError("the server switched protocols (HTTP 101), which the request did not ask for")
            self._interim += 1
            if self._interim == _MAX_INTERIM:
                raise ProtocolError(f"the server sent {_MAX_INTERIM} interim responses")
        return None

    def _drop(self, connection: Connection, error: BaseException) -> None:
        """Close the connection after `error`; raise `Stale` if the request may be sent again."""
        connection.close()
        self.connection = None
        has_answer = self._data or self._interim
        if self._is_reused and not has_answer and isinstance(error, OSError) and not self._call.aborted:
            raise Stale from error


def _send_all(sock: socket.socket, data: bytes, call: Call) -> OSError | None:
    """Send `data`; return the error if the peer stopped reading: its answer may say why (an early 413)."""
    view = memoryview(data)
    try:
        while view := view[sock.send(view[:_SEND_BYTES]) :]:
            call.on_phase("sending")
    except (BrokenPipeError, ConnectionResetError) as error:
        return error
    return None
