"""Requests and replies as plain values: what the service sees of HTTP, whichever framework carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._json import decode, encode, is_object
from ..errors import ConfigurationError
from .formats.openai_chat import openai_error, openai_status
from .stream_body import StreamBody

MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request; names of headers are in lower case, `client` is the address it came from."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str

    def json(self) -> dict[str, object]:
        """The body's JSON object; raises `ConfigurationError` where it is none."""
        try:
            value = decode(self.body)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError("the request's body is not JSON") from error
        if not is_object(value):
            raise ConfigurationError("the request's body is not a JSON object")
        return value


@dataclass(frozen=True)
class HttpResponse:
    """One HTTP response: bytes, or a feed, which brings its own headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | StreamBody = b""


def json_response(value: object, status: int = 200) -> HttpResponse:
    """`value` as JSON."""
    return HttpResponse(status, {"content-type": "application/json", "cache-control": "no-store"}, encode(value))


def refusal(status: int, message: str) -> HttpResponse:
    """A refusal, in the form that OpenAI clients and our own read alike."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return json_response({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


def error_response(error: Exception) -> HttpResponse:
    """What `error` comes to as a response."""
    reply = json_response({"error": openai_error(error)}, openai_status(error))
    retry_after = getattr(error, "retry_after", None)
    headers = (
        {**reply.headers, "retry-after": str(round(retry_after) or 1)} if retry_after is not None else reply.headers
    )
    return HttpResponse(reply.status, headers, reply.body)
