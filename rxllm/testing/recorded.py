"""A request that a scripted server received, and when its client closed the connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Literal, TypeAlias

from .._json import is_array, is_object, object_in, objects_at, text_at

WireName: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic", "gemini", "ollama"]


class RecordedRequest:
    """One request that the server received.

    Args:
        method: the HTTP method, in upper case.
        path: the path with its query.
        headers: the headers; names are in lower case.
        body: the body as bytes.
        attempt: how many requests with this path and body have come, from 1.

    Attributes:
        wire: the protocol that the path belongs to; None if it is not a request for an answer.
        json: the body as a JSON object; empty if it is none.
        received_at: when it came, in seconds of `time.monotonic`.
        closed: set once the client has closed the connection, inside the answer or long after it.
        closed_at: when that was, in seconds of `time.monotonic`; None before.
        answered: set once the whole answer is sent.
        bytes_sent: how many bytes of the body are sent so far.
    """

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes, attempt: int = 1) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.attempt = attempt
        self.wire: WireName | None = _wire_of(path)
        self.json: Mapping[str, object] = object_in(body) or {}
        self.received_at = time.monotonic()
        self.closed = threading.Event()
        self.closed_at: float | None = None
        self.answered = threading.Event()
        self.bytes_sent = 0

    def __repr__(self) -> str:
        return f"RecordedRequest({self.method} {self.path}, attempt={self.attempt}, model={self.model!r})"

    @property
    def model(self) -> str:
        """Return the name of the model that the request asks for."""
        if self.wire == "gemini":
            return self.path.rpartition("/")[2].partition(":")[0]
        return text_at(self.json, "model") or ""

    @property
    def prompt(self) -> str:
        """Return the text of the last message, in any protocol."""
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


def _text_in(value: object) -> str:
    """Return the text of a message in any protocol."""
    if isinstance(value, str):
        return value
    if is_array(value):
        return "".join(map(_text_in, value))
    if not is_object(value):
        return ""
    if "parts" in value:
        return "".join(text_at(part, "text") or "" for part in objects_at(value, "parts"))
    return _text_in(value["content"]) if "content" in value else text_at(value, "text") or ""
