"""Pooled connections that the call owning them can shut down from any thread, in any phase.

A part of the transport: with `_http`, the only place that knows urllib3. A name look-up cannot be
stopped, so it runs on a thread of its own, which an aborted call leaves behind. A TCP connect and
a TLS handshake end when the duplicate of their socket is shut down.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import queue
import socket
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.util.connection import allowed_gai_family

_POOL_SIZE = 1000

_Address: TypeAlias = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` gives it: family, type, protocol, canonical name, address."""


class CallAborted(Exception):
    """The call was aborted: a signal, not an error. Whatever else went wrong after that is no news."""


class Call:
    """One request under way, and the right to abort it from any thread.

    `on_connected` is called on the calling thread once a connection stands, TLS included;
    `on_waiting` whenever it is about to wait for a name, a connection, or an answer.
    """

    def __init__(self, on_connected: Callable[[], None], on_waiting: Callable[[], None]) -> None:
        self.aborted = False
        self.reused = False
        """The request went out on a connection that had served another before."""
        self.on_connected = on_connected
        self.on_waiting = on_waiting
        self._tap: _Tap | None = None
        self._waiting: threading.Event | None = None
        self._lock = threading.Lock()

    def abort(self) -> None:
        """Close the connection now, whatever it is doing; harmless when repeated or too late."""
        with self._lock:
            self.aborted = True
            tap, waiting = self._tap, self._waiting
        if tap is not None:
            tap.shut_down(self)
        if waiting is not None:
            waiting.set()

    def finish(self) -> None:
        """The call has no more use for its connection."""
        with self._lock:
            tap, self._tap = self._tap, None
        if tap is not None:
            tap.release(self)

    def look_up(self, host: str, port: int) -> list[_Address]:
        """The TCP addresses of a host; raises `CallAborted` as soon as the call is aborted."""
        done = threading.Event()
        found: list[list[_Address] | OSError] = []

        def resolve() -> None:
            try:
                found.append(_addresses(host, port))
            except OSError as error:
                found.append(error)
            done.set()

        with self._lock:
            self._waiting = done
            if self.aborted:
                raise CallAborted
        threading.Thread(target=resolve, name="rxllm-dns", daemon=True).start()
        self.on_waiting()
        done.wait()
        if not found or self.aborted:
            raise CallAborted
        result = found[0]
        if isinstance(result, OSError):
            raise result
        return result

    def take(self, tap: _Tap, *, reused: bool) -> None:
        """Own the connection behind `tap`; raises `CallAborted` where the call was aborted before."""
        tap.own(self)
        with self._lock:
            before, self._tap = self._tap, tap
            self.reused = reused
        if before is not None and before is not tap:
            before.release(self)
        if self.aborted:
            raise CallAborted


class _Calling(threading.local):
    call: Call | None = None


_calling = _Calling()


@contextlib.contextmanager
def calling(call: Call) -> Generator[None, None, None]:
    """While this lasts, the connections this thread opens or takes from a pool belong to `call`."""
    _calling.call = call
    try:
        yield
    finally:
        _calling.call = None


class _Tap:
    """A duplicate of a connection's raw socket, and who may shut it down.

    It closes with the connection; where http.client lets go of a connection whose body is still
    being read ("Connection: close"), it stays for the call and closes with that.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock.dup()
        self._lock = threading.Lock()
        self._owner: Call | None = None
        self._connection_closed = False

    def own(self, call: Call) -> None:
        with self._lock:
            self._owner = call

    def release(self, call: Call | None) -> None:
        """Take the connection from `call`, or from whoever has it."""
        with self._lock:
            if call is None or self._owner is call:
                self._owner = None
                if self._connection_closed:
                    self._socket.close()

    def shut_down(self, call: Call) -> None:
        with self._lock:
            if self._owner is call:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def connection_closed(self) -> None:
        with self._lock:
            self._connection_closed = True
            if self._owner is None:
                self._socket.close()


class _Connection(HTTPConnection):
    """A connection that the call which owns it can shut down."""

    tap: _Tap | None = None
    _served = 0
    _process = 0

    def _new_conn(self) -> socket.socket:
        call = _calling.call
        if call is None:
            return super()._new_conn()
        try:
            return self._connect_first(call)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no TCP connection within {self.timeout} s") from error
        except OSError as error:
            raise NewConnectionError(self, f"no TCP connection: {error}") from error

    def _connect_first(self, call: Call) -> socket.socket:
        """A connection to the first of the host's addresses that takes one."""
        failure: OSError = socket.gaierror("no address")
        host = self.host.strip("[]")
        for address in _addresses(host, self.port) if _is_number(host) else call.look_up(host, self.port):
            sock = socket.socket(*address[:3])
            try:
                self._prepare(sock)
                self.tap = _Tap(sock)
                self._served = 0
                call.take(self.tap, reused=False)
                call.on_waiting()
                sock.connect(address[4])
            except OSError as error:
                failure = error
                sock.close()
                self._drop_tap()
                if call.aborted:
                    raise CallAborted from error
            except CallAborted:
                sock.close()
                self._drop_tap()
                raise
            else:
                return sock
        raise failure

    def _prepare(self, sock: socket.socket) -> None:
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        if isinstance(self.timeout, int | float):
            sock.settimeout(self.timeout)
        if self.source_address:
            sock.bind(self.source_address)

    def connect(self) -> None:
        super().connect()
        self._process = os.getpid()
        self._connected()

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None and self._process != os.getpid():
            self.close()  # it was made before a fork, and is the parent's
        if self._served and self.sock is not None:
            self._hand_over()
            self._connected()
        super().request(*args, **kwargs)
        self._served += 1
        if _calling.call is not None:
            _calling.call.on_waiting()

    def close(self) -> None:
        super().close()
        self._drop_tap()

    def _drop_tap(self) -> None:
        if self.tap is not None:
            self.tap.connection_closed()
            self.tap = None

    def _hand_over(self) -> None:
        if _calling.call is not None and self.tap is not None:
            _calling.call.take(self.tap, reused=self._served > 0)

    def _connected(self) -> None:
        if _calling.call is not None:
            _calling.call.on_connected()


def _addresses(host: str, port: int) -> list[_Address]:
    return list(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))


def _is_number(host: str) -> bool:
    """Whether `host` is an IP address: nothing to look up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Idle(queue.LifoQueue[_Connection | None]):
    """The idle connections of a pool. urllib3 fills a queue with as many None as it may hold, and empties it again."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(_POOL_SIZE)

    def put(self, item: _Connection | None, block: bool = True, timeout: float | None = None) -> None:
        if item is not None:
            super().put(item, block, timeout)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType]  # a Final in urllib3 hides the match
    QueueCls = _Idle  # type: ignore[assignment]  # urllib3 has it of any item at all

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and conn.tap is not None:
            conn.tap.release(None)
        super()._put_conn(conn)


class _TLSPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class AbortableAdapter(HTTPAdapter):
    """A requests adapter whose connections can be aborted, directly and through HTTP proxies."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=1)  # of placeholders: `_Idle` has its own bound

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._make_abortable(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        if not hasattr(manager, "_socks_options"):
            self._make_abortable(manager)
        return manager

    def close(self) -> None:
        """Close the idle connections now; urllib3 leaves it to whoever collects the garbage."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - no dict: it refuses to be iterated over
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    @staticmethod
    def _make_abortable(manager: PoolManager) -> None:
        pools: dict[str, type[HTTPConnectionPool | HTTPSConnectionPool]] = {"http": _Pool, "https": _TLSPool}
        manager.pool_classes_by_scheme = pools
