"""HTTP requests and responses as plain values: what the service sees of HTTP, whichever server carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._json import decode, encode, is_object
from ..errors import ConfigurationError
from .formats.errors import ErrorBody
from .stream_body import StreamBody

MAX_BODY_BYTES = 16 * 1024 * 1024

TOO_DEEP = ConfigurationError("the request's JSON is nested too deeply")


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request.

    Args:
        method: GET, POST and so on.
        path: The decoded path, without the prefix under which the service is mounted.
        query: The parameters after "?".
        headers: Names in lower case.
        body: The whole body, b"" before it has been read.
        client: The address of the client.
        user: Who asks, as `Service(authenticate=...)` returned it; "" on a server without it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str
    user: str = ""

    @property
    def account(self) -> str:
        """For whom limits count the request: its user, or else its address."""
        return f"user {self.user}" if self.user else self.client

    def json(self) -> dict[str, object]:
        """Return the JSON object in the body; raises `ConfigurationError` if there is none."""
        try:
            value = decode(self.body)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError("the request's body is not JSON") from error
        if not is_object(value):
            raise ConfigurationError("the request's body is not a JSON object")
        return value


@dataclass(frozen=True)
class HttpResponse:
    """One HTTP response.

    Args:
        status: The status code.
        headers: Names in lower case. A `StreamBody` has more.
        body: Bytes, or a stream.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | StreamBody = b""

    def with_headers(self, headers: Mapping[str, str]) -> HttpResponse:
        """Return this response with further headers."""
        return HttpResponse(self.status, {**self.headers, **headers}, self.body)


def json_response(value: object, status: int = 200) -> HttpResponse:
    """Return `value` as a JSON response."""
    return HttpResponse(status, {"content-type": "application/json", "cache-control": "no-store"}, encode(value))


def error_response(error: ErrorBody) -> HttpResponse:
    """Return an error as a response."""
    return HttpResponse(error.status, error.headers, error.body)
