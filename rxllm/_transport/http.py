"""One HTTP request for one streamed body, abortable from any thread in any phase.

The only package that knows requests and urllib3: their errors leave it as ours. It knows nothing of
language models.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3

from .._protocol import WireRequest, response_headers_listener
from ..errors import APIConnectionError, ConfigurationError, LLMError
from .body import Body, reason
from .connections import Call, CallAborted, Connection, connect, receive
from .http1 import parse_final_head, request_head
from .pool import Pool
from .requests_session import SessionSettings
from .settings import Settings, origin, own_settings

if TYPE_CHECKING:
    import requests

_SEND_BYTES = 256 * 1024
_HEAD_BLOCK_BYTES = 16 * 1024


class Transport:
    """The pooled connections of one model. Thread-safe.

    Args:
        session: A requests session whose settings are used (see `session`); it sends nothing itself.
    """

    def __init__(self, session: requests.Session | None = None) -> None:
        self.pool = Pool()
        self.session = None if session is None else SessionSettings(session)

    def send(self, request: WireRequest, call: Call) -> PendingResponse:
        """Send `request`. Blocks without a time limit: `call.abort` ends it.

        Raises:
            LLMError: The server could not be reached.
            CallAborted: The call was aborted.
        """
        with _our_errors(request, call):
            settings = own_settings(request) if self.session is None else self.session.of(request)
            return PendingResponse(self, request, call, settings)

    def close(self) -> None:
        """Close the idle connections; active ones close with their streams."""
        self.pool.close()


class PendingResponse:
    """The response to a request, which it sends. Its methods are for one thread at a time.

    A pooled connection may turn out to be closed by the server. The request is then sent once more, on a new
    connection, and only if no byte of an answer has arrived.
    """

    def __init__(self, transport: Transport, request: WireRequest, call: Call, settings: Settings) -> None:
        self._transport = transport
        self._request = request
        self._call = call
        self._settings = settings
        self._listener = response_headers_listener.get()
        response_headers_listener.set(None)  # it is not for requests that a subscriber makes inside its on_next
        self.is_blocking = True
        self.must_block = False
        """`read` must be called once more, and may block then: it may send again, or need more than the head."""
        self._connection: Connection | None = None
        """None once the body has it, or if the request must be sent again."""
        self._body: Body | None = None
        """It has arrived, but `read` must block for what follows."""
        self._head = request_head(settings.target, settings.headers.items())
        self._is_reused = False
        self._is_stale = False
        """The request must be sent again."""
        self._send_failure: OSError | None = None
        self._data = b""
        pooled = transport.pool.take(settings.route)
        if pooled is not None:
            self._send(pooled)
        if self._connection is None:
            self._send_on_new()

    def fileno(self) -> int | None:
        """Return the socket that is readable when the response arrives; None if no socket says so."""
        return None if self._connection is None else self._connection.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Let `read` wait for bytes, or return without them."""
        self.is_blocking = blocking
        if self._body is not None:
            self._body.set_blocking(blocking)
        elif self._connection is not None:
            self._connection.sock.setblocking(blocking)

    def read(self) -> Body | None:
        """Return the body of the response once its head has arrived; else wait, or return None if it must not block.

        Raises:
            LLMError: The server answered with an error, or could not be reached.
            CallAborted: The call was aborted.
        """
        session = self._transport.session
        with _our_errors(self._request, self._call):
            body, self._body = self._body, None
            if self.is_blocking:
                body = body or self._wait()
                if session is not None:
                    body = session.process(self._settings, body, self._send_other)
            else:
                body = self._receive()
                needs_more = body is not None and (session is not None or not body.is_success)
                self.must_block = needs_more or self._is_stale
                if self.must_block:
                    self._body, body = body, None
                    self.set_blocking(True)
        if body is None:
            return None
        if self._listener is not None:
            self._listener(body.headers)
        if not body.is_success:
            raise body.error()
        return body

    def close(self) -> None:
        """Close the connection, if the body was not returned yet. Harmless when repeated."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._call.release()
            connection.close()
        if self._body is not None:
            self._body.close()

    def _send_other(self, settings: Settings) -> Body:
        return PendingResponse(self._transport, self._request, self._call, settings)._wait()

    def _send_on_new(self) -> None:
        if self._call.aborted:
            raise CallAborted
        self._send(connect(self._settings.route, self._call))

    def _send(self, connection: Connection) -> None:
        """Send the request; or set `_is_stale`, if a reused connection was closed."""
        call = self._call
        self._is_stale = False
        self._connection = connection
        self._is_reused, connection.served = connection.served > 0, connection.served + 1
        try:
            call.own(connection.shut_down)
            call.on_phase("sending")
            # Checked again, right before the request is written.
            if self._is_reused and not self._transport.pool.can_serve(connection):
                raise ConnectionResetError
            self._send_failure = _send_all(connection.sock, self._head + self._settings.body, call)
            call.on_phase("waiting")
        except BaseException as error:
            if not self._may_send_again(error):
                raise

    def _wait(self) -> Body:
        """Return the body once the head of the response has arrived. Blocks."""
        body = None
        while body is None:
            if self._is_stale:
                self._send_on_new()
            body = self._receive()
        return body

    def _receive(self) -> Body | None:
        """Read the socket once; return the body if the head of its response is complete, else None."""
        connection = self._connection
        if connection is None:
            return None
        try:
            block = receive(connection.sock, _HEAD_BLOCK_BYTES)
            if block is None:
                return None
            if not block:
                raise self._send_failure or ConnectionResetError("the server closed the connection without an answer")
            self._data += block
            parsed = parse_final_head(self._data)
            if parsed is None:
                return None
            head, rest = parsed
            if head.status == 408 and self._is_reused and not head.keeps_alive:
                self._data = b""
                raise ConnectionResetError("an idle timeout crossed the request")  # RFC 9110, section 15.5.9
            body = Body(connection, head, rest, self._call, self._transport.pool)
        except BaseException as error:
            if not self._may_send_again(error):
                raise
            return None
        self._connection = None
        return body

    def _may_send_again(self, error: BaseException) -> bool:
        """Close the connection after `error`; set `_is_stale`, and return it."""
        self.close()
        may_repeat = self._is_reused and not self._data  # the connection may have been closed before the request came
        self._is_stale = may_repeat and isinstance(error, OSError) and not self._call.aborted
        return self._is_stale


@contextmanager
def _our_errors(request: WireRequest, call: Call) -> Generator[None]:
    try:
        yield
    except Exception as error:
        if call.aborted:
            raise CallAborted from error
        raise _connection_error(error, request) from error


def _send_all(sock: socket.socket, data: bytes, call: Call) -> OSError | None:
    """Send `data`; return the error if the peer stopped reading: its answer may say why (an early 413)."""
    view = memoryview(data)
    try:
        while view := view[sock.send(view[:_SEND_BYTES]) :]:
            call.on_phase("sending")
    except (BrokenPipeError, ConnectionResetError) as error:
        return error
    return None


def _connection_error(error: Exception, request: WireRequest) -> LLMError:
    """Return our error for one that was raised before the head of a response arrived.

    The messages of requests and urllib3 are passed on only if they cannot contain a header, a password or a query.
    """
    where = origin(request.url)
    if isinstance(error, LLMError):
        return error
    if isinstance(error, UnicodeError):
        return ConfigurationError(f"the host name in {where} is not valid")
    if isinstance(error, ssl.SSLError):
        is_cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)  # Python 3.11.2 raises the second one
        return APIConnectionError(f"TLS to {where} failed: {reason(error)}", transient=is_cut)
    if isinstance(error, ConnectionRefusedError) and request.if_refused:
        return APIConnectionError(f"no server listens at {where}: {request.if_refused}")
    if isinstance(error, urllib3.exceptions.HTTPError | ValueError) and not isinstance(error, OSError):
        return ConfigurationError(f"the request to {where} could not be made: {type(error).__name__}")
    by_proxy = type(error).__module__ == "socks"
    return APIConnectionError(f"no answer from {where}: {reason(error)}", transient=not by_proxy)
