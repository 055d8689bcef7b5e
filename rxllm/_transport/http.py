"""One HTTP request for one streamed body, closable from any thread in any phase.

The only file that knows requests and urllib3: their errors leave it as ours. It knows nothing of
language models.

A blocked read cannot be ended by closing its response (psf/requests 4762, 5372). So each
connection keeps a duplicate of its raw socket, taken before TLS wraps it, and `Call.abort` shuts
that down: the peer sees the close at once, and the blocked thread wakes. A call may do so only
while it owns the connection, never once the connection is back in its pool (urllib3 3581).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import parse_url

from .._protocol import WireRequest, response_headers_listener
from ..errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    LLMError,
    ProtocolError,
    StreamInterruptedError,
)
from .chunked import ChunkedDecoder
from .connections import AbortableAdapter, Call, CallAborted, calling
from .vendor_errors import status_error

BLOCK_BYTES = 64 * 1024
_FIRST_BLOCK_BYTES = 16 * 1024
"""A waiting read holds a buffer of the size asked for: it grows with the pace of the stream."""
MAX_ERROR_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.05


class Transport:
    """The pooled keep-alive connections of one model; safe to use from many threads.

    A `session` of the caller's keeps its settings (proxies, CA, cookies, hooks). Where it has no
    adapter of its own for a URL, it is given one whose connections can be aborted.
    """

    def __init__(self, session: requests.Session | None = None) -> None:
        self._owned = session is None
        self._session = session or requests.Session()
        adapter = AbortableAdapter()
        for prefix in ("https://", "http://"):
            if type(self._session.adapters.get(prefix)) is HTTPAdapter:
                self._session.mount(prefix, adapter)

    def open(self, request: WireRequest, call: Call, connect_timeout: float | None) -> Body:
        """Send `request` and return the body of its answer once the headers are there.

        Blocks; to be called on the producing thread. Raises an `LLMError`, with the server's own
        words where it answered with an error, or `CallAborted`.
        """
        listener = response_headers_listener.get()
        response_headers_listener.set(None)  # what a subscriber asks for from inside its on_next is not this answer
        while True:
            try:
                response = self._send(request, call, connect_timeout)
            except APIConnectionError:
                # The server closed a pooled connection as the request went out: nobody has seen it.
                if call.reused and not call.aborted:
                    continue
                raise
            body = Body(response, call)
            if listener is not None:
                listener(body.headers)
            if 200 <= body.status < 300:
                body.check_encoding()
                return body
            raise body.error()

    def close(self) -> None:
        """Close the idle connections; those in use close with their streams."""
        if self._owned:
            self._session.close()

    def _send(self, request: WireRequest, call: Call, connect_timeout: float | None) -> requests.Response:
        session = self._session
        try:
            prepared = session.prepare_request(
                requests.Request(
                    "POST",
                    request.url,
                    # Compression would hold tokens back; a body that comes compressed all the same is read.
                    headers={"Accept-Encoding": "identity", **request.headers},
                    data=request.body,
                    # Or else requests looks into .netrc and puts what it finds in place of the key.
                    auth=session.auth or _unchanged,
                )
            )
            settings = self._settings(request.url)
            with calling(call):
                return session.send(prepared, timeout=(connect_timeout, None), allow_redirects=False, **settings)
        except Exception as error:
            call.finish()
            if call.aborted:
                raise CallAborted from error
            raise _connection_error(error, request.url) from error

    def _settings(self, url: str) -> dict[str, Any]:
        """What the environment and the session say of proxies and certificates."""
        session = self._session
        if self._owned and url.startswith("http://") and _is_loopback(url):
            # No proxy has any business on this machine; and looking for one is a fifth of the cost of a request.
            return {"stream": True, "proxies": {}, "verify": True, "cert": None}
        settings: dict[str, Any] = dict(session.merge_environment_settings(url, {}, True, None, None))
        if session.verify is not True:
            # requests lets REQUESTS_CA_BUNDLE overrule what was set on the session itself.
            settings["verify"] = session.verify
        if self._owned and _is_loopback(url):
            settings["proxies"] = {}
        return settings


class Body:
    """The body of an answer, read block by block as it arrives."""

    def __init__(self, response: requests.Response, call: Call) -> None:
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._raw = cast("urllib3.HTTPResponse", response.raw)
        # http.client's own response, which urllib3 keeps to itself.
        self._inner: Any = getattr(self._raw, "_fp", None)
        self._call = call
        self._chunks = self._fast_chunks()
        self._socket: socket.socket | None = None
        """What chunks are read from once no buffer above it holds any more of them."""
        self._block_bytes = _FIRST_BLOCK_BYTES
        self._ended = False

    def check_encoding(self) -> None:
        """Raises `ProtocolError` where the body is compressed in a way that nobody here can undo."""
        encodings = self.headers.get("content-encoding", "").lower().replace(" ", "")
        unknown = set(filter(None, encodings.split(","))) - {"identity", *self._raw.CONTENT_DECODERS}
        if unknown:
            self.close()
            raise ProtocolError(
                f"the body is compressed as {', '.join(sorted(unknown))}, which this installation cannot read "
                "(urllib3 reads br with the package brotli, zstd with zstandard)"
            )

    def read(self) -> bytes:
        """The next bytes, as soon as there are any; b"" at the end.

        Raises `StreamInterruptedError` where the connection ended too early, `ProtocolError`
        where the bytes are not HTTP or not what Content-Encoding says, and `CallAborted`.
        """
        try:
            if self._chunks is not None:
                block = self._read_chunks(self._chunks)
            else:
                block = self._raw.read1(BLOCK_BYTES, decode_content=True)
        except LLMError:
            if self._call.aborted:
                raise CallAborted from None
            raise
        except Exception as error:
            if self._call.aborted:
                raise CallAborted from error
            raise _body_error(error) from error
        if self._call.aborted:
            raise CallAborted
        self._ended = not block
        return block

    @property
    def at_end(self) -> bool:
        """Whether there is nothing after what `read` has given."""
        return self._ended or (self._chunks is not None and self._chunks.done)

    def fileno(self) -> int | None:
        """The socket that is readable when, and only when, there is more to read; None where none says so.

        It says so of a chunked body on a socket, plain or under TLS, once a read has left nothing in any buffer.
        """
        return None if self._socket is None else self._socket.fileno()

    def finish(self) -> None:
        """Read what little may follow the last event, so that the connection can serve again; then close.

        Takes at most 50 ms, or reads 64 KiB.
        """
        connection = self._raw.connection
        sock: socket.socket | None = getattr(connection, "sock", None)
        if sock is not None and not self._ended:
            with contextlib.suppress(LLMError, CallAborted, OSError):
                sock.settimeout(_DRAIN_SECONDS)
                left = BLOCK_BYTES
                deadline = time.monotonic() + _DRAIN_SECONDS
                while left > 0 and time.monotonic() < deadline and (block := self.read()):
                    left -= len(block)
        self.close()

    def close(self) -> None:
        """Give the connection back if the body has been read to its end, else close it."""
        if not self._ended or self._raw.connection is not None:
            self._raw.close()
        self._call.finish()

    def error(self) -> LLMError:
        """The error that this answer is, its body read as far as 64 KiB; closes the body."""
        body = bytearray()
        try:
            while len(body) < MAX_ERROR_BYTES and (block := self.read()):
                body += block
        except LLMError:
            pass  # what has come of the body is all there is to say
        finally:
            self.close()
        location = self.headers.get("location")
        if 300 <= self.status < 400:
            return APIStatusError(
                f"HTTP {self.status}: the server redirects to {_origin(location or '')!r}, which is not followed "
                "so that no key goes astray: check base_url",
                status_code=self.status,
            )
        return status_error(self.status, self.headers, bytes(body[:MAX_ERROR_BYTES]), time.time())

    def _fast_chunks(self) -> ChunkedDecoder | None:
        """The decoder for a body that is chunked and nothing else, and comes from http.client as usual."""
        plain = self.headers.get("content-encoding", "identity").lower() == "identity"
        usual = isinstance(self._inner, HTTPResponse) and self._inner.chunked
        return ChunkedDecoder() if plain and usual else None

    def _read_chunks(self, chunks: ChunkedDecoder) -> bytes:
        """One block from the socket under http.client and its buffer, past its chunk-by-chunk reader."""
        while not chunks.done:
            asked = self._block_bytes
            wire: bytes = self._inner.fp.read1(asked) if self._socket is None else self._socket.recv(asked)
            if not wire:
                chunks.end()
            if len(wire) == asked:
                self._block_bytes = min(2 * asked, BLOCK_BYTES)
            elif self._socket is None:
                # A short read has left the buffer empty, and from now on nothing fills it.
                sock = getattr(self._raw.connection, "sock", None)
                self._socket = sock if isinstance(sock, socket.socket) else None
            block = chunks.feed(wire)
            if block:
                return block
        if self._inner.fp is not None:
            self._inner._close_conn()
            if chunks.surplus:
                self._raw.close()
            else:
                self._raw.release_conn()
        return b""


def _unchanged(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _connection_error(error: Exception, url: str) -> LLMError:
    """Our error for one of requests' or urllib3's, raised before the headers of an answer came.

    Their messages are not passed on where they may quote a header or a URL's query.
    """
    where = _origin(url)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return APITimeoutError(f"no connection to {where} within the connect timeout", phase="connect")
    if isinstance(error, requests.exceptions.SSLError):
        return APIConnectionError(f"TLS to {where} failed: {_reason(error)}", transient=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return APIConnectionError(f"the proxy on the way to {where} failed: {_reason(error)}")
    if isinstance(error, requests.exceptions.InvalidHeader | UnicodeError):
        return ConfigurationError("a header's name or value holds what HTTP does not allow (a line break?)")
    if isinstance(error, requests.exceptions.ConnectionError):
        return APIConnectionError(f"no answer from {where}: {_reason(error)}")
    if isinstance(error, requests.exceptions.RequestException | OSError | ValueError):
        return ConfigurationError(f"the request to {where} could not be made: {type(error).__name__}: {error}")
    return APIConnectionError(f"no answer from {where}: {_reason(error)}")


def _body_error(error: Exception) -> LLMError:
    if isinstance(error, urllib3.exceptions.DecodeError):
        return ProtocolError("the body is not what its Content-Encoding says, or it broke off")
    if isinstance(error, OSError | HTTPException | urllib3.exceptions.HTTPError):
        return StreamInterruptedError(f"the connection broke in the middle of the answer: {_reason(error)}")
    return ProtocolError(f"the body could not be read: {type(error).__name__}")


def _reason(error: BaseException) -> str:
    """The innermost cause of a chain that requests and urllib3 wrap around each other."""
    cause: BaseException = error
    for _ in range(10):
        inner = getattr(cause, "reason", None) or next(
            (arg for arg in cause.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        cause = inner
    if isinstance(cause, urllib3.exceptions.HTTPError) and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__  # which says the same without naming our own classes
    text = str(cause.args[-1] if isinstance(cause, urllib3.exceptions.HTTPError) and cause.args else cause)
    return f"{type(cause).__name__}: {text[:300]}"


def _is_loopback(url: str) -> bool:
    """Whether `url` is on this machine."""
    host = (parse_url(url).host or "").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(url: str) -> str:
    """The scheme, host and port of `url`: no user, no password, no query."""
    try:
        parts = parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return "an address that is not a URL"
    return f"{parts.scheme}://{parts.netloc}" if parts.host else "an address that is not a URL"
