"""Chunked bodies: read in any cut, refused when malformed, never taken for whole when cut off."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm._transport.chunked import ChunkedDecoder
from rxllm.errors import ProtocolError, StreamInterruptedError


def encode(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailers + b"\r\n"


def decode(wire: bytes, size: int) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder()
    body = b""
    for start in range(0, len(wire), size):
        body += decoder.feed(wire[start : start + size])
        if decoder.failure is not None:
            raise decoder.failure
    return body, decoder


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30), st.sampled_from([b"", b"X-Sum: 1\r\nY: 2\r\n"]))
def test_any_cut_gives_the_body(pieces: list[bytes], size: int, trailers: bytes) -> None:
    """Chunk borders and read borders are both invisible; trailers are skipped."""
    body, decoder = decode(encode(pieces, trailers), size)
    assert (body, decoder.done, decoder.surplus) == (b"".join(pieces), True, False)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_a_cut_body_is_an_error(pieces: list[bytes], data: st.DataObject) -> None:
    """A connection that ends at any byte before the last chunk's end is an interruption."""
    wire = encode(pieces)
    end = data.draw(st.integers(0, len(wire) - 1))
    _, decoder = decode(wire[:end], 7)
    with pytest.raises(StreamInterruptedError):
        decoder.end()


@pytest.mark.parametrize("wire", [b"zz\r\nab\r\n", b"-1\r\nab\r\n", b"\r\n", b"2\r\nabc\r\n"])
def test_a_malformed_chunk_is_an_error(wire: bytes) -> None:
    """Sizes that are no numbers, and chunks longer than they say, are refused."""
    with pytest.raises(ProtocolError):
        decode(wire, len(wire))


@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\nab\r\n", b"1" * 20_000], ids=["no number", "negative", "endless"])
def test_what_precedes_a_malformed_chunk_is_returned(rest: bytes) -> None:
    """It has arrived; the failure follows it."""
    decoder = ChunkedDecoder()
    assert decoder.feed(encode([b"Hello", b" world"]).removesuffix(b"0\r\n\r\n") + rest) == b"Hello world"
    assert isinstance(decoder.failure, ProtocolError)


def test_another_answer_in_the_middle_is_an_interruption() -> None:
    """A proxy that loses its upstream says so where a chunk should be; the same request may succeed later."""
    decoder = ChunkedDecoder()
    broken_off = encode([b"Hello"]).removesuffix(b"0\r\n\r\n") + b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
    assert decoder.feed(broken_off) == b"Hello"
    assert isinstance(decoder.failure, StreamInterruptedError)


def test_a_chunk_header_without_end_is_refused() -> None:
    """A header that never ends does not fill the memory."""
    decoder = ChunkedDecoder()
    with pytest.raises(ProtocolError):
        deque(map(decoder.feed, [b"1" * 1000] * 100), maxlen=0)


def test_bytes_after_the_end_are_noticed() -> None:
    """A connection with surplus bytes must not serve again."""
    body, decoder = decode(encode([b"a"]) + b"HTTP/1.1 200", 100)
    assert (body, decoder.surplus) == (b"a", True)
