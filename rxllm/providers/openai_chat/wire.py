"""The address, headers and request of OpenAI Chat Completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._request import endpoint, header_fields
from .decoder import OpenAIChatDecoder
from .dialect import GATEWAY, Dialect
from .request import chat_request


class OpenAIChat:
    """Chat Completions at `base_url`, which ends before /chat/completions and may have a query."""

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        api_key: str | None,
        headers: Mapping[str, str],
        dialect: Dialect = GATEWAY,
    ) -> None:
        self._provider = provider
        self._url = endpoint(base_url, "/chat/completions", "")
        self._dialect = dialect
        bearer = "Bearer " if dialect.key_header == "Authorization" else ""
        key = None if api_key is None else bearer + api_key
        ours = {dialect.key_header: key, "Content-Type": "application/json", "Accept": "text/event-stream"}
        self._headers = header_fields(ours, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the vendor cannot take."""
        body = chat_request(messages, model, options, self._dialect, self._provider)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIChatDecoder:
        """Return a new decoder for one answer."""
        return OpenAIChatDecoder(self._provider)
