"""The address, headers and request of the OpenAI Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._endpoint import Endpoint
from .._request import endpoint_url, header_fields
from .decoder import OpenAIResponsesDecoder
from .request import responses_request


class OpenAIResponses:
    """The wire to the Responses API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The address before /responses, which may have a query; a pasted full address works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "", "/responses", pasted="/chat/completions|/models")
        self._endpoint = Endpoint(OpenAIResponsesDecoder.wire, provider, self._url)
        bearer = None if api_key is None else f"Bearer {api_key}"
        self._headers = header_fields({"Authorization": bearer}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what this wire cannot take."""
        body = responses_request(messages, model, options, self._endpoint)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIResponsesDecoder:
        """Return a new decoder for one answer."""
        return OpenAIResponsesDecoder(self._endpoint.provider, self._endpoint)
