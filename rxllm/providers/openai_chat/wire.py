"""The address, headers and request of OpenAI Chat Completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ..._protocol import WireRequest
from ...errors import ConfigurationError
from ...messages import Message
from ...options import Options
from .._endpoint import Endpoint
from .._request import endpoint_url, header_fields
from .decoder import OpenAIChatDecoder
from .dialect import GATEWAY, Dialect
from .request import chat_request


class OpenAIChat:
    """The wire to Chat Completions at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The address before /chat/completions, which may have a query; a pasted full address works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
        dialect: What the vendor takes; by default what an unknown gateway takes.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        api_key: str | None,
        headers: Mapping[str, str],
        dialect: Dialect = GATEWAY,
    ) -> None:
        if urlsplit(base_url).path.rstrip("/").endswith("/responses"):
            raise ConfigurationError(
                f"the base_url for {provider!r} is that of the Responses API: use the provider 'openai-responses'",
                provider=provider,
            )
        self._url = endpoint_url(base_url, "", "/chat/completions", pasted="/completions|/models")
        self._endpoint = Endpoint(OpenAIChatDecoder.wire, provider, self._url)
        self._dialect = dialect
        bearer = "Bearer " if dialect.key_header == "Authorization" else ""
        key = None if api_key is None else bearer + api_key
        self._headers = header_fields({dialect.key_header: key}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the vendor cannot take."""
        body = chat_request(messages, model, options, self._dialect, self._endpoint)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIChatDecoder:
        """Return a new decoder for one answer."""
        return OpenAIChatDecoder(self._endpoint.provider, self._endpoint)
