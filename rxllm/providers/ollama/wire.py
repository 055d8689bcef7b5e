"""The address, headers and request of Ollama /api/chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._endpoint import Endpoint
from .._request import endpoint_url, header_fields
from .decoder import OllamaDecoder
from .request import chat_request


class Ollama:
    """The wire to the chat API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; an /api, an /api/chat or the /v1 of its OpenAI surface at the end is cut off.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "/api", "/chat", pasted="/v1(?:/chat/completions)?|/api/generate")
        self._endpoint = Endpoint(OllamaDecoder.wire, provider, self._url)
        bearer = f"Bearer {api_key}" if api_key else None
        self._headers = header_fields({"Authorization": bearer}, headers, accept="application/x-ndjson")

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = chat_request(messages, model, options, self._endpoint)
        return WireRequest(
            self._url, dict(self._headers), body, framing="ndjson", if_refused="start Ollama: ollama serve"
        )

    def decoder(self) -> OllamaDecoder:
        """Return a new decoder for one answer."""
        return OllamaDecoder(self._endpoint.provider, self._endpoint)
