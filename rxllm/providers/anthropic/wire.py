"""The address, headers and request of the Anthropic Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._endpoint import Endpoint
from .._request import endpoint_url, header_fields
from .decoder import AnthropicDecoder
from .request import DROP_THOUGHTS_BETA, messages_request


class Anthropic:
    """The wire to the Messages API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; a /v1 or the full address of the Messages API works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "/v1", "/messages")
        self._endpoint = Endpoint(AnthropicDecoder.wire, provider, self._url)
        self._headers = header_fields({"x-api-key": api_key, "anthropic-version": "2023-06-01"}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = messages_request(messages, model, options, self._endpoint)
        headers = dict(self._headers)
        if b'"block_binding":{' in body:
            name = next((name for name in headers if name.lower() == "anthropic-beta"), "anthropic-beta")
            others = [each for each in headers.get(name, "").split(",") if each.strip() not in ("", DROP_THOUGHTS_BETA)]
            headers[name] = ",".join([*others, DROP_THOUGHTS_BETA])
        return WireRequest(self._url, headers, body)

    def decoder(self) -> AnthropicDecoder:
        """Return a new decoder for one answer."""
        return AnthropicDecoder(self._endpoint.provider, self._endpoint)
