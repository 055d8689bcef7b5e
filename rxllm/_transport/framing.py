"""Bytes to frames: server-sent events and newline-delimited JSON; no I/O.

Fed with blocks as they come. Lenient by design: it takes every line end, a byte order mark,
comments, and a last event that was cut off before its blank line. It decides nothing about
completeness: that is the decoder's.

The plain shapes (one `data:` line, or `event:` and `data:`) are cut out by hand, as nearly all
events of nearly all vendors have them and it costs a tenth; every other shape goes through
sseclient-py, which is given one event at a time, so that nothing it holds can grow.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sseclient import SSEClient

from .._protocol import Frame
from ..errors import ProtocolError

MAX_FRAME_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_MAX_LINE_WORK = 2_000_000_000
"""Lines times bytes of one event: sseclient-py joins lines at a cost that grows with both."""


class SSEFraming:
    r"""The events of an SSE body that arrives in blocks, however it is cut.

    Raises `ProtocolError` if an event is longer than `limit` bytes, or the body is an HTML page.

    >>> framing = SSEFraming()
    >>> [frame.data for block in (b'data: {"a"', b': 1}\r', b'\n\r\ndata: [DONE]') for frame in framing.feed(block)]
    [b'{"a": 1}']
    >>> [frame.data for frame in framing.close()]
    [b'[DONE]']
    """

    __slots__ = ("_after_cr", "_is_between", "_limit", "_pending")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._pending = _Pending(limit, b"\n\n")
        self._after_cr = False
        self._is_between = False
        """The next byte begins an event."""

    def feed(self, block: bytes) -> Iterable[Frame]:
        """Return the events that are complete with `block`."""
        end = len(block) - 2
        is_plain = block.startswith(b"data: ") and block.find(b"\n") == end and block.endswith(b"\n\n")
        if self._is_between and is_plain and end <= self._limit and b"\r" not in block:
            return (Frame(block[6:end]),)  # by far the most frequent
        return self._feed(block)

    def _feed(self, block: bytes) -> Iterator[Frame]:
        lines = self._unix_lines(block)
        for event in self._pending.split(lines) if lines else ():
            if event.startswith(b"data: ") and b"\n" not in event:
                yield Frame(event[6:])
            elif (frame := _frame(event)) is not None:
                yield frame
        self._is_between = not self._pending.size and not self._after_cr

    def close(self) -> Iterator[Frame]:
        """End the body: yield the last event, if one was cut off."""
        last = _frame(self._pending.rest())
        if last is not None and last.data:
            yield Frame(last.data, last.event, whole=False, is_document=last.is_document)

    def _unix_lines(self, block: bytes) -> bytes:
        """Return `block` with LF line ends. A CR at the end of one block and an LF at the start of the next are one."""
        lines = block[1:] if self._after_cr and block.startswith(b"\n") else block
        if block:
            self._after_cr = block.endswith(b"\r")
        return lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in lines else lines


class NDJSONFraming:
    r"""The lines of a newline-delimited JSON body that arrives in blocks, however it is cut.

    Some servers that imitate an NDJSON API send server-sent events instead: their data is taken as lines.
    Raises `ProtocolError` if a line is longer than `limit` bytes, or the body is an HTML page.

    >>> framing = NDJSONFraming()
    >>> [frame.data for block in (b'{"a": 1}', b'\n{"a": 2}') for frame in framing.feed(block)]
    [b'{"a": 1}']
    >>> [frame.data for frame in framing.close()]
    [b'{"a": 2}']
    """

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._pending = _Pending(limit, b"\n")

    def feed(self, block: bytes) -> Iterator[Frame]:
        """Yield the lines that are complete with `block`."""
        for line in self._pending.split(block):
            if line.startswith(b"{"):
                yield Frame(line)
            elif data := _data_in(line.strip()):
                yield Frame(data)

    def close(self) -> Iterator[Frame]:
        """End the body: yield the last line, if one was cut off."""
        if last := _data_in(self._pending.rest().strip()):
            yield Frame(last, whole=False)


class _Pending:
    """What has come since the last separator, up to a limit; each byte is joined once.

    A byte order mark at the start of the body is dropped.
    """

    def __init__(self, limit: int, separator: bytes) -> None:
        self.size = 0
        self._limit = limit
        self._separator = separator
        self._pieces: list[bytes] = []
        self._is_first = True

    def split(self, block: bytes) -> Iterable[bytes]:
        """Return the pieces that end with `block`, up to one that is too long.

        A separator of two equal bytes may be cut between blocks.
        """
        pieces, separator = self._pieces, self._separator
        if len(separator) > 1 and pieces and pieces[-1].endswith(separator[:1]) and block.startswith(separator[:1]):
            pieces[-1] = pieces[-1][:-1]
            block = separator[:1] + block
        cut = block.rfind(separator)
        if cut < 0:
            pieces.append(block)
            self.size += len(block)
            if self.size > self._limit:
                raise self._too_long()
            return ()
        pieces.append(block[:cut])
        complete = self.rest()
        self._pieces = [block[cut + len(separator) :]]
        self.size = len(self._pieces[0])
        parts = complete.split(separator)
        return parts if len(complete) <= self._limit else self._checked(parts)

    def rest(self) -> bytes:
        """Return the bytes that have come since the last separator."""
        joined = b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]
        if self._is_first:
            self._is_first = False
            return joined.removeprefix(_BOM)
        return joined

    def _checked(self, parts: list[bytes]) -> Iterator[bytes]:
        for part in parts:
            if len(part) > self._limit:
                raise self._too_long()
            yield part

    def _too_long(self) -> ProtocolError:
        return ProtocolError(f"an event is longer than {self._limit} bytes")


def _frame(event: bytes) -> Frame | None:
    """Return the frame of one event; None if it is neither data nor a comment."""
    event = event.strip(b"\n")
    if not event:
        return None
    if event.startswith(b"event: "):
        name, separator, data = event[7:].partition(b"\ndata: ")
        if separator and b"\n" not in data and b"\n" not in name:
            return Frame(data, "" if name == b"message" else name.decode("utf-8", "replace"))
    first = event.lstrip()[:1]
    if first in (b"{", b"["):
        return Frame(event, is_document=True)
    _refuse_html(event)
    return _parsed(event)


def _parsed(event: bytes) -> Frame | None:
    """Parse an event with sseclient; return None if it has no data."""
    lines = event.count(b"\n") + 1
    if lines * len(event) > _MAX_LINE_WORK:
        raise ProtocolError(f"an event of {len(event)} bytes is cut into {lines} lines")
    text = event.decode("utf-8", "replace")
    for parsed in SSEClient(iter([text.encode() + b"\n\n"])).events():
        return Frame(parsed.data.encode(), "" if parsed.event == "message" else parsed.event)
    for line in text.split("\n"):
        # Not SSE, but sent by GPUStack and older llama.cpp servers: a field named error instead of data.
        if line.startswith("error:"):
            return Frame(line[6:].strip().encode(), "error")
    return Frame(b"") if event.startswith(b":") else None


def _data_in(line: bytes) -> bytes:
    """Return a line of NDJSON, or the data in a line of server-sent events, b"" if it has none; raise for HTML."""
    _refuse_html(line)
    if line.startswith(b"data:"):
        return line[5:].strip()
    return b"" if line.startswith((b":", b"event:", b"id:", b"retry:")) else line


def _refuse_html(text: bytes) -> None:
    if text.lstrip().startswith(b"<"):
        raise ProtocolError(
            "the server sent an HTML page instead of a stream: check base_url, and any proxy or login page"
        )
