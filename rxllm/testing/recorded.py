"""What a scripted server saw of a request, and when its client left."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Literal, TypeAlias

from .._json import decode, is_array, is_object, objects_at, text_at

WireName: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic", "gemini", "ollama"]


class RecordedRequest:
    """One request as it came in. Names of headers are in lower case.

    `wire` is the protocol its path belongs to, None where it is no request for an answer.
    `attempt` counts the requests with this path and body, from 1. `closed` is set once the client
    has closed the connection (`closed_at` on `time.monotonic`'s clock), be it in the middle of the
    answer or long after; `answered` once the whole answer was sent.
    """

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes, attempt: int) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.attempt = attempt
        self.wire: WireName | None = _wire_of(path)
        self.json = _object_in(body)
        self.received_at = time.monotonic()
        self.closed = threading.Event()
        self.closed_at: float | None = None
        self.answered = threading.Event()
        self.bytes_sent = 0

    def __repr__(self) -> str:
        return f"RecordedRequest({self.method} {self.path}, attempt={self.attempt}, model={self.model!r})"

    @property
    def model(self) -> str:
        """The model the request asks for."""
        if self.wire == "gemini":
            return self.path.rpartition("/")[2].partition(":")[0]
        return text_at(self.json, "model") or ""

    @property
    def prompt(self) -> str:
        """The text of the last message, whatever the protocol."""
        source = self.json.get("input", self.json.get("messages", self.json.get("contents")))
        if is_array(source):
            source = source[-1] if source else ""
        return _text_in(source)


_PATHS: tuple[tuple[str, WireName], ...] = (
    ("/chat/completions", "openai-chat"),
    ("/responses", "openai-responses"),
    ("/messages", "anthropic"),
    (":streamGenerateContent", "gemini"),
    ("/api/chat", "ollama"),
)


def _wire_of(path: str) -> WireName | None:
    bare = path.partition("?")[0].rstrip("/")
    return next((wire for end, wire in _PATHS if bare.endswith(end)), None)


def _object_in(body: bytes) -> Mapping[str, object]:
    try:
        value = decode(body)
    except (ValueError, RecursionError):
        return {}
    return value if is_object(value) else {}


def _text_in(value: object) -> str:
    """The text in a message of any protocol."""
    if isinstance(value, str):
        return value
    if is_array(value):
        return "".join(map(_text_in, value))
    if not is_object(value):
        return ""
    if "parts" in value:
        return "".join(text_at(part, "text") or "" for part in objects_at(value, "parts"))
    return _text_in(value["content"]) if "content" in value else text_at(value, "text") or ""
