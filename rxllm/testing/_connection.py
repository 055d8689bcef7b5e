"""Read requests from a client's connection, and write responses to it.

Waits end when the client closes the connection or the server stops.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from typing import IO

from ._script import Chunk, Script
from .gates import Gate
from .recorded import RecordedRequest

_UNREACHED = 1024
"""Bytes that Content-Length promises beyond the body, when the script ends the connection early."""


class Exchange(RecordedRequest):
    """A request while the server answers it. Thread-safe."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(method, path, headers, body)
        self._ended = threading.Event()
        self._closed_by_server = False
        self._gate: Gate | None = None

    def client_left(self) -> None:
        """Record that the client closed the connection; do nothing if the server closed it first."""
        if self._closed_by_server or self.closed.is_set():
            return
        self.closed_at = time.monotonic()
        self._end()
        self.closed.set()

    def close_by_server(self) -> None:
        """Record that the server closes the connection."""
        self._closed_by_server = True
        self._end()

    def wait(self, seconds: float | None) -> bool:
        """Block for `seconds` (None: without limit). Return False as soon as the exchange has ended."""
        return not self._ended.wait(seconds)

    def wait_at(self, gate: Gate) -> bool:
        """Block until `gate` lets one piece through. Return False as soon as the exchange has ended."""
        self._gate = gate
        return gate.pass_one(self._ended.is_set)

    def _end(self) -> None:
        """Wake every thread that waits in this exchange."""
        self._ended.set()
        if self._gate is not None:
            self._gate.wake()


def read_request(reader: IO[bytes]) -> Exchange | None:
    """Return the next request; None if the client has closed the connection or sends no HTTP."""
    try:
        words = reader.readline(65536).decode("latin-1").split()
        if len(words) != 3:
            return None
        headers = {name.lower(): value for name, value in http.client.parse_headers(reader).items()}
        return Exchange(words[0], words[1], headers, _read_body(reader, headers))
    except (OSError, ValueError, http.client.HTTPException):
        return None


def write_response(connection: socket.socket, script: Script, request: Exchange) -> bool:
    """Write the response. Return False if the exchange ended while this thread waited.

    Raises `OSError` if the client has closed the connection.
    """
    chunks = script.chunks
    if script.framing == "length":
        chunks = list(chunks)
    if script.framing != "bare":
        connection.sendall(_head(script, chunks))
    chunked = script.framing == "chunked"
    for data, delay, gate in chunks:
        if delay and not request.wait(delay):
            return False
        if gate is not None and not request.wait_at(gate):
            return False
        connection.sendall(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        request.bytes_sent += len(data)
    if script.ending == "stall":
        return request.wait(None)
    if script.ending == "whole" and chunked:
        connection.sendall(b"0\r\n\r\n")
    return True


def _head(script: Script, chunks: Iterable[Chunk]) -> bytes:
    """Return the status line and headers; Content-Length promises too much if the script ends the connection early."""
    headers = {"content-type": script.content_type, "cache-control": "no-cache"}
    if script.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif script.framing == "close":
        headers["connection"] = "close"
    else:
        length = sum(len(chunk.data) for chunk in chunks)
        headers["content-length"] = str(length if script.ending == "whole" else length + _UNREACHED)
    headers |= {name.lower(): value for name, value in script.headers.items()}
    reason = http.client.responses.get(script.status, "")
    lines = [f"HTTP/1.1 {script.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def _read_body(reader: IO[bytes], headers: dict[str, str]) -> bytes:
    """Return the body, by length or in chunks; raise `ValueError` if the client closed inside it."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length", "0"))
        body = reader.read(length)
        if len(body) < length:
            raise ValueError("the client closed the connection inside its request")
        return body
    pieces: list[bytes] = []
    while size := int(reader.readline(1024).split(b";")[0], 16):
        pieces.append(reader.read(size))
        reader.readline(1024)
    while reader.readline(65536).strip():
        pass  # trailers
    return b"".join(pieces)
