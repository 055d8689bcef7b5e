"""The address, headers and request of the Anthropic Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._request import endpoint, header_fields
from .decoder import AnthropicDecoder
from .request import messages_request


class Anthropic:
    """The Messages API at `base_url`, the host root (a /v1 at its end is not doubled)."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._url = endpoint(base_url, "/v1", "/messages")
        self._headers = header_fields(
            {
                "x-api-key": api_key,
                "anthropic-version": "2023-06-01",
                "Content-Type": "application/json",
                "Accept": "text/event-stream",
            },
            headers,
        )

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        return WireRequest(self._url, dict(self._headers), messages_request(messages, model, options, self._provider))

    def decoder(self) -> AnthropicDecoder:
        """Return a new decoder for one answer."""
        return AnthropicDecoder(self._provider)
