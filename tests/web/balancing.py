"""A load balancer before several servers: an address whose connections go to whichever is chosen."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Balancer:
    """Passes on what comes to `url`. Choosing another server ends the connections that are open."""

    def __init__(self, target: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._target = target
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def choose(self, target: str) -> None:
        """Have what comes from now on go there."""
        with self._lock:
            self._target = target
            ended, self._open = self._open, []
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all, and wait for it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.choose("")
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                with self._lock:
                    parts = urlsplit(self._target)
                    server = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
                    server.settimeout(None)
                    self._open += [client, server]
                ends = ((client, server), (server, client))
                pumps = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in ends]
                closer = threading.Thread(target=_close_after, args=(pumps, (client, server)), daemon=True)
                for thread in (*pumps, closer):
                    thread.start()
                self._threads.append(closer)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _close_after(pumps: list[threading.Thread], sockets: tuple[socket.socket, socket.socket]) -> None:
    for pump in pumps:
        pump.join()
    for one in sockets:
        one.close()


@contextlib.contextmanager
def balanced(target: str) -> Iterator[Balancer]:
    """A balancer, that begins with `target`."""
    balancer = Balancer(target)
    try:
        yield balancer
    finally:
        balancer.close()
