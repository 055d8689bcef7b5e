"""Requests of OpenAI Chat Completions, in a vendor's dialect: address, headers and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ..._protocol import WireRequest
from ...errors import ConfigurationError
from ...messages import Message
from ...options import JsonFormat, Options, Tool
from .._endpoint import Endpoint
from .._request import (
    body_bytes,
    endpoint_url,
    header_fields,
    refuse_format_beside_tools,
    refuse_options,
    unsupported_option,
)
from .._tools_and_formats import chosen_tool, openai_format, openai_tool_schema, tool_fields
from ..model_rules import ModelRules, check_tools_on_chat, checked_rules, is_off
from .decoder import OpenAIChatDecoder
from .dialect import GATEWAY, Dialect
from .messages import wire_messages

_ADVICE = "a field that only this vendor knows can go into extra_body"


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


def chat_request(
    messages: Sequence[Message], model: str, options: Options, dialect: Dialect, endpoint: Endpoint
) -> bytes:
    """Build the JSON body for one streamed answer.

    Raises `ConfigurationError` naming the option or part that the vendor or the model does not take.
    """
    provider = endpoint.provider
    refuse_options(dialect.unsupported, options, provider, _ADVICE)
    rules = checked_rules(dialect.rules, model, options, provider)
    if rules is not None:
        check_tools_on_chat(rules, options, provider, model)
    if not dialect.format_beside_tools:
        refuse_format_beside_tools(options, provider)
    body: dict[str, object] = {
        "model": model,
        "messages": wire_messages(messages, dialect, endpoint, with_tools=bool(options.tools)),
        "stream": True,
        "stream_options": {"include_usage": True} if dialect.stream_options else None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "frequency_penalty": options.frequency_penalty,
        "presence_penalty": options.presence_penalty,
        "stop": options.stop,
        dialect.seed: options.seed,
        dialect.max_tokens: options.max_tokens,
        "response_format": _response_format(options.response_format, dialect, provider),
        "tools": [_tool(tool, endpoint) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options.tool_choice, options.tools, dialect, endpoint),
        **_reasoning(options.reasoning, dialect, rules, provider),
    }
    return body_bytes(body, options.extra_body)


def _reasoning(
    wanted: str | int | None, dialect: Dialect, rules: ModelRules | None, provider: str
) -> dict[str, object]:
    """Return the fields for an effort or a budget; how thinking is turned off depends on dialect and model."""
    if wanted is None:
        return {}
    if is_off(wanted):
        if dialect.reasoning_budget is not None:
            return {dialect.reasoning_budget: 0}
        if rules is not None and rules.off == "nothing":
            return {}
        return dict(dialect.reasoning_off or {"reasoning_effort": "none"})
    if isinstance(wanted, str):
        return {"reasoning": {"effort": wanted}} if dialect.reasoning == "reasoning" else {"reasoning_effort": wanted}
    if dialect.reasoning == "reasoning":
        return {"reasoning": {"max_tokens": wanted}}
    if dialect.reasoning_budget is None:
        raise unsupported_option("reasoning", provider, 'it takes an effort such as "low", no token budget')
    return {dialect.reasoning_budget: wanted}


def _response_format(wanted: JsonFormat | None, dialect: Dialect, provider: str) -> dict[str, object] | None:
    """Return the requested format, or its nearest that the vendor knows."""
    if wanted is None:
        return None
    if wanted.schema is None and "json_object" in dialect.formats:
        return {"type": "json_object"}
    if "json_schema" not in dialect.formats:
        raise unsupported_option("response_format", provider, 'it knows "json" only, no schemas')
    return {"type": "json_schema", "json_schema": openai_format(wanted, provider, object_root=dialect.object_root)}


def _tool(tool: Tool, endpoint: Endpoint) -> dict[str, object]:
    parameters = openai_tool_schema(tool, endpoint.provider)
    return {"type": "function", "function": tool_fields(tool, endpoint, parameters=parameters, strict=tool.strict)}


def _tool_choice(choice: str | None, tools: Sequence[Tool], dialect: Dialect, endpoint: Endpoint) -> object:
    if choice in (None, "auto", "none"):
        return choice
    if choice == "required":
        return dialect.required_choice
    return {"type": "function", "function": {"name": chosen_tool(choice, tools, endpoint)}}
