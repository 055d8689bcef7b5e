"""A TCP server whose every byte a test decides: for what no well-behaved HTTP server would do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

LIMIT = 60.0
"""Seconds that tests wait for what must happen: generous, as machines are slow at times."""


class Connection:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.closed = threading.Event()
        """The client has closed its end, or reset it."""
        self._sock = sock
        self._buffer = b""

    def read_request(self) -> tuple[bytes, dict[str, str], bytes]:
        """The request line, the headers (lower-case names) and the body of the next request."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (s.decode().partition(":") for s in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._buffer += self.receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return line, headers, body

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Answer the client's TLS handshake."""
        self._sock = context.wrap_socket(self._sock, server_side=True)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def respond(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """A whole answer with a Content-Length, unless `headers` say how the body is framed."""
        if not any(h.lower().startswith(("content-length", "transfer-encoding", "connection")) for h in headers):
            headers = (*headers, f"Content-Length: {len(body)}")
        self.send(f"HTTP/1.1 {status}\r\n{''.join(h + chr(13) + chr(10) for h in headers)}\r\n".encode() + body)

    def wait_closed(self) -> bool:
        """Read on until the client closes; whether it did in time."""
        self._sock.settimeout(LIMIT)
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            try:
                while self._sock.recv(65536):
                    pass
            except TimeoutError:
                return False
        self.closed.set()
        return True

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> bytes:
        """The next bytes; raises ConnectionResetError when the client has closed."""
        data = self._sock.recv(65536)
        if not data:
            self.closed.set()
            raise ConnectionResetError("the client closed")
        return data


Handler = Callable[[Connection], None]


class RawServer:
    """Serves each connection with `handler` on a thread of its own, and closes it when that returns."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
        self._listener.close()

    def _accept(self) -> None:
        for sock in self._accepted():
            self._sockets.append(sock)
            connection = Connection(sock, len(self.connections))
            self.connections.append(connection)
            self._start(self._serve, connection)

    def _accepted(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._listener.accept()[0]
            except OSError:
                return

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            self._handler(connection)
        connection.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port on which a connect neither succeeds nor fails: the kernel drops its SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield int(listener.getsockname()[1])
