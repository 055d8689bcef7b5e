"""The replay server: one process, one thread, precomputed bytes, five wires.

What it does is said by the model's name, see `script()`:

    full     the whole answer at full speed
    paced    so many deltas a second; the text of each is the time of sending, in microseconds
    stall    so many deltas as told, at once, and then nothing
    hang     not even headers

The clock is CLOCK_MONOTONIC, which is one for all processes of a machine. A TLS handshake is never
answered. `Control` asks, over the same port, when a request came and when its connection was closed.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
import resource
import selectors
import socket
import statistics
import sys
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from .wires import LAST_CHUNK, WIRES, Wire, chunk, whole_body

_SCRIPT = re.compile(rb"(full|paced|stall|hang)-(\d+)-(\d+)-(chunked|close)-(\w+)")
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_PATHS = {
    b"/chat/completions": "chat",
    b"/responses": "responses",
    b"/messages": "anthropic",
    b":streamGenerateContent": "gemini",
    b"/api/chat": "ollama",
}
_TLS_HANDSHAKE = 0x16


class Script(NamedTuple):
    """What a request asks this server to do."""

    kind: str
    deltas: int
    rate: int
    """Deltas a second."""
    chunked: bool
    key: str


def script(kind: str, deltas: int = 0, rate: int = 0, *, chunked: bool = True, key: str = "k") -> str:
    """The name of the model that has it done."""
    return f"{kind}-{deltas}-{rate}-{'chunked' if chunked else 'close'}-{key}"


def now_us() -> int:
    """Microseconds on the clock that client and server share."""
    return time.monotonic_ns() // 1000


class _Connection:
    """One client, and what it is being told."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = b""
        self.outbox: deque[memoryview] = deque()
        self.key: str | None = None
        self.wire: Wire = WIRES["chat"]
        self.script = Script("hang", 0, 0, True, "")
        self.said = 0
        self.full = False
        """Its socket takes no more at the moment."""
        self.closing = False


