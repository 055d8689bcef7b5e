"""Connections that the call which uses them can shut down from any thread, in any phase.

A blocked read cannot be ended by closing its response (psf/requests 4762, 5372). `Call.abort` therefore shuts down
the raw socket: the peer sees the close at once, and the blocked thread wakes. A call may do so only while it owns the
connection, never once the connection is back in its pool (urllib3 3581).

A stream needs one descriptor, and a second one while TLS or a tunnel is set up. urllib3 is used to connect: TLS,
certificates, and tunnels through proxies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, TypeAlias

from urllib3.connection import HTTPConnection, HTTPSConnection

from .._runtime import platform
from ..errors import APIConnectionError
from .http1 import parse_head
from .lookup import Address, addresses, interleaved, is_address, start_lookup
from .sockets import is_readable, shut_down_raw

CallPhase: TypeAlias = Literal["connecting", "sending", "waiting"]

_NEXT_ADDRESS_SECONDS = 0.25
"""Seconds before the next address is tried while the earlier ones have not answered (RFC 8305, section 5)."""
_PENDING = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


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
            shut_down = self._shut_down
        if shut_down is not None:
            shut_down()

    def set_shut_down(self, shut_down: Callable[[], None] | None) -> None:
        """Set what `abort` calls from now on; raises `CallAborted` if the call is aborted already."""
        with self._lock:
            self._shut_down = shut_down
            if self.aborted and shut_down is not None:
                raise CallAborted

    def finish(self) -> None:
        """Release everything that the call refers to; it needs its connection no longer."""
        self._shut_down = None
        self.on_phase = _ignore


def _ignore(_: CallPhase) -> None:
    pass


class Connection:
    """A connection, and the call that owns it. Thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.served = 0
        """The number of requests that were sent."""
        self.idle_since = 0.0
        self.made_at = time.monotonic()
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._owner: Call | None = None
        self._closed = False

    def own(self, call: Call) -> None:
        """Make `call` the owner; raises `CallAborted` if it was aborted."""
        with self._lock:
            self._owner = call
        call.set_shut_down(self._shut_down_for(call))

    def release(self) -> None:
        """Take the connection from its owner, before it goes back to the pool."""
        with self._lock:
            self._owner = None

    def fileno(self) -> int | None:
        """Return the descriptor of the socket; None for TLS within TLS, which has none of its own."""
        is_socket = isinstance(self.sock, socket.socket)  # pyright: ignore[reportUnnecessaryIsInstance]
        return self.sock.fileno() if is_socket else None

    def is_usable(self) -> bool:
        """Return whether the idle connection can serve: it belongs to this process, and the peer has sent nothing."""
        return self._process == os.getpid() and not is_readable(self.sock)

    def unsolicited(self) -> bytes:
        """Return the first bytes that the peer has sent on the idle connection, which can serve no longer then."""
        if self._process != os.getpid():
            return b""
        try:
            self.sock.settimeout(0)
            return self.sock.recv(1024)
        except (OSError, ValueError):
            return b""

    def close(self) -> None:
        """Close the connection, so that the peer sees it at once, also if a forked process has the socket open."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                if self._process == os.getpid():
                    shut_down_raw(self.sock)
            with contextlib.suppress(OSError):
                self.sock.close()

    def _shut_down_for(self, call: Call) -> Callable[[], None]:
        def shut_down() -> None:
            with self._lock, contextlib.suppress(OSError):
                if self._owner is call and not self._closed and self._process == os.getpid():
                    shut_down_raw(self.sock, discard=True)

        return shut_down


def connect(dialer: Dialer | TLSDialer, call: Call) -> Connection:
    """Make the connection that `dialer` describes, TLS included; `call` owns it."""
    dialer.call = call
    try:
        dialer.connect()
        connection = Connection(dialer.sock)
    except BaseException:
        dialer.close()
        raise
    finally:
        dialer.close_handle()
    try:
        connection.own(call)
    except CallAborted:
        connection.close()
        raise
    return connection


class TunnelRefused(Exception):
    """A proxy answered CONNECT with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy refused the tunnel with HTTP {status}")
        self.status = status


