"""Operations on raw sockets, below any layer of TLS."""

from __future__ import annotations

import selectors
import socket
import ssl
from typing import Any

from urllib3.util.ssltransport import SSLTransport

POLL: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""A selector without a descriptor of its own."""


def _socket_options() -> list[tuple[int, int, int]]:
    """Return the options of each socket: no delay, and keepalive that finds a dead peer after about 2 minutes.

    NAT gateways drop connections that are silent for longer (Google Cloud: 120 s, AWS: 350 s).
    """
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 45), ("TCP_KEEPALIVE", 45), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):  # TCP_KEEPALIVE is the name of TCP_KEEPIDLE on macOS
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


SOCKET_OPTIONS = _socket_options()


def shut_down_raw(sock: socket.socket) -> None:
    """Shut down the raw socket, below TLS; another thread may be reading it."""
    raw: Any = sock
    while isinstance(raw, SSLTransport):  # TLS within TLS
        raw = raw.socket
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
    try:
        with POLL() as selector:
            selector.register(sock.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))
    except (OSError, ValueError):
        return True
