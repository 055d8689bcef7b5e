"""Connections that the call which uses them can shut down from any thread, in any phase.

A blocked read cannot be ended by closing its response (psf/requests 4762, 5372). `Call.abort` therefore shuts down
the raw socket: the peer sees the close at once, and the blocked thread wakes. A call may do so only while it owns the
connection, never once the connection is back in its pool (urllib3 3581).

A stream needs one descriptor, and a second one while TLS or a tunnel is set up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Literal, TypeAlias

from urllib3.util import Url
from urllib3.util.ssl_ import ssl_wrap_socket
from urllib3.util.ssltransport import SSLTransport

from .._runtime import platform
from ..errors import APIConnectionError
from .dns_lookup import Address, addresses, interleaved, is_address, start_lookup
from .http1 import parse_final_head
from .settings import SOCKS_TYPES, Route, parsed_proxy, port_of, proxy_headers, socks_settings, ssl_context

CallPhase: TypeAlias = Literal["connecting", "sending", "waiting"]

_NEXT_ADDRESS_SECONDS = 0.25
"""Seconds before the next address is tried while the earlier ones have not answered (RFC 8305, section 5)."""
_CONNECTING = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class CallAborted(Exception):
    """The call was aborted: a signal, not an error. Errors after that have no meaning."""


class Call:
    """One request in progress. `abort` ends it, from any thread.

    Args:
        on_phase: Called on the calling thread when the call has to wait for a connection ("connecting"), whenever
            it has moved bytes of the request ("sending"), and when it starts to wait for the answer ("waiting").
    """

    def __init__(self, on_phase: Callable[[CallPhase], None]) -> None:
        self.aborted = False
        self.on_phase = on_phase
        self._shut_down: Callable[[], None] | None = None
        self._lock = threading.RLock()  # reentrant: a signal handler may dispose the stream

    def abort(self) -> None:
        """Close the connection now, whatever it is doing. A second or late call does nothing."""
        with self._lock:
            self.aborted = True
            if self._shut_down is not None:
                self._shut_down()

    def own(self, shut_down: Callable[[], None]) -> None:
        """Let `abort` call `shut_down` from now on; raises `CallAborted` if the call is aborted already.

        It must raise nothing, and must not block. What it shuts down may be closed only after `release`.
        """
        with self._lock:
            if self.aborted:
                raise CallAborted
            self._shut_down = shut_down

    def release(self) -> None:
        """Let `abort` shut down nothing from now on."""
        with self._lock:
            self._shut_down = None

    def finish(self) -> None:
        """Release everything that the call refers to; it needs its connection no longer."""
        self._shut_down = None
        self.on_phase = _ignore


def _ignore(_: CallPhase) -> None:
    pass


def receive(sock: socket.socket, size: int) -> bytes | None:
    """Read once; return b"" at the end of the connection, None if a non-blocking socket has nothing to read.

    TLS without close_notify ends as TCP does. A readable TLS socket may have nothing but TLS's own messages.
    """
    try:
        return sock.recv(size)
    except ssl.SSLEOFError:
        return b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return None


class Connection:
    """A connection that is established; `route` says what it can serve. A call that uses it owns its `shut_down`."""

    def __init__(self, sock: socket.socket, route: Route) -> None:
        self.sock = sock
        self.route = route
        self.served = 0
        """The number of requests that were sent."""
        self.idle_since = 0.0
        self.made_at = time.monotonic()
        self._process = os.getpid()

    def fileno(self) -> int | None:
        """Return the descriptor of the socket; None for TLS within TLS, which has none of its own."""
        is_socket = isinstance(self.sock, socket.socket)  # pyright: ignore[reportUnnecessaryIsInstance]
        return self.sock.fileno() if is_socket else None

    def unsolicited(self) -> bytes | None:
        """Return what has come on an idle connection, which cannot serve then; None if it can.

        b"" means that the peer has closed it, or that it belongs to the process from which this one was forked.
        """
        if self._process != os.getpid():
            return b""
        try:
            self.sock.settimeout(0)
            received = receive(self.sock, 1024)
            self.sock.settimeout(None)
        except (OSError, ValueError):
            return b""
        return received

    def shut_down(self) -> None:
        """Shut down the raw socket, below TLS; another thread may be reading it.

        Bytes that the peer has not taken are dropped: it sees the end at once, as a reset, not behind them.
        """
        if self._process == os.getpid():
            with contextlib.suppress(OSError):
                raw = self._raw_socket()
                if platform.has_unsent(raw):
                    platform.reset_when_closed(raw)
                socket.socket.shutdown(raw, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, so that the peer sees it at once, also if a forked process has the socket open."""
        if self._process == os.getpid():
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._raw_socket(), socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()

    def _raw_socket(self) -> socket.socket:
        raw: Any = self.sock
        while isinstance(raw, SSLTransport):  # TLS within TLS
            raw = raw.socket
        sock: socket.socket = raw
        return sock


