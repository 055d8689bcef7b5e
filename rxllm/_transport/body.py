"""The body of a response, read as it arrives."""

from __future__ import annotations

import contextlib
import copy
import time
from typing import Any

import urllib3
from urllib3.response import ContentDecoder, MultiDecoder

from ..errors import APIStatusError, LLMError, ProtocolError, StreamInterruptedError
from .chunked import ChunkedDecoder
from .connections import Call, CallAborted, Connection
from .http1 import ResponseHead, body_framing
from .pool import Pool
from .settings import Route
from .sockets import receive
from .vendor_errors import status_error

BLOCK_BYTES = 64 * 1024
_FIRST_BLOCK_BYTES = 16 * 1024
"""The size of the first reads; a read allocates a buffer of its size, so it grows with the pace of the stream."""
MAX_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 2.0
_DRAIN_SECONDS = 0.05
_DRAIN_BYTES = 64 * 1024


class Body:
    """The body of a response. Every method is for the thread that reads, one at a time.

    `status` and `headers` (lower-case names) are those of the response. `at_end` is True when nothing follows what
    `read` has returned.
    """

    __slots__ = (
        *("head", "status", "is_success", "headers", "at_end", "wire_at_end", "failure", "raw", "_connection"),
        *("_socket", "_call", "_pool", "_route", "_rest", "_chunks", "_left", "_surplus", "_block_bytes"),
        *("_deadline", "_closed", "_codings", "_taken"),
    )

    def __init__(self, connection: Connection, head: ResponseHead, rest: bytes, call: Call, pool: Pool, route: Route):
        self.head = head
        self.status = head.status
        self.is_success = 200 <= head.status < 300
        self.headers = head.headers
        self.at_end = False
        self.wire_at_end = False
        """The bytes on the wire have ended; decompressed ones may follow."""
        self.failure: LLMError | None = None
        """What ends the body after the bytes that `read` has returned; the next read raises it."""
        self._connection = connection
        self._socket = connection.sock
        self._call = call
        self._pool = pool
        self._route = route
        self._rest = rest
        """Bytes that arrived with the head and are not read yet."""
        framing = body_framing(head)
        self._chunks = ChunkedDecoder() if framing.chunked else None
        self._left = framing.length
        """Bytes still to come; None if the length is not known."""
        self._surplus = False
        """The peer has sent more than the body."""
        self._block_bytes = _FIRST_BLOCK_BYTES
        self._deadline: float | None = None
        self._closed = False
        self._taken: tuple[ContentDecoder, bytes] | None = None
        """The last bytes that were decompressed in the current read, and the decoder before them."""
        self.raw: Any = None
        """What is read through instead of the connection: a response that decompresses, or that a hook replaced."""
        codings = [*filter(None, head.headers.get("content-encoding", "").lower().replace(" ", "").split(","))]
        codings = [coding for coding in (*codings, *framing.codings) if coding != "identity"]
        self._codings = ", ".join(codings)
        if codings:
            self._decompress(codings)
        if self._left == 0:
            self.wire_at_end = True
            self.at_end = self.raw is None
            self._surplus = bool(rest)

    def read(self) -> bytes:
        """Return the next bytes. Blocks until some arrive; returns b"" if they were framing only, and at the end.

        Raises:
            StreamInterruptedError: The connection ended before the body.
            ProtocolError: The bytes violate HTTP, or are not compressed as Content-Encoding says.
            CallAborted: The call was aborted.
        """
        try:
            if self.raw is None:
                block = self.read_wire()
                self.at_end = self.wire_at_end
            else:
                block = self._read_decompressed()
                self.at_end = not block
        except LLMError:
            if self._call.aborted:
                raise CallAborted from None
            raise
        except Exception as error:
            if self._call.aborted:
                raise CallAborted from error
            raise _body_error(error) from error
        if self.at_end and self._call.aborted:
            raise CallAborted  # the bytes may have ended because of that
        return block

    def _read_decompressed(self) -> bytes:
        """Return the next bytes that are read through urllib3; those before a corrupt one come first."""
        if self.failure is not None:
            raise self.failure
        try:
            block: bytes = self.raw.read1(BLOCK_BYTES, decode_content=True)
        except urllib3.exceptions.DecodeError as error:
            block = _before_corruption(*self._taken) if self._taken else b""
            if not block:
                raise
            self.failure = _body_error(error)
        finally:
            self._taken = None
        return block

    def take(self, block: bytes) -> None:
        """Remember the block that is decompressed next, and a copy of the decoder: one that fails is of no use then."""
        decoder = getattr(self.raw, "_decoder", None) or MultiDecoder(self._codings)
        try:
            self._taken = copy.deepcopy(decoder), block
        except TypeError:  # those of br and zstd cannot be copied: what is before a corrupt byte in a read is lost
            self._taken = None

    def read_wire(self) -> bytes:
        """Return the next bytes of the body as they are on the wire, after at most one read of the socket.

        Blocks grow while they are full: slow streams take little memory.
        """
        if self.wire_at_end:
            return b""
        if self.failure is not None:
            raise self.failure
        data: bytes | None = self._rest
        if data:
            self._rest = b""
        else:
            if self._deadline is not None:
                self._socket.settimeout(max(0.0, self._deadline - time.monotonic()))
            data = receive(self._socket, self._block_bytes)
            if data is None:
                if self._deadline is not None:
                    raise TimeoutError
                return b""
            if len(data) == self._block_bytes:
                self._block_bytes = min(2 * self._block_bytes, BLOCK_BYTES)
        if self._chunks is not None:
            if not data:
                self._chunks.end()
            block = self._chunks.feed(data)
            self.wire_at_end, self._surplus = self._chunks.done, self._chunks.surplus
            self.failure = self._chunks.failure
            return block
        if self._left is None:
            self.wire_at_end = not data
            return data
        if not data:
            raise StreamInterruptedError("the connection was closed in the middle of the answer")
        block = data[: self._left]
        self._surplus = len(block) < len(data)
        self._left -= len(block)
        self.wire_at_end = not self._left
        return block

    def fileno(self) -> int | None:
        """Return the socket that is readable whenever there is more to read; None if no socket says so."""
        waits = self.raw is None and not self._rest and not self.wire_at_end
        return self._connection.fileno() if waits else None

    def set_blocking(self, blocking: bool) -> None:
        """Let `read` wait for bytes, or return b"" without them."""
        self._socket.setblocking(blocking)

    def try_finish(self) -> bool:
        """Pool the connection if the rest of the body has arrived; return whether that is done.

        Does not block, unless the body is read through urllib3, which cannot return from a read without data.
        """
        return self._finish(0.0 if self.raw is None else _DRAIN_SECONDS)

    def finish(self, *, may_wait: bool = True) -> None:
        """Read the rest of a body whose answer is complete, and pool the connection; else close it.

        Args:
            may_wait: Wait for at most 50 ms, or 64 KiB; False: do not wait.
        """
        if not self._finish(_DRAIN_SECONDS if may_wait else 0.0):
            self.close()

    def close(self) -> None:
        """Pool the connection if the body was read to its end, else close it. Harmless when repeated."""
        if self.raw is not None:
            self.raw.close()
        self.close_wire()

    def close_wire(self) -> None:
        """Pool or close the connection, and leave open what reads the body through urllib3."""
        if self._closed:
            return
        self._closed = True
        reusable = self.wire_at_end and self.head.keeps_alive and not self._surplus and not self._call.aborted
        if reusable and (self._chunks is not None or self._left == 0):
            self._pool.put(self._route, self._connection)
        else:
            self._connection.close()
        self._call.set_shut_down(None)

    def error(self) -> LLMError:
        """Return the error that this response means, and close it.

        The body is read for at most 64 KiB and 2 s, the body of a redirect not at all.
        """
        try:
            if self.status in (301, 302, 303, 307, 308):
                return APIStatusError(
                    f"HTTP {self.status}: the server redirects, which rxllm does not follow, so that no key is sent "
                    "to another server: check base_url",
                    status_code=self.status,
                )
            body = bytearray()
            self._deadline = time.monotonic() + _ERROR_SECONDS
            try:
                while len(body) < MAX_ERROR_BYTES and not self.at_end:
                    body += self.read()
            except (LLMError, CallAborted):
                pass  # the status and what arrived of the body are the error
            return status_error(self.status, self.headers, bytes(body[:MAX_ERROR_BYTES]), time.time())
        finally:
            self.close()

    def _finish(self, seconds: float) -> bool:
        """Read the rest of the body, if it is short, so that the connection can be reused; return whether it ended."""
        self._deadline = time.monotonic() + seconds
        left = _DRAIN_BYTES
        try:
            while not self.at_end and left > 0:
                left -= max(1, len(self.read()))
        except (LLMError, CallAborted):
            pass
        if self.at_end:
            self.close()
        return self.at_end

    def _decompress(self, codings: list[str]) -> None:
        """Decompress what is read from now on; raise `ProtocolError` if a coding is not supported."""
        unknown = set(codings).difference(urllib3.HTTPResponse.CONTENT_DECODERS)
        if unknown:
            self.close()
            raise ProtocolError(
                f"the body is compressed as {', '.join(sorted(unknown))}, which this installation cannot read "
                "(urllib3[brotli] reads br, urllib3[zstd] zstd)"
            )
        file: Any = BodyFile(self)
        self.raw = urllib3.HTTPResponse(file, headers={"content-encoding": self._codings}, preload_content=False)


