"""Operations on raw sockets, below any layer of TLS."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from urllib3.util.ssltransport import SSLTransport

from .._runtime import platform


def shut_down_raw(sock: socket.socket, *, discard: bool = False) -> None:
    """Shut down the raw socket, below TLS; another thread may be reading it.

    With `discard`, bytes that the peer has not taken are dropped when the socket closes: it sees the end at once, as a
    reset, not behind them.
    """
    raw: Any = sock
    while isinstance(raw, SSLTransport):  # TLS within TLS
        raw = raw.socket
    if discard and platform.has_unsent(raw):
        platform.reset_when_closed(raw)
    socket.socket.shutdown(raw, socket.SHUT_RDWR)


def is_readable(sock: socket.socket) -> bool:
    """Return whether bytes, or the end of the connection, have arrived; they may be buffered in a layer of TLS."""
    raw: Any = sock
    while isinstance(raw, SSLTransport):
        if raw.incoming.pending or raw.sslobj.pending():
            return True
        raw = raw.socket
    if isinstance(raw, ssl.SSLSocket) and raw.pending():
        return True
    return platform.is_readable(raw)


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