class Server:
    """One loop for all connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._due: list[tuple[float, int, _Connection]] = []
        self._order = itertools.count()
        self._seen: dict[str, float] = {}
        """When what happened: "arrived/KEY" and "closed/KEY"."""
        self._asking: dict[str, _Connection] = {}
        self._late: list[float] = []

    def run(self) -> None:
        """Print the port, and serve until standard input ends: so this ends with whoever started it."""
        print(self._listener.getsockname()[1], flush=True)
        self._selector.register(sys.stdin, selectors.EVENT_READ, sys.stdin)
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, mask in self._selector.select(wait):
                if key.data is sys.stdin:
                    return
                if key.data is None:
                    self._accept()
                    continue
                if mask & selectors.EVENT_WRITE:
                    self._flush(key.data)
                if mask & selectors.EVENT_READ:
                    self._read(key.data)
            self._tell_what_is_due()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                sock = self._listener.accept()[0]
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.inbox += data
        if connection.inbox[0] == _TLS_HANDSHAKE:
            self._arrived(connection, "tls")
            return
        head, end, body = connection.inbox.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            connection.inbox = b""
            self._answer(connection, head, body)

    def _answer(self, connection: _Connection, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /control/"):
            self._control(connection, head.split(b" ", 2)[1].decode().removeprefix("/control/"))
            return
        asked = _SCRIPT.search(head.partition(b"\r\n")[0]) or _SCRIPT.search(body)
        wire = next((name for path, name in _PATHS.items() if path in head.partition(b"\r\n")[0]), None)
        if asked is None or wire is None:
            self._send(connection, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        kind, deltas, rate, framing, key = (group.decode() for group in asked.groups())
        connection.script = told = Script(kind, int(deltas), int(rate), framing == "chunked", key)
        connection.wire, connection.said = WIRES[wire], 0
        self._arrived(connection, key)
        if kind == "hang":
            return
        ending = "Transfer-Encoding: chunked" if told.chunked else "Connection: close"
        start = f"HTTP/1.1 200 OK\r\nContent-Type: {connection.wire.content_type}\r\n{ending}\r\n\r\n".encode()
        if kind == "full":
            self._send(connection, start + whole_body(wire, told.deltas, chunked=told.chunked))
            self._end(connection)
            return
        self._send(connection, start + self._framed(connection, connection.wire.begin))
        if kind == "stall":
            for _ in range(told.deltas):
                self._say(connection)
        else:
            heapq.heappush(self._due, (time.monotonic(), next(self._order), connection))

    def _tell_what_is_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, _, connection = heapq.heappop(self._due)
            if connection.sock.fileno() < 0:
                continue
            self._late.append(now - due)
            if connection.said == connection.script.deltas:
                last = LAST_CHUNK if connection.script.chunked else b""
                self._send(connection, self._framed(connection, connection.wire.ending(connection.said)) + last)
                self._end(connection)
                continue
            self._say(connection)
            heapq.heappush(self._due, (due + 1 / connection.script.rate, next(self._order), connection))
            now = time.monotonic()

    def _say(self, connection: _Connection) -> None:
        event = connection.wire.delta(b"%d" % now_us(), connection.said)
        connection.said += 1
        self._send(connection, self._framed(connection, event))

    def _framed(self, connection: _Connection, event: bytes) -> bytes:
        return chunk(event) if event and connection.script.chunked else event

    def _end(self, connection: _Connection) -> None:
        if not connection.script.chunked:
            connection.closing = True
            self._flush(connection)

    def _send(self, connection: _Connection, data: bytes) -> None:
        connection.outbox.append(memoryview(data))
        if len(connection.outbox) == 1:
            self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        outbox = connection.outbox
        try:
            while outbox:
                outbox[0] = outbox[0][connection.sock.send(outbox[0]) :]
                if not outbox[0]:
                    outbox.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if connection.closing and not outbox:
            self._close(connection)
            return
        if connection.full != bool(outbox):
            connection.full = bool(outbox)
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if outbox else 0)
            self._selector.modify(connection.sock, wanted, connection)

    def _close(self, connection: _Connection) -> None:
        if connection.sock.fileno() < 0:
            return
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection.key is not None:
            self._note(f"closed/{connection.key}")

    def _arrived(self, connection: _Connection, key: str) -> None:
        if connection.key != key:
            connection.key = key
            self._note(f"arrived/{key}")

    def _note(self, what: str) -> None:
        self._seen[what] = time.monotonic()
        asking = self._asking.pop(what, None)
        if asking is not None:
            self._reply(asking, self._seen.pop(what))

    def _control(self, connection: _Connection, what: str) -> None:
        if what == "late":
            late, self._late = self._late, []
            self._reply(connection, statistics.quantiles(late, n=100)[98] if len(late) > 1 else 0.0)
        elif what == "forget":
            self._seen.clear()
            self._asking.clear()
            self._reply(connection, 0.0)
        elif what in self._seen:
            self._reply(connection, self._seen.pop(what))
        else:
            self._asking[what] = connection

    def _reply(self, connection: _Connection, value: float) -> None:
        body = json.dumps(value).encode()
        with suppress(OSError, KeyError):  # whoever asked may have given up
            self._send(connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class Control:
    """Asks the server what it saw."""

    def __init__(self, base: str) -> None:
        host, _, port = base.removeprefix("http://").partition(":")
        self._address = host, int(port)

    def ask(self, what: str, limit: float = 10.0) -> float | None:
        """What the server says to it; None after `limit` seconds."""
        with socket.create_connection(self._address, timeout=limit) as sock:
            sock.sendall(f"GET /control/{what} HTTP/1.1\r\n\r\n".encode())
            try:
                return float(json.loads(sock.recv(4096).partition(b"\r\n\r\n")[2]))
            except TimeoutError:
                return None


def raise_file_limit() -> None:
    """As many open files as this process may have: a thousand streams need more than most shells allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    raise_file_limit()
    with suppress(KeyboardInterrupt):
        Server().run()