class Dialer(HTTPConnection):
    """Makes one connection for `call`, which can abort it in each phase."""

    call: Call
    socks: Mapping[str, Any] | None = None
    """The settings of a SOCKS proxy, as `socks.socksocket.set_proxy` takes them."""
    tunnel_headers: Mapping[str, str] = {}
    """For the proxy, with CONNECT."""
    _handle: socket.socket | None = None
    """A duplicate of the socket while urllib3 connects: TLS takes the socket itself out of our hands."""

    def _new_conn(self) -> socket.socket:
        """Connect, directly or through a SOCKS proxy. Called by urllib3."""
        call = self.call
        proxy = self.socks
        found = self._look_up(proxy["addr"], proxy["port"]) if proxy else self._look_up(self._dns_host, self.port)
        sock = self._connect_socks(found, proxy) if proxy else _connect_first(found, self._prepare, call)
        if isinstance(self, HTTPSConnection):  # the handshakes of a tunnel and of TLS wait too
            try:
                self._hold(sock)
            except BaseException:
                sock.close()
                raise
            call.on_phase("connecting")
        return sock

    def _hold(self, sock: socket.socket) -> None:
        """Allow the call to shut down `sock` until the connection is established."""
        self.close_handle()
        self._handle = handle = sock.dup()

        def shut_down() -> None:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

        self.call.set_shut_down(shut_down)

    def close_handle(self) -> None:
        self.call.set_shut_down(None)
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _look_up(self, host: str, port: int) -> list[Address]:
        """Return the addresses of `host`; raise `CallAborted` as soon as the call is aborted."""
        host = host.strip("[]")
        if is_address(host):
            return addresses(host, port)
        done = threading.Event()
        self.call.set_shut_down(done.set)
        lookup = start_lookup(host, port, done.set)
        self.call.on_phase("connecting")
        done.wait()
        result = lookup.result
        if self.call.aborted or result is None:
            raise CallAborted
        if isinstance(result, BaseException):
            raise result
        return result

    def _prepare(self, sock: socket.socket) -> None:
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        if self.source_address:
            sock.bind(self.source_address)

    def _connect_socks(self, found: list[Address], settings: Mapping[str, Any]) -> socket.socket:
        """Connect through a SOCKS proxy; `found` are the proxy's addresses."""
        socks: Any = import_module("socks")  # PySocks: an extra of requests
        failure: OSError = socket.gaierror("no address")
        self.call.on_phase("connecting")
        for family, kind, protocol, _, address in found:
            sock: socket.socket = socks.socksocket(family, kind, protocol)
            proxied: Any = sock
            try:
                self._prepare(sock)
                proxied.set_proxy(**{**settings, "addr": address[0], "port": address[1]})
                self._hold(sock)
                sock.connect((self._dns_host.strip("[]"), self.port))
            except OSError as error:
                failure = error
                sock.close()
                if self.call.aborted:
                    raise CallAborted from error
            else:
                return sock
        raise failure

    def _tunnel(self) -> None:
        """Open a tunnel through an HTTP proxy."""
        sock: socket.socket = self.sock
        host, port = str(self._tunnel_host), self._tunnel_port
        authority = f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in self.tunnel_headers.items()]
        sock.sendall("\r\n".join((*lines, "", "")).encode("latin-1"))
        data = b""
        while (parsed := parse_head(data)) is None or 100 <= parsed[0].status < 200:
            if parsed is not None:
                data = parsed[1]
                continue  # the final response may have come with this one
            block = sock.recv(4096)
            if not block:
                raise ConnectionResetError("the proxy closed the connection before its answer to CONNECT")
            data += block
        if not 200 <= parsed[0].status < 300:
            raise TunnelRefused(parsed[0].status)
        if parsed[1]:
            raise APIConnectionError("the proxy sent data that belongs to no answer", transient=False)


class TLSDialer(Dialer, HTTPSConnection):
    """The same with TLS."""


def _connect_first(found: list[Address], prepare: Callable[[socket.socket], None], call: Call) -> socket.socket:
    """Return a connection to the first address that accepts one.

    The next address is tried when an earlier one fails, or has not answered after 250 ms; the earlier ones continue.

    Source: RFC 8305 (Happy Eyeballs), https://www.rfc-editor.org/rfc/rfc8305
    """
    waiting = deque(interleaved(found))
    failure: OSError = socket.gaierror("no address")
    with _Candidates(call, prepare) as candidates:
        next_at = 0.0
        while waiting or candidates.sockets:
            now = time.monotonic()
            if waiting and now >= next_at:
                next_at = now + _NEXT_ADDRESS_SECONDS
                try:
                    candidates.start(waiting.popleft())
                except OSError as error:
                    failure, next_at = error, 0.0
                    continue
            for sock, error_number in candidates.wait(next_at - now if waiting else platform.CONNECT_CHECK_SECONDS):
                if not error_number:
                    return candidates.take(sock)
                failure, next_at = platform.connect_error(error_number), 0.0
    raise failure


class _Candidates:
    """The sockets that are connecting; those not taken are closed in the end."""

    def __init__(self, call: Call, prepare: Callable[[socket.socket], None]) -> None:
        self.sockets: list[socket.socket] = []
        self._call = call
        self._prepare = prepare
        self._selector = platform.small_selector()
        self._lock = threading.RLock()

    def __enter__(self) -> _Candidates:
        self._call.set_shut_down(self._shut_down)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            sockets, self.sockets = self.sockets, []
        for sock in sockets:
            sock.close()
        self._selector.close()

    def start(self, address: Address) -> None:
        """Start to connect to `address`, without blocking, and watch the socket."""
        sock = socket.socket(*address[:3])
        try:
            sock.setblocking(False)
            self._prepare(sock)
            code = sock.connect_ex(address[4])
            if code not in (0, *_PENDING):
                raise platform.connect_error(code)
        except BaseException:
            sock.close()
            raise
        with self._lock:
            self.sockets.append(sock)
        self._selector.register(sock, selectors.EVENT_WRITE)

    def wait(self, seconds: float) -> Iterator[tuple[socket.socket, int]]:
        """Yield each socket that has connected (0) or failed (an errno)."""
        ready = self._selector.select(0) if self.sockets else []
        if self.sockets and not ready and seconds > 0:
            self._call.on_phase("connecting")
            ready = self._selector.select(min(seconds, platform.CONNECT_CHECK_SECONDS))
        if self._call.aborted:
            raise CallAborted
        for key, _ in ready:
            sock: Any = key.fileobj
            code: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.take(sock).close()
            yield sock, code

    def take(self, sock: socket.socket) -> socket.socket:
        self._selector.unregister(sock)
        with self._lock:
            self.sockets.remove(sock)
        sock.setblocking(True)
        return sock

    def _shut_down(self) -> None:
        with self._lock:
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
