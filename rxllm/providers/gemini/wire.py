"""The address, headers and request of Gemini generateContent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ..._protocol import WireRequest
from ...messages import Message
from ...options import Options
from .._endpoint import Endpoint
from .._request import endpoint_url, header_fields
from .decoder import GeminiDecoder
from .request import generate_request

_PASTED = r"/openai(?:/chat/completions)?|/models(?:/[^/]*)?"
"""What stands behind the version in the addresses of the OpenAI surface, and of single models."""
_FUNCTION_NAME = r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"
"""Source: https://ai.google.dev/api/caching#FunctionDeclaration"""


class Gemini:
    """The wire to the Gemini API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; a /v1beta or another version at its end stays, a pasted path of a model or of the
            OpenAI surface is cut off.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._base_url = base_url
        self._endpoint = Endpoint(GeminiDecoder.wire, provider, self._url(""), tool_name=_FUNCTION_NAME)
        self._headers = header_fields({"x-goog-api-key": api_key}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        name = quote(model if "/" in model else f"models/{model}")
        url = self._url(f"/{name}:streamGenerateContent", "alt=sse")
        return WireRequest(url, dict(self._headers), generate_request(messages, model, options, self._endpoint))

    def decoder(self) -> GeminiDecoder:
        """Return a new decoder for one answer."""
        return GeminiDecoder(self._endpoint.provider, self._endpoint)

    def _url(self, path: str, query: str = "") -> str:
        return endpoint_url(self._base_url, "/v1beta", path, query, pasted=_PASTED)
