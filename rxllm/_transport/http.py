"""One HTTP request for one streamed body, abortable from any thread in any phase.

The only package that knows requests and urllib3: their errors leave it as ours. It knows nothing of
language models.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import urllib3

from .._protocol import WireRequest, response_headers_listener
from ..errors import APIConnectionError, ConfigurationError, LLMError, ProtocolError
from .body import Body, reason
from .connections import Call, CallAborted, Connection, TunnelRefused, connect
from .http1 import parse_head, request_head
from .pool import Pool
from .session import SessionSettings
from .settings import Settings, origin, own_settings

if TYPE_CHECKING:
    import requests

_SEND_BYTES = 256 * 1024
_MAX_INTERIM = 100
"""Interim (1xx) responses before the final one."""


class Transport:
    """The pooled connections of one model. Thread-safe.

    Args:
        session: A requests session whose settings are used (see `session`); it sends nothing itself.
    """

    def __init__(self, session: requests.Session | None = None) -> None:
        self._pool = Pool()
        self._session = None if session is None else SessionSettings(session)

    def open(self, request: WireRequest, call: Call) -> Body:
        """Send `request` and return the body of the response once its head has arrived.

        Blocks without a time limit: `call.abort` ends it.

        Raises:
            LLMError: The server answered with an error, or could not be reached.
            CallAborted: The call was aborted.
        """
        listener = response_headers_listener.get()
        response_headers_listener.set(None)  # it is not for requests that a subscriber makes inside its on_next
        try:
            settings = own_settings(request) if self._session is None else self._session.of(request)
            body = self._exchange(settings, call)
            if self._session is not None:
                try:
                    body = self._session.process(settings, body, lambda again: self._exchange(again, call))
                except BaseException:
                    body.close()
                    raise
        except Exception as error:
            if call.aborted:
                raise CallAborted from error
            raise _connection_error(error, request) from error
        if listener is not None:
            listener(body.headers)
        if not 200 <= body.status < 300:
            raise body.error()
        return body

    def close(self) -> None:
        """Close the idle connections; active ones close with their streams."""
        self._pool.close()

    def _exchange(self, settings: Settings, call: Call) -> Body:
        """Send a request and return its response.

        A pooled connection may turn out to be closed by the server. The request is then sent once more, on a new
        connection, and only if no byte of an answer has arrived.
        """
        head = request_head(settings.target, settings.headers.items())
        pooled = self._pool.take(settings.route)
        if pooled is not None:
            try:
                pooled.own(call)
                return self._send(pooled, head, settings, call)
            except CallAborted:
                pooled.close()
                raise
            except _Stale:
                if call.aborted:
                    raise CallAborted from None
        return self._send(connect(settings.route.dialer(), call), head, settings, call)

    def _send(self, connection: Connection, head: bytes, settings: Settings, call: Call) -> Body:
        """Send the request and read the head of the response. Raises `_Stale` if a reused connection was closed."""
        data = b""
        is_reused, connection.served = connection.served > 0, connection.served + 1
        try:
            call.on_phase("sending")
            if is_reused and not connection.is_usable():  # again: the line above may start other requests first
                self._pool.discard(settings.route, connection)
                raise _Stale
            send_failure = _send_all(connection.sock, head + settings.body, call)
            call.on_phase("waiting")
            for _ in range(_MAX_INTERIM):
                while (parsed := parse_head(data)) is None:
                    block = _receive(connection.sock)
                    if not block:
                        raise send_failure or ConnectionResetError("the server closed the connection without an answer")
                    data += block
                response, rest = parsed
                if response.status >= 200:
                    if response.status == 408 and is_reused and not response.keeps_alive:
                        raise _Stale  # an idle timeout that crossed the request (RFC 9110, section 15.5.9)
                    return Body(connection, response, rest, call, self._pool, settings.route)
                if response.status == 101:
                    raise ProtocolError("the server switched protocols (HTTP 101), which the request did not ask for")
                data = rest
            raise ProtocolError(f"the server sent more than {_MAX_INTERIM} interim responses")
        except BaseException as error:
            connection.close()
            if is_reused and not data and isinstance(error, OSError) and not call.aborted:
                raise _Stale from error
            raise


class _Stale(Exception):
    """The server had closed a pooled connection before the request arrived, or had sent what nothing asked for."""


def _send_all(sock: socket.socket, data: bytes, call: Call) -> OSError | None:
    """Send `data`; return the error if the peer stopped reading: its answer may say why (an early 413)."""
    view = memoryview(data)
    try:
        while view := view[sock.send(view[:_SEND_BYTES]) :]:
            call.on_phase("sending")
    except (BrokenPipeError, ConnectionResetError) as error:
        return error
    return None


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(16 * 1024)
    except ssl.SSLEOFError:
        return b""


def _connection_error(error: Exception, request: WireRequest) -> LLMError:
    """Return our error for one that was raised before the head of a response arrived.

    The messages of requests and urllib3 are passed on only if they cannot contain a header, a password or a query.
    """
    where = origin(request.url)
    if isinstance(error, LLMError):
        return error
    if isinstance(error, TunnelRefused):
        transient = error.status >= 500 or error.status in (408, 429)
        return APIConnectionError(f"no connection to {where}: {error}", transient=transient)
    if isinstance(error, UnicodeError):
        return ConfigurationError(f"the host name in {where} is not valid")
    if isinstance(error, ssl.SSLError):
        return APIConnectionError(f"TLS to {where} failed: {reason(error)}", transient=False)
    if isinstance(error, ConnectionRefusedError) and request.if_refused:
        return APIConnectionError(f"no server listens at {where}: {request.if_refused}")
    if isinstance(error, OSError):
        by_proxy = type(error).__module__ == "socks"
        return APIConnectionError(f"no answer from {where}: {reason(error)}", transient=not by_proxy)
    if isinstance(error, urllib3.exceptions.HTTPError | ValueError):
        return ConfigurationError(f"the request to {where} could not be made: {type(error).__name__}")
    return APIConnectionError(f"no answer from {where}: {reason(error)}")