def connect(route: Route, call: Call) -> Connection:
    """Make a connection on `route`, tunnel and TLS included; `call` owns it."""
    proxy = parsed_proxy(route.proxy) if route.proxy else None
    host, port = (str(proxy.host), proxy.port or port_of(proxy.scheme)) if proxy else (route.host, route.port)
    found = _look_up(host, port, call)
    if proxy is not None and proxy.scheme in SOCKS_TYPES:
        sock, proxy = _connect_socks(found, route, proxy, call), None  # from here on, it is as if there were none
    else:
        sock = _connect_first(found, partial(_prepare, route), call)
    try:
        if "https" in (route.scheme, proxy and proxy.scheme):
            with _held(sock, call):
                call.on_phase("connecting")  # the handshakes of a tunnel and of TLS wait too
                sock = _with_tls(sock, route, proxy)
        connection = Connection(sock, route)
        call.own(connection.shut_down)
    except BaseException:
        sock.close()
        raise
    return connection


@contextlib.contextmanager
def _held(sock: socket.socket, call: Call) -> Generator[None]:
    """Allow the call to shut down `sock` meanwhile, by a duplicate: TLS takes the socket itself out of our hands."""
    with sock.dup() as handle:
        call.own(partial(_shut_down, [handle]))
        try:
            yield
        finally:
            call.release()


def _prepare(route: Route, sock: socket.socket) -> None:
    for option in (*platform.socket_options(), *route.socket_options):
        sock.setsockopt(*option)
    if route.source_address is not None:
        sock.bind(route.source_address)


def _look_up(host: str, port: int, call: Call) -> list[Address]:
    """Return the addresses of `host`; raise `CallAborted` as soon as the call is aborted."""
    host = host.strip("[]")
    if is_address(host):
        return addresses(host, port)
    done = threading.Event()
    call.own(done.set)
    lookup = start_lookup(host, port)
    lookup.add_done_callback(lambda _: done.set())
    call.on_phase("connecting")
    done.wait()
    if call.aborted:
        raise CallAborted
    return lookup.result()


def _connect_socks(found: list[Address], route: Route, proxy: Url, call: Call) -> socket.socket:
    """Connect through a SOCKS proxy, at the first of its addresses that accepts."""
    settings = socks_settings(proxy)
    socks: Any = import_module("socks")  # PySocks: an extra of requests
    failure: OSError = socket.gaierror("no address")
    call.on_phase("connecting")
    for family, kind, protocol, _, address in found:
        proxied: Any = socks.socksocket(family, kind, protocol)
        sock: socket.socket = proxied
        try:
            _prepare(route, sock)
            proxied.set_proxy(addr=address[0], port=address[1], **settings)
            with _held(sock, call):
                sock.connect((route.host.strip("[]"), route.port))
        except (OSError, CallAborted) as error:
            sock.close()
            if not isinstance(error, OSError) or call.aborted:
                raise CallAborted from error
            failure = error
        else:
            return sock
    raise failure


