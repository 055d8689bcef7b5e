"""Framing: any cut of any legal body gives the same frames, and nothing grows without bound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sseclient import SSEClient

from rxllm._protocol import Frame
from rxllm._transport.framing import NDJSONFraming, SSEFraming
from rxllm.errors import ProtocolError

from ..framed import framed

FIELD_LINES = st.sampled_from(
    [
        b"data: one",
        b"data:two",
        b"data: \xf0\x9f\x8e\x89 three",
        b"data",
        b"data:",
        b"event: ping",
        b"event: message",
        b"event:message",
        b"id: 7",
        b"retry: 3000",
        b": a comment",
        b"unknown: field",
        b" data: with a blank before",
    ]
)
EVENTS = st.lists(st.lists(FIELD_LINES, min_size=1, max_size=4), max_size=6)
LINE_END = st.sampled_from([b"\n", b"\r\n", b"\r"])


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def frames(*blocks: bytes) -> list[Frame]:
    return list(framed(SSEFraming(), blocks))


@given(EVENTS, LINE_END)
def test_frames_are_what_sseclient_reads(events: list[list[bytes]], line_end: bytes) -> None:
    """The short cut for plain events gives what sseclient-py gives for the same bytes."""
    body = b"".join(line_end.join(lines) + line_end + line_end for lines in events)
    # sseclient itself is fed line feeds: it does not split events at every mixture of line ends.
    reference = SSEClient(iter([body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")])).events()
    expected = [(event.data, "" if event.event == "message" else event.event) for event in reference if event.data]
    assert [(frame.data.decode(), frame.event) for frame in frames(body) if frame.data] == expected


@given(EVENTS, LINE_END, st.integers(min_value=1, max_value=9))
def test_the_cut_does_not_matter(events: list[list[bytes]], line_end: bytes, size: int) -> None:
    """However the network cuts the bytes, the frames are the same: CRLF, BOM and characters included."""
    body = b"\xef\xbb\xbf" + b"".join(line_end.join(lines) + line_end + line_end for lines in events)
    assert frames(*cut(body, size)) == frames(body)


def test_a_byte_order_mark_is_dropped() -> None:
    """A BOM is not a part of the first field's name."""
    assert frames(b"\xef", b"\xbb\xbfdata: 1\n\n") == [Frame(b"1")]


def test_several_data_lines_are_one_event() -> None:
    """Data lines join with line feeds, as the standard says."""
    assert frames(b"event: x\ndata: {\ndata: }\n\n") == [Frame(b"{\n}", "x")]


def test_dataless_events_are_no_frames() -> None:
    """Ids and retry hints alone say nothing."""
    assert frames(b"retry: 3\n\nid: 4\n\n\n\n") == []


def test_a_comment_is_a_frame_without_data() -> None:
    """A keep-alive is no event, but a watcher may want to know of it."""
    assert frames(b": keep-alive\n\n: and\ndata: 1\n\n") == [Frame(b""), Frame(b"1")]


def test_a_last_event_without_its_blank_line_is_passed_on_as_not_whole() -> None:
    """Some servers omit the last blank line; the decoder decides whether the event counts."""
    assert frames(b"data: 1\n\ndata: [DONE]") == [Frame(b"1"), Frame(b"[DONE]", whole=False)]


def test_an_error_field_is_an_error_event() -> None:
    """Some servers send `error:` where data belongs."""
    assert frames(b'error: {"message": "no"}\n\n') == [Frame(b'{"message": "no"}', "error")]


def test_a_bare_document_is_marked() -> None:
    """A JSON document outside any field is passed on whole, and as such."""
    assert frames(b'data: 1\n\n{\n  "error": {}\n}\n') == [
        Frame(b"1"),
        Frame(b'{\n  "error": {}\n}', whole=False, is_document=True),
    ]


@pytest.mark.parametrize("framing", [SSEFraming, NDJSONFraming])
def test_an_html_page_is_refused(framing: type[SSEFraming | NDJSONFraming]) -> None:
    """A proxy's or login page with status 200 is not an answer."""
    with pytest.raises(ProtocolError, match="HTML"):
        list(framed(framing(), [b"\n<!doctype html><html>", b"</html>\n\n"]))


@pytest.mark.parametrize("framing", [SSEFraming, NDJSONFraming])
def test_an_event_that_does_not_end_is_refused_at_the_limit(framing: type[SSEFraming | NDJSONFraming]) -> None:
    """Memory is bounded by the limit, whatever the server sends."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    with pytest.raises(ProtocolError, match="longer than 50000 bytes"):
        list(framed(framing(50_000), endless()))
    assert read <= 52_000


@pytest.mark.parametrize("framing", [SSEFraming, NDJSONFraming])
def test_what_came_before_an_event_that_is_too_long_is_read(framing: type[SSEFraming | NDJSONFraming]) -> None:
    """Also if both came in one block."""
    separator = b"\n\n" if framing is SSEFraming else b"\n"
    feed = iter(framing(50).feed(separator.join([b"data: 1", b"data: 2", b"x" * 51, b""])))
    assert [next(feed).data, next(feed).data] == [b"1", b"2"]
    with pytest.raises(ProtocolError, match="longer than 50 bytes"):
        next(feed)


def test_an_event_of_very_many_lines_is_refused() -> None:
    """Joining a million lines would take minutes."""
    with pytest.raises(ProtocolError, match="lines"):
        frames(b"data: x\n" * 1_000_000 + b"\n")


def test_bytes_that_are_no_utf8_do_not_escape_as_a_decode_error() -> None:
    """Invalid bytes are replaced where sseclient would raise, and passed on where nobody looks."""
    assert frames(b"data: \xff\n\n") == [Frame(b"\xff")]
    assert frames(b"data:\xff\n\n") == [Frame("\ufffd".encode())]


@given(st.lists(st.sampled_from([b'{"a": 1}', b"", b"  ", b"junk", b'{"b": "\xc3\xa9"}'])), st.integers(1, 9))
def test_ndjson_lines_do_not_depend_on_the_cut(lines: list[bytes], size: int) -> None:
    """Lines come out whole; blank ones are skipped; the last one may lack its line feed."""
    body = b"\n".join(lines)
    got = list(framed(NDJSONFraming(), cut(body, size)))
    assert [frame.data for frame in got] == [line.strip() for line in lines if line.strip()]
    assert [frame.whole for frame in got[:-1]] == [True] * (len(got) - 1 if got else 0)
