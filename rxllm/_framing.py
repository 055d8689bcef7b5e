"""Bytes to frames: server-sent events and newline-delimited JSON; no I/O.

Lenient by design: it takes every line end, a byte order mark, comments, and a last event that
was cut off before its blank line. It decides nothing about completeness: that is the decoder's.

The plain shapes (one `data:` line, or `event:` and `data:`) are cut out by hand, as nearly all
events of nearly all vendors have them and it costs a tenth; every other shape goes through
sseclient-py, which is given one event at a time, so that nothing it holds can grow.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sseclient import SSEClient

from ._wire import Frame
from .errors import ProtocolError

MAX_FRAME_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_MAX_LINE_WORK = 2_000_000_000
"""Lines times bytes of one event: sseclient-py joins lines at a cost that grows with both."""


def sse_frames(blocks: Iterable[bytes], limit: int = MAX_FRAME_BYTES) -> Iterator[Frame]:
    r"""The events of an SSE body that arrives in `blocks`, however it is cut.

    Raises `ProtocolError` where an event is longer than `limit` bytes, or the body is an HTML page.

    >>> [frame.data for frame in sse_frames([b'data: {"a"', b': 1}\r', b'\n\r\ndata: [DONE]'])]
    [b'{"a": 1}', b'[DONE]']
    """
    pending = _Pending(limit)
    for block in _unix_lines(blocks):
        events = pending.add(block, b"\n\n")
        if events is None:
            continue
        for event in events.split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                yield Frame(event[6:])
            elif (frame := _frame(event)) is not None:
                yield frame
    last = _frame(pending.rest())
    if last is not None and last.data:
        yield Frame(last.data, last.event, whole=False, bare=last.bare)


def ndjson_frames(blocks: Iterable[bytes], limit: int = MAX_FRAME_BYTES) -> Iterator[Frame]:
    r"""The lines of a newline-delimited JSON body that arrives in `blocks`, however it is cut.

    Raises `ProtocolError` where a line is longer than `limit` bytes, or the body is an HTML page.

    >>> [frame.data for frame in ndjson_frames([b'{"a": 1}', b'\n{"a": 2}'])]
    [b'{"a": 1}', b'{"a": 2}']
    """
    pending = _Pending(limit)
    for block in _without_bom(blocks):
        lines = pending.add(block, b"\n")
        if lines is None:
            continue
        for line in lines.split(b"\n"):
            if line.startswith(b"{"):
                yield Frame(line)
            elif stripped := line.strip():
                _refuse_html(stripped)
                yield Frame(stripped)
    last = pending.rest().strip()
    if last:
        _refuse_html(last)
        yield Frame(last, whole=False)


class _Pending:
    """What has come since the last separator, up to a limit; each byte is joined once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, block: bytes, separator: bytes) -> bytes | None:
        """Everything before the last `separator`, or None if there is none yet.

        A separator of two equal bytes may be cut between blocks.
        """
        pieces = self._pieces
        if len(separator) > 1 and pieces and pieces[-1].endswith(separator[:1]) and block.startswith(separator[:1]):
            pieces[-1] = pieces[-1][:-1]
            block = separator[:1] + block
        cut = block.rfind(separator)
        if cut < 0:
            pieces.append(block)
            self._size += len(block)
            if self._size > self._limit:
                raise self._too_long()
            return None
        pieces.append(block[:cut])
        complete = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        self._pieces = [block[cut + len(separator) :]]
        self._size = len(self._pieces[0])
        if len(complete) > self._limit and max(map(len, complete.split(separator))) > self._limit:
            raise self._too_long()
        return complete

    def rest(self) -> bytes:
        return b"".join(self._pieces)

    def _too_long(self) -> ProtocolError:
        return ProtocolError(f"an event is longer than {self._limit} bytes")


def _frame(event: bytes) -> Frame | None:
    """The frame of one event; None where it has no data and is no comment either."""
    event = event.strip(b"\n")
    if not event:
        return None
    if event.startswith(b"event: "):
        name, separator, data = event[7:].partition(b"\ndata: ")
        if separator and b"\n" not in data and b"\n" not in name:
            return Frame(data, "" if name == b"message" else name.decode("utf-8", "replace"))
    first = event.lstrip()[:1]
    if first in (b"{", b"["):
        return Frame(event, bare=True)
    _refuse_html(event)
    return _parsed(event)


def _parsed(event: bytes) -> Frame | None:
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


def _refuse_html(text: bytes) -> None:
    if text.lstrip()[:1] == b"<":
        raise ProtocolError(
            "the server sent an HTML page instead of a stream: check base_url, and any proxy or login page"
        )


def _unix_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The body with LF for every line end; a CR at a block's end and an LF at the next one's start are one."""
    after_cr = False
    for block in _without_bom(blocks):
        lines = block[1:] if after_cr and block.startswith(b"\n") else block
        after_cr = block.endswith(b"\r")
        if b"\r" in lines:
            lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if lines:
            yield lines


def _without_bom(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(blocks)
    head = b""
    for block in rest:
        head += block
        if len(head) >= len(_BOM) or not _BOM.startswith(head):
            break
    yield head.removeprefix(_BOM)
    yield from rest
