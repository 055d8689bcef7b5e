"""The address, headers and request of Gemini generateContent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._request import endpoint, header_fields
from .decoder import GeminiDecoder
from .request import generate_request


class Gemini:
    """The Gemini API at `base_url`, the host root (a /v1beta or other version at its end stays)."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._base_url = base_url
        self._headers = header_fields(
            {"x-goog-api-key": api_key, "Content-Type": "application/json", "Accept": "text/event-stream"}, headers
        )

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        name = quote(model if "/" in model else f"models/{model}")
        url = endpoint(self._base_url, "/v1beta", f"/{name}:streamGenerateContent", "alt=sse")
        return WireRequest(url, dict(self._headers), generate_request(messages, model, options, self._provider))

    def decoder(self) -> GeminiDecoder:
        """Return a new decoder for one answer."""
        return GeminiDecoder(self._provider)