class BodyFile:
    """The bytes of a body on the wire as a file, for urllib3."""

    def __init__(self, body: Body) -> None:
        self.closed = False
        self._body = body
        self._ahead = b""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._body.close_wire()

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next bytes, up to a block; b"" at the end."""
        while not self._body.wire_at_end or self._ahead:
            block = self._ahead or self._body.read_wire()
            self._ahead = b"" if size < 0 else block[size:]
            if block:
                block = block if size < 0 else block[:size]
                self._body.take(block)
                return block
        return b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        blocks: list[bytes] = []
        left = -1 if size is None else size
        while left and (block := self.read1(left)):
            blocks.append(block)
            left -= len(block) if left > 0 else 0
        return b"".join(blocks)


def _before_corruption(decoder: ContentDecoder, compressed: bytes) -> bytes:
    """Return what `decoder` makes of the bytes up to the first corrupt one."""
    data = bytearray()
    with contextlib.suppress(Exception):  # zlib.error, and those of other compressions
        for position in range(len(compressed)):
            data += decoder.decompress(compressed[position : position + 1])
    return bytes(data)


def _body_error(error: Exception) -> LLMError:
    if isinstance(error, urllib3.exceptions.DecodeError):
        return ProtocolError("the body is not compressed as its Content-Encoding says, or it was cut off")
    if isinstance(error, OSError | urllib3.exceptions.HTTPError):
        return StreamInterruptedError(f"the connection broke in the middle of the answer: {reason(error)}")
    return ProtocolError(f"the body could not be read: {type(error).__name__}")


def reason(error: BaseException) -> str:
    """Return the kind and the text of the innermost cause that urllib3 has wrapped."""
    cause: BaseException = error
    for _ in range(10):
        inner = getattr(cause, "reason", None) or next(
            (arg for arg in cause.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {str(cause.args[-1] if cause.args else cause)[:300]}"
