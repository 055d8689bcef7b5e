"""One thread of a server accepts connections, detects closes by clients, and closes sockets.

A client may close at any moment, also while the thread that answers it sends, sleeps or waits at
a gate, so this thread watches all sockets. Only this thread closes them: the operating system may
reuse the number of a closed socket while a selector still watches it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

from .._runtime.platform import is_closed_by_peer, is_readable, max_selected_sockets, reset_when_closed


class Sockets:
    """Accept connections on `listener` and pass each to `accepted`, until `stop`. All methods are thread-safe."""

    def __init__(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._accepted = accepted
        self._selector = selectors.DefaultSelector()
        self._tasks: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="llm-server-sockets", daemon=True)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread.start()

    def watch(self, connection: socket.socket, left: Callable[[], None]) -> None:
        """Call `left` once, on this object's thread, when the client closes `connection`. Replaces an earlier watch."""
        self._post(lambda: self._watch(connection, left))

    def close(self, connection: socket.socket, *, reset: bool = False) -> None:
        """Close `connection`, with a TCP reset if `reset`."""
        self._post(lambda: self._close(connection, reset))

    def stop(self) -> None:
        """Close the listener and end the thread. Blocks until it has ended."""
        self._post(self._stop)
        self._thread.join()

    def _post(self, task: Callable[[], None]) -> None:
        self._tasks.append(task)
        # A full pipe holds a wake-up already; after a close there is no thread to wake.
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        """Serve sockets and tasks until `stop`. Runs on this object's thread."""
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_read:
                    self._wake_read.recv(4096)
                elif isinstance(key.fileobj, socket.socket):
                    self._look_at(key.fileobj, key.data)
            while self._tasks:
                self._tasks.popleft()()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has closed the connection already
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(connection)

    def _look_at(self, connection: socket.socket, left: Callable[[], None]) -> None:
        """Check, without reading, whether the client has closed the connection."""
        if is_readable(connection):  # else the connection's own thread has read it
            self._selector.unregister(connection)
            if is_closed_by_peer(connection):
                left()

    def _watch(self, connection: socket.socket, left: Callable[[], None]) -> None:
        if self._stopping:
            return
        if connection in self._selector.get_map():
            self._selector.modify(connection, selectors.EVENT_READ, left)
        elif len(self._selector.get_map()) < max_selected_sockets():  # else its close is not noticed
            self._selector.register(connection, selectors.EVENT_READ, left)

    def _close(self, connection: socket.socket, reset: bool) -> None:
        # A task posted while the server stops may run after the selector is closed.
        if not self._stopping and connection in self._selector.get_map():
            self._selector.unregister(connection)
        if reset:
            reset_when_closed(connection)
        connection.close()

    def _stop(self) -> None:
        self._stopping = True
        self._selector.close()
        self._listener.close()
        self._wake_read.close()
        self._wake_write.close()
