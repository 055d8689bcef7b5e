"""The body of an OpenAI Chat Completions request, in a vendor's dialect."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigurationError
from ...messages import Message
from ...options import JsonFormat, Options, Tool
from .._request import body_bytes, refuse_format_beside_tools, unsupported_option, without_none
from .._strict import is_strict
from .dialect import Dialect
from .messages import wire_messages

_ADVICE = "a field that only this vendor knows can go into extra_body"


def chat_request(messages: Sequence[Message], model: str, options: Options, dialect: Dialect, provider: str) -> bytes:
    """Build the JSON body for one streamed answer.

    Raises `ConfigurationError` naming the option or part that `dialect` has no words for.
    """
    for name in dialect.unsupported:
        if getattr(options, name) not in (None, ()):
            raise unsupported_option(name, provider, _ADVICE)
    if not dialect.format_beside_tools:
        refuse_format_beside_tools(options, provider)
    body: dict[str, object] = {
        "model": model,
        "messages": wire_messages(messages, dialect, provider, with_tools=bool(options.tools)),
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
        "tools": list(map(_tool, options.tools)) or None,
        "tool_choice": _tool_choice(options.tool_choice, options.tools, dialect),
        **_reasoning(options.reasoning, dialect, provider),
    }
    return body_bytes(body, options.extra_body)


def _reasoning(wanted: str | int | None, dialect: Dialect, provider: str) -> dict[str, object]:
    if wanted is None:
        return {}
    if isinstance(wanted, str):
        if wanted not in dialect.efforts:
            raise unsupported_option("reasoning", provider, f"it knows {' '.join(dialect.efforts)}, not {wanted!r}")
        return {"reasoning": {"effort": wanted}} if dialect.reasoning == "reasoning" else {"reasoning_effort": wanted}
    if dialect.reasoning == "reasoning":
        return {"reasoning": {"max_tokens": wanted}}
    if dialect.reasoning_budget is None:
        raise unsupported_option("reasoning", provider, f"it knows {' '.join(dialect.efforts)}, no token budget")
    return {dialect.reasoning_budget: wanted}


def _response_format(wanted: JsonFormat | None, dialect: Dialect, provider: str) -> dict[str, object] | None:
    if wanted is None:
        return None
    if wanted.schema is None and "json_object" in dialect.formats:
        return {"type": "json_object"}
    if "json_schema" not in dialect.formats:
        raise unsupported_option("response_format", provider, 'it knows "json" only, no schemas')
    schema = wanted.schema if wanted.schema is not None else {"type": "object"}
    described: dict[str, object] = {"name": wanted.name, "schema": schema}
    if is_strict(schema):
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def _tool(tool: Tool) -> dict[str, object]:
    description = tool.description or None
    function = without_none(name=tool.name, description=description, parameters=tool.parameters, strict=tool.strict)
    return {"type": "function", "function": function}


def _tool_choice(choice: str | None, tools: Sequence[Tool], dialect: Dialect) -> object:
    if choice in (None, "auto", "none"):
        return choice
    if choice == "required":
        return dialect.required_choice
    if choice not in [tool.name for tool in tools]:
        raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
    return {"type": "function", "function": {"name": choice}}
