"""One HTTP request for one streamed body, abortable from any thread in any phase.

The only package that knows requests and urllib3: their errors leave it as ours. It knows nothing of
language models.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3

from .._protocol import WireRequest, response_headers_listener
from ..errors import APIConnectionError, ConfigurationError, LLMError
from .body import Body, reason
from .connections import Call, CallAborted, TunnelRefused
from .exchange import Exchange, Stale
from .pool import Pool
from .session import SessionSettings
from .settings import Settings, origin, own_settings

if TYPE_CHECKING:
    import requests


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
        return PendingResponse(self, request, call)

    def close(self) -> None:
        """Close the idle connections; active ones close with their streams."""
        self.pool.close()


class MustBlock(Exception):
    """What follows may block: the request is sent again, or the response needs more than its head."""


class PendingResponse:
    """The response to a request that was sent. Its methods are for one thread at a time."""

    def __init__(self, transport: Transport, request: WireRequest, call: Call) -> None:
        self._transport = transport
        self._request = request
        self._call = call
        self._listener = response_headers_listener.get()
        response_headers_listener.set(None)  # it is not for requests that a subscriber makes inside its on_next
        self.is_blocking = True
        self._body: Body | None = None
        with self._our_errors():
            session = transport.session
            self._settings = own_settings(request) if session is None else session.of(request)
            self._exchange = Exchange(self._settings, call, transport.pool)
            self._exchange.send()

    def fileno(self) -> int | None:
        """Return the socket that is readable when the response arrives; None if no socket says so."""
        connection = self._exchange.connection
        return None if connection is None else connection.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Let `read` wait for bytes, or return without them."""
        self.is_blocking = blocking
        if self._body is not None:
            self._body.set_blocking(blocking)
        elif self._exchange.connection is not None:
            self._exchange.connection.sock.setblocking(blocking)

    def read(self) -> Body | None:
        """Return the body of the response once its head has arrived; else wait, or return None if it must not block.

        Raises:
            LLMError: The server answered with an error, or could not be reached.
            CallAborted: The call was aborted.
            MustBlock: `read` must be called once more, and may block then.
        """
        if self.is_blocking:
            return self._wait()
        body: Body | None = None
        is_stale = False
        with self._our_errors():
            try:
                body = self._exchange.receive()
            except Stale:
                is_stale = True
        if body is None and not is_stale:
            return None
        if body is None or body.raw is not None or not body.is_success or self._transport.session is not None:
            self._body = body
            self.set_blocking(True)
            raise MustBlock
        return self._announced(body)

    def _wait(self) -> Body:
        session = self._transport.session
        with self._our_errors():
            body, self._body = self._body, None
            if body is None:
                body = self._exchange.complete()
            if session is not None:
                try:
                    body = session.process(self._settings, body, self._send_other)
                except BaseException:
                    body.close()
                    raise
        return self._announced(body)

    def close(self) -> None:
        """Close the connection, if the body was not returned yet."""
        self._exchange.close()
        if self._body is not None:
            self._body.close()

    def _announced(self, body: Body) -> Body:
        if self._listener is not None:
            self._listener(body.headers)
        if not body.is_success:
            raise body.error()
        return body

    def _send_other(self, settings: Settings) -> Body:
        exchange = Exchange(settings, self._call, self._transport.pool)
        exchange.send()
        return exchange.complete()

    @contextmanager
    def _our_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except Exception as error:
            if self._call.aborted:
                raise CallAborted from error
            raise _connection_error(error, self._request) from error


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
