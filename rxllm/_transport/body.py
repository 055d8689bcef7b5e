"""The body of a response, read as it arrives."""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import Any

from ..errors import APIStatusError, LLMError, ProtocolError, StreamInterruptedError
from .chunked import ChunkedDecoder
from .connections import Call, CallAborted, Connection, receive
from .http1 import ResponseHead, body_framing
from .pool import Pool
from .vendor_errors import status_error

BLOCK_BYTES = 64 * 1024
_FIRST_BLOCK_BYTES = 16 * 1024
"""The size of the first reads; a read allocates a buffer of its size, so it grows with the pace of the stream."""
MAX_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 2.0
DRAIN_SECONDS = 0.05
_DRAIN_BYTES = 64 * 1024


class Body:
    """The body of a response. Every method is for the thread that reads, one at a time.

    `status` and `headers` (lower-case names) are those of the response. `at_end` is True when nothing follows what
    `read` has returned.
    """

    __slots__ = (
        *("head", "status", "is_success", "headers", "at_end", "failure", "_connection", "_socket", "_call", "_pool"),
        *("_rest", "_chunks", "_left", "_surplus", "_block_bytes", "_deadline", "_closed", "_decompressor"),
    )

    def __init__(self, connection: Connection, head: ResponseHead, rest: bytes, call: Call, pool: Pool) -> None:
        self.head = head
        self.status = head.status
        self.is_success = 200 <= head.status < 300
        self.headers = head.headers
        self.failure: LLMError | None = None
        """What ends the body after the bytes that `read` has returned; the next read raises it."""
        self._connection = connection
        self._socket = connection.sock
        self._call = call
        self._pool = pool
        self._rest = rest
        """Bytes that arrived with the head and are not read yet."""
        framing = body_framing(head)
        self._chunks = ChunkedDecoder() if framing.chunked else None
        self._left = framing.length
        """Bytes still to come; None if the length is not known."""
        self.at_end = self._left == 0
        self._surplus = self.at_end and bool(rest)
        """The peer has sent more than the body."""
        self._block_bytes = _FIRST_BLOCK_BYTES
        self._deadline: float | None = None
        self._closed = False
        self._decompressor = Decompressor() if framing.is_compressed else None

    def read(self) -> bytes:
        """Return the next bytes. Blocks until some arrive; returns b"" if they were framing only, and at the end.

        Raises:
            StreamInterruptedError: The connection ended before the body.
            ProtocolError: The bytes violate HTTP, or are not compressed as Content-Encoding says.
            CallAborted: The call was aborted.
        """
        if self.failure is not None:
            raise self.failure
        try:
            decompressor = self._decompressor
            block = self._read_wire() if decompressor is None else self._read_compressed(decompressor)
        except LLMError:
            if self._call.aborted:
                raise CallAborted from None
            raise
        except Exception as error:
            if self._call.aborted:
                raise CallAborted from error
            if isinstance(error, OSError):
                raise StreamInterruptedError(
                    f"the connection broke in the middle of the answer: {reason(error)}"
                ) from error
            raise ProtocolError(f"the body could not be read: {type(error).__name__}") from error
        if self.at_end and self._call.aborted:
            raise CallAborted  # the bytes may have ended because of that
        return block

    def _read_compressed(self, decompressor: Decompressor) -> bytes:
        """Return what the next bytes decompress to; what precedes corrupt bytes comes first."""
        block = decompressor.feed(self._read_wire())
        if decompressor.is_corrupt:
            self.at_end = False
            self.failure = ProtocolError("the body is not compressed as its Content-Encoding says")
        return block

    def _read_wire(self) -> bytes:
        """Return the next bytes of the body as they are on the wire, after at most one read of the socket.

        Blocks grow while they are full: slow streams take little memory. Compressed ones do not: they may become a
        thousand times as long.
        """
        if self.at_end:
            return b""
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
            if len(data) == self._block_bytes and self._decompressor is None:
                self._block_bytes = min(2 * self._block_bytes, BLOCK_BYTES)
        chunks = self._chunks
        if chunks is not None:
            if not data:
                chunks.end()
            block = chunks.feed(data)
            self.at_end, self._surplus, self.failure = chunks.done, chunks.surplus, chunks.failure
            return block
        if self._left is None:
            self.at_end = not data
            return data
        if not data:
            raise StreamInterruptedError("the connection was closed in the middle of the answer")
        block = data[: self._left]
        self._surplus = len(block) < len(data)
        self._left -= len(block)
        self.at_end = not self._left
        return block

    def fileno(self) -> int | None:
        """Return the socket that is readable whenever there is more to read; None if no socket says so."""
        return None if self._rest or self.at_end else self._connection.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Let `read` wait for bytes, or return b"" without them."""
        self._socket.setblocking(blocking)

    def finish(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Read the rest of a body whose answer is complete, so that its connection can serve again.

        Waits for at most `seconds`, or 64 KiB. Returns whether the body has ended; its connection is pooled then.
        """
        self._read_more(_DRAIN_BYTES, seconds)
        if self.at_end:
            self.close()
        return self.at_end

    def close(self) -> None:
        """Pool the connection if the body was read to its end, else close it. Harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self._call.release()
        has_known_end = self._chunks is not None or self._left == 0
        is_clean = self.at_end and has_known_end and not self._surplus
        if is_clean and self.head.keeps_alive and not self._call.aborted:
            self._pool.put(self._connection)
        else:
            self._connection.close()

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
            body = self._read_more(MAX_ERROR_BYTES, _ERROR_SECONDS)
            return status_error(self.status, self.headers, body[:MAX_ERROR_BYTES], time.time())
        finally:
            self.close()

    def _read_more(self, size: int, seconds: float) -> bytes:
        """Return what arrives within `seconds`, about `size` bytes at most. What fails is taken for the end."""
        self._deadline = time.monotonic() + seconds
        data = bytearray()
        left = size
        with contextlib.suppress(LLMError, CallAborted):
            while not self.at_end and left > 0:
                block = self.read()
                data += block
                left -= max(1, len(block))  # a read of framing only counts too
        return bytes(data)


class Decompressor:
    """Undoes gzip, also in several members, and deflate with or without the header of zlib."""

    def __init__(self) -> None:
        self.is_corrupt = False
        """The bytes that follow those that `feed` has returned cannot be decompressed."""
        self._is_first = True
        self._member: Any = None
        """The member under way; None if the next byte begins one."""

    def feed(self, data: bytes) -> bytes:
        """Return what `data` decompresses to, up to a corrupt byte. What follows the first member may be garbage."""
        body = bytearray()
        while data and not self.is_corrupt:
            if self._member is None:
                has_header = data[0] & 15 in (8, 15)  # zlib's first byte is 0x?8, gzip's is 0x1F
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 32 if has_header else -zlib.MAX_WBITS)
            intact = self._member.copy()  # a call that fails returns nothing, not even what precedes the corrupt byte
            try:
                body += self._member.decompress(data)
            except zlib.error:
                if self._is_first:
                    self.is_corrupt = True
                    body += _before_corruption(intact, data)
                break
            data = self._member.unused_data
            if self._member.eof:
                self._member, self._is_first = None, False
        return bytes(body)


def _before_corruption(member: Any, data: bytes) -> bytes:
    """Return what `member` makes of the bytes up to the first corrupt one."""
    body = bytearray()
    with contextlib.suppress(zlib.error):
        for position in range(len(data)):
            body += member.decompress(data[position : position + 1])
    return bytes(body)


def reason(error: BaseException) -> str:
    """Return the kind and the text of an error of a socket, of TLS or of urllib3."""
    return f"{type(error).__name__}: {str(error.args[-1] if error.args else error)[:300]}"
