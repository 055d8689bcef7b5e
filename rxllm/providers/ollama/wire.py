"""The address, headers and request of Ollama /api/chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._request import endpoint, header_fields
from .decoder import OllamaDecoder
from .request import chat_request


class Ollama:
    """The chat API at `base_url`, the host root (an /api at its end is not doubled)."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._url = endpoint(base_url, "/api", "/chat")
        self._headers = header_fields(
            {
                "Authorization": f"Bearer {api_key}" if api_key else None,
                "Content-Type": "application/json",
                "Accept": "application/x-ndjson",
            },
            headers,
        )

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = chat_request(messages, model, options, self._provider)
        return WireRequest(self._url, dict(self._headers), body, framing="ndjson")

    def decoder(self) -> OllamaDecoder:
        """Return a new decoder for one answer."""
        return OllamaDecoder(self._provider)
