"""The address, headers and request of the OpenAI Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._request import endpoint, header_fields
from .decoder import OpenAIResponsesDecoder
from .request import responses_request


class OpenAIResponses:
    """The Responses API at `base_url`, which ends before /responses and may have a query."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._url = endpoint(base_url, "", "/responses")
        ours = {
            "Authorization": None if api_key is None else f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        self._headers = header_fields(ours, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what this wire cannot take."""
        body = responses_request(messages, model, options, self._provider)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIResponsesDecoder:
        """Return a new decoder for one answer."""
        return OpenAIResponsesDecoder(self._provider)