def _with_tls(sock: socket.socket, route: Route, proxy: Url | None) -> socket.socket:
    """Return `sock` with TLS to an https proxy, and with a tunnel and TLS to an https server."""
    try:
        if proxy is not None and proxy.scheme == "https":
            sock = _wrapped(sock, ssl_context(route.verify), str(proxy.host))
        if route.scheme == "https":
            if proxy is not None:
                _open_tunnel(sock, route, proxy_headers(proxy))
            sock = _wrapped(sock, ssl_context(route.verify, route.cert, route.ssl_context), route.host)
    except BaseException:
        sock.close()
        raise
    return sock


def _wrapped(sock: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    name = host.strip("[]").partition("%")[0].rstrip(".")
    is_within_tls = isinstance(sock, ssl.SSLSocket)
    wrapped: Any = ssl_wrap_socket(sock, ssl_context=context, server_hostname=name, tls_in_tls=is_within_tls)
    secured: socket.socket = wrapped
    return secured


def _open_tunnel(sock: socket.socket, route: Route, headers: Mapping[str, str]) -> None:
    """Open a tunnel through an HTTP proxy."""
    authority = f"{route.host}:{route.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *(f"{each}: {headers[each]}" for each in headers)]
    sock.sendall("\r\n".join((*lines, "", "")).encode("latin-1"))
    data = b""
    while (parsed := parse_final_head(data)) is None:
        block = sock.recv(4096)
        if not block:
            raise ConnectionResetError("the proxy closed the connection before its answer to CONNECT")
        data += block
    status = parsed[0].status
    if not 200 <= status < 300:
        message = f"no connection to {authority}: the proxy refused the tunnel with HTTP {status}"
        raise APIConnectionError(message, transient=status >= 500 or status in (408, 429))
    if parsed[1]:
        raise APIConnectionError("the proxy sent data that belongs to no answer", transient=False)


def _connect_first(found: list[Address], prepare: Callable[[socket.socket], None], call: Call) -> socket.socket:
    """Return a connection to the first address that accepts one.

    The next address is tried when an earlier one fails, or has not answered after 250 ms; the earlier ones continue.

    Source: RFC 8305 (Happy Eyeballs), https://www.rfc-editor.org/rfc/rfc8305
    """
    waiting = deque(interleaved(found))
    connecting: list[socket.socket] = []
    failure: OSError = socket.gaierror("no address")
    next_at = 0.0
    call.own(partial(_shut_down, connecting))
    try:
        while waiting or connecting:
            left = next_at - time.monotonic() if waiting else platform.CONNECT_CHECK_SECONDS
            if left <= 0:
                next_at = time.monotonic() + _NEXT_ADDRESS_SECONDS
                try:
                    connecting.append(_start(waiting.popleft(), prepare))
                except OSError as error:
                    failure, next_at = error, 0.0
                continue
            ready = _writable(connecting, 0)
            if not ready:
                call.on_phase("connecting")
                ready = _writable(connecting, min(left, platform.CONNECT_CHECK_SECONDS))
            if call.aborted:
                raise CallAborted
            for sock in ready:
                connecting.remove(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    sock.setblocking(True)
                    return sock
                sock.close()
                failure, next_at = platform.connect_error(code), 0.0
        raise failure
    finally:
        call.release()
        for sock in connecting:
            sock.close()


def _start(address: Address, prepare: Callable[[socket.socket], None]) -> socket.socket:
    """Start to connect to `address`, without blocking; return the socket."""
    sock = socket.socket(*address[:3])
    try:
        sock.setblocking(False)
        prepare(sock)
        code = sock.connect_ex(address[4])
        if code not in _CONNECTING:
            raise platform.connect_error(code)
    except BaseException:
        sock.close()
        raise
    return sock


def _writable(sockets: list[socket.socket], seconds: float) -> list[socket.socket]:
    """Return those of the connecting sockets that have connected or failed, within `seconds`."""
    with platform.small_selector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_WRITE)
        ready = {key.fileobj for key, _ in selector.select(seconds)}
    return [sock for sock in sockets if sock in ready]


def _shut_down(sockets: list[socket.socket]) -> None:
    for sock in tuple(sockets):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
