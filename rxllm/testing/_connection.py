"""One client's connection: requests are read off it, responses written to it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from typing import IO, NamedTuple

from ._exchange import Exchange
from ._script import Chunk, Script

_UNREACHED = 1024
"""Bytes that a Content-Length promises beyond what is sent, where the connection is to end early."""


class RawRequest(NamedTuple):
    """A request as it was read, before it is recorded. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send another request after this one."""
        return self.headers.get("connection", "").lower() != "close"


def read_request(reader: IO[bytes]) -> RawRequest | None:
    """The next request; None where the client sends none, or none that is HTTP."""
    try:
        words = reader.readline(65536).decode("latin-1").split()
        if len(words) != 3:
            return None
        headers = {name.lower(): value for name, value in http.client.parse_headers(reader).items()}
        return RawRequest(words[0], words[1], headers, _read_body(reader, headers))
    except (OSError, ValueError, http.client.HTTPException):
        return None


def write_response(connection: socket.socket, script: Script, request: Exchange) -> bool:
    """Write the response; False where it could not be written to its end, since nobody waits for it.

    Raises `OSError` where the client has gone.
    """
    chunks = script.chunks
    if script.framing == "length":
        chunks = list(chunks)
    if script.framing != "bare":
        connection.sendall(_head(script, chunks))
    chunked = script.framing == "chunked"
    for data, pause, gate in chunks:
        if pause and not request.wait(pause):
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
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length", "0"))
        body = reader.read(length)
        if len(body) < length:
            raise ValueError("the client left in the middle of its request")
        return body
    pieces: list[bytes] = []
    while size := int(reader.readline(1024).split(b";")[0], 16):
        pieces.append(reader.read(size))
        reader.readline(1024)
    while reader.readline(65536).strip():
        pass  # trailers
    return b"".join(pieces)
