"""The one thread of a server that accepts connections, notices clients that leave, and closes sockets.

A client may leave at any moment, also while the thread that answers it sends, sleeps or waits at
a gate. So all sockets are watched here. And they are closed here alone, so that none is watched
after it was closed and its number given to another.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable

_PEEK = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)


class Sockets:
    """Accepts on `listener` and hands each connection to `accepted`, until it is stopped."""

    def __init__(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._accepted = accepted
        self._selector = selectors.DefaultSelector()
        self._orders: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="llm-server-sockets", daemon=True)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread.start()

    def watch(self, connection: socket.socket, left: Callable[[], None]) -> None:
        """Call `left` once when the client of `connection` leaves; replaces the watch before."""
        self._order(lambda: self._watch(connection, left))

    def close(self, connection: socket.socket, *, reset: bool = False) -> None:
        """Close `connection`, by a TCP reset if asked to."""
        self._order(lambda: self._close(connection, reset))

    def stop(self) -> None:
        """Close the listener and whatever is left, and end the thread."""
        self._order(self._stop)
        self._thread.join()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        # A full pipe has a wake-up in it already; a closed one has nobody left to wake.
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_read:
                    self._wake_read.recv(4096)
                elif isinstance(key.fileobj, socket.socket):
                    self._look_at(key.fileobj, key.data)
            while self._orders:
                self._orders.popleft()()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has given up already
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(connection)

    def _look_at(self, connection: socket.socket, left: Callable[[], None]) -> None:
        try:
            there = connection.recv(1, _PEEK)
        except BlockingIOError:
            return  # its own thread was faster
        except OSError:
            there = b""
        self._selector.unregister(connection)
        if not there:
            left()

    def _watch(self, connection: socket.socket, left: Callable[[], None]) -> None:
        if self._stopping:
            return
        if connection in self._selector.get_map():
            self._selector.modify(connection, selectors.EVENT_READ, left)
        else:
            self._selector.register(connection, selectors.EVENT_READ, left)

    def _close(self, connection: socket.socket, reset: bool) -> None:
        # An order given while the server stops may come after it has: the selector is closed by then.
        if not self._stopping and connection in self._selector.get_map():
            self._selector.unregister(connection)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _stop(self) -> None:
        self._stopping = True
        self._selector.close()
        self._listener.close()
        self._wake_read.close()
        self._wake_write.close()
