"""HTTP/1.1 messages: the head of a request and of a response, and how a body is framed; no I/O.

Source: RFC 9112, https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import ConfigurationError, ProtocolError

MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 256
_MAX_INTERIM = 100
"""Interim (1xx) responses before the final one."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: .*)?", re.DOTALL)
_HEADER_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate"})
_NO_CODINGS = frozenset({"", "identity", "none", "utf-8"})
"""What stands in Content-Encoding though nothing is encoded: "none" keeps some frameworks from compressing a stream."""


class ResponseHead(NamedTuple):
    """The status line and the headers of a response.

    `headers` have lower-case names; the values of a repeated header are joined by ", ". `cookies` are the values of
    Set-Cookie, which cannot be joined.
    """

    status: int
    headers: dict[str, str]
    cookies: tuple[str, ...]
    keeps_alive: bool
    """The connection may serve another request after the body."""


class BodyFraming(NamedTuple):
    """How the length of a body is known: chunked, by its `length` in bytes, or (None) by the end of the connection."""

    chunked: bool
    length: int | None
    is_compressed: bool = False


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` if a header that the user sets cannot be sent, or would change the body's framing."""
    for name, value in headers.items():
        kind = type(value).__name__
        if kind != "str":
            raise ConfigurationError(f"the value of the header {name!r} must be a string; got {kind}")
        if name.lower() in _FRAMING_HEADERS:
            raise ConfigurationError(f"the header {name!r} is set by rxllm itself and cannot be overridden")
        _header_line(name, value)


def request_head(target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the bytes of a POST request up to its body.

    Raises:
        ConfigurationError: A header contains characters that HTTP does not allow.
    """
    lines = (f"POST {target} HTTP/1.1", *(_header_line(name, value) for name, value in headers), "", "")
    return "\r\n".join(lines).encode("latin-1")


def _header_line(name: str, value: str) -> str:
    line = f"{name}: {value}"
    if not _HEADER_LINE.fullmatch(line):
        raise ConfigurationError(
            f"the name or the value of the header {name!r} has a character that HTTP does not allow"
        )
    return line


def parse_head(data: bytes) -> tuple[ResponseHead, bytes] | None:
    r"""Return the head of a response and the bytes that follow it; None if `data` does not contain all of it.

    Raises:
        ProtocolError: The bytes are not an HTTP/1 response, or the head exceeds 64 KiB or 256 headers.

    >>> head, rest = parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHi")
    >>> head.status, head.headers, rest
    (200, {'content-length': '2'}, b'Hi')
    """
    size = len(data)  # with the empty lines before the response, which are endless from a bad server
    data = data.lstrip(b"\r\n") if data[:1] in (b"\r", b"\n") else data
    blank = _BLANK_LINE.search(data)
    end = size if blank is None else blank.start()
    if end > MAX_HEAD_BYTES:
        raise ProtocolError(f"the headers of the response exceed {MAX_HEAD_BYTES} bytes")
    if not b"HTTP/1.".startswith(data[:7]):
        raise ProtocolError(f"the response is not HTTP/1: {data[:40]!r}")
    if blank is None:
        return None
    status_line, *lines = data[:end].removesuffix(b"\r").replace(b"\r\n", b"\n").split(b"\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise ProtocolError(f"the response has no valid status line: {status_line[:40]!r}")
    if len(lines) > _MAX_HEADERS:
        raise ProtocolError(f"the response has more than {_MAX_HEADERS} headers")
    headers, cookies = _headers(lines)
    options = headers.get("connection", "").lower()
    keeps_alive = "close" not in options if match[1] == b"1" else "keep-alive" in options
    keeps_alive = keeps_alive and not {"transfer-encoding", "content-length"} <= headers.keys()  # RFC 9112, section 6.1
    return ResponseHead(int(match[2]), headers, cookies, keeps_alive), data[blank.end() :]


def parse_final_head(data: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return the head of the first response that is not interim (1xx), and the bytes that follow it; None if it lacks.

    Raises:
        ProtocolError: As `parse_head`; or there are too many interim responses, or one that switches protocols.
    """
    for _ in range(_MAX_INTERIM):
        parsed = parse_head(data)
        if parsed is None or parsed[0].status >= 200:
            return parsed
        if parsed[0].status == 101:
            raise ProtocolError("the server switched protocols (HTTP 101), which the request did not ask for")
        data = parsed[1]
    raise ProtocolError(f"the server sent {_MAX_INTERIM} interim responses")


def _headers(lines: Iterable[bytes]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the headers, repeated ones joined by commas, and the cookies, which cannot be joined."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    name = ""
    for line in lines:
        text = line.decode("latin-1")
        if text[:1] in (" ", "\t") and name:  # obsolete line folding
            headers[name] = f"{headers.get(name, '')} {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            continue
        if name == "set-cookie":
            cookies.append(value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, tuple(cookies)


def body_framing(head: ResponseHead) -> BodyFraming:
    """Return how the body of a response is framed.

    Raises:
        ProtocolError: The headers contradict each other, or name a coding that rxllm does not know.
    """
    if head.status in (204, 304):
        return BodyFraming(chunked=False, length=0)
    content, transfer = head.headers.get("content-encoding", ""), head.headers.get("transfer-encoding")
    codings = [coding.strip().lower() for coding in f"{content},{transfer or ''}".split(",")]
    codings = [coding for coding in codings if coding not in _NO_CODINGS]
    chunked = False
    while transfer is not None and codings[-1:] == ["chunked"]:  # some proxies repeat it, and chunk once
        chunked = bool(codings.pop())
    is_readable = len(codings) <= 1 and _COMPRESSIONS.issuperset(codings)
    if not is_readable and head.status < 300:  # of other statuses, the status alone is an error
        raise ProtocolError(f"the body is encoded as {', '.join(codings)!r}, which rxllm cannot read")
    is_compressed = bool(codings) and is_readable
    lengths = {length.strip() for length in head.headers.get("content-length", "").split(",")} - {""}
    if transfer is not None:
        return BodyFraming(chunked, None, is_compressed)
    if len(lengths) > 1:
        raise ProtocolError("the response has several Content-Length headers that differ")
    length = next(iter(lengths), "")
    size = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    return BodyFraming(chunked, size, is_compressed)
