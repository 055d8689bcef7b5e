"""What is asked over OpenAI Chat Completions: the body of a request, in a vendor's dialect."""

from __future__ import annotations

from collections.abc import Sequence

from .._json import encode, is_array, is_object, object_at
from ..errors import ConfigurationError
from ..messages import Message
from ..options import JsonFormat, Options, Tool
from ._openai_dialect import Dialect
from ._openai_messages import wire_messages

_SAMPLING = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")


def chat_request(messages: Sequence[Message], model: str, options: Options, dialect: Dialect, provider: str) -> bytes:
    """The JSON body that asks for one streamed answer.

    Raises `ConfigurationError` naming the option or part that `dialect` has no words for.
    """
    for name in dialect.refuses:
        if getattr(options, name):
            raise unsupported(provider, name)
    body: dict[str, object] = {
        "model": model,
        "messages": wire_messages(messages, dialect, provider, with_tools=bool(options.tools)),
        "stream": True,
    }
    if dialect.stream_options:
        body["stream_options"] = {"include_usage": True}
    for name in _SAMPLING:
        if (value := getattr(options, name)) is not None:
            body[name] = value
    if options.max_tokens is not None:
        body[dialect.max_tokens] = options.max_tokens
    if options.seed is not None:
        body[dialect.seed] = options.seed
    if options.stop is not None:
        body["stop"] = options.stop
    body |= _reasoning(options.reasoning, dialect, provider)
    if options.response_format is not None:
        body["response_format"] = _response_format(options.response_format, dialect, provider)
    if options.tools:
        body["tools"] = [{"type": "function", "function": _function(tool)} for tool in options.tools]
    if options.tool_choice is not None:
        body["tool_choice"] = _tool_choice(options.tool_choice, options.tools, dialect)
    return encode(body | dict(options.extra_body or {}))


def unsupported(provider: str, what: str) -> ConfigurationError:
    """The error for an option or part that a provider cannot take."""
    return ConfigurationError(
        f"provider {provider!r} does not take {what!r}; a field of its own can go into extra_body", provider=provider
    )


def _reasoning(wanted: str | int | None, dialect: Dialect, provider: str) -> dict[str, object]:
    if wanted is None:
        return {}
    if isinstance(wanted, str):
        if wanted not in dialect.efforts:
            raise unsupported(provider, f"reasoning={wanted}")
        return {"reasoning": {"effort": wanted}} if dialect.reasoning == "reasoning" else {"reasoning_effort": wanted}
    if dialect.reasoning == "reasoning":
        return {"reasoning": {"max_tokens": wanted}}
    if dialect.reasoning_budget is None:
        raise unsupported(provider, f"reasoning={wanted}")
    return {dialect.reasoning_budget: wanted}


def _response_format(wanted: JsonFormat, dialect: Dialect, provider: str) -> dict[str, object]:
    if wanted.schema is None and "json_object" in dialect.formats:
        return {"type": "json_object"}
    if "json_schema" not in dialect.formats:
        raise unsupported(provider, "response_format with a schema")
    schema = wanted.schema if wanted.schema is not None else {"type": "object"}
    described: dict[str, object] = {"name": wanted.name, "schema": schema}
    if _is_strict(schema):
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def _is_strict(schema: object) -> bool:
    """Whether a schema keeps the rules of OpenAI's strict mode, which refuses any other.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if is_array(schema):
        return all(map(_is_strict, schema))
    if not is_object(schema):
        return True
    properties = object_at(schema, "properties")
    if schema.get("type") == "object" or properties:
        required = schema.get("required")
        named = set(map(str, required)) if is_array(required) else set[str]()
        if schema.get("additionalProperties") is not False or named != set(properties):
            return False
    return all(map(_is_strict, (*properties.values(), *object_at(schema, "$defs").values()))) and all(
        _is_strict(schema[name]) for name in ("items", "anyOf") if name in schema
    )


def _function(tool: Tool) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function


def _tool_choice(choice: str, tools: Sequence[Tool], dialect: Dialect) -> object:
    if choice in ("auto", "none"):
        return choice
    if choice == "required":
        return dialect.any_tool
    if choice not in [tool.name for tool in tools]:
        raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
    return {"type": "function", "function": {"name": choice}}
