"""The options that a client may set, under the names that this package and OpenAI's Chat Completions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import msgspec

from .._json import is_object
from .._schema import converted
from ..errors import ConfigurationError
from ..options import CallOptions, JsonFormat, ReasoningEffort, Tool, format_of, tool_of
from .schema_check import check_schema

_Count = Annotated[int, msgspec.Meta(ge=1)]

MAX_TOOLS = 256


class ClientOptions(msgspec.Struct, frozen=True):
    """The options, each with its limits. A field that is None is not set."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=64)] | None = None
    seed: int | None = None
    reasoning: ReasoningEffort | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: Annotated[list[dict[str, object]], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, object] | None = None
    response_format: str | dict[str, object] | None = None


OPTION_NAMES = frozenset(ClientOptions.__struct_fields__)


def options_of(body: Mapping[str, object]) -> CallOptions:
    """Return the options in a request's body.

    Args:
        body: The whole body; other fields are ignored here.

    Raises:
        ConfigurationError: An option has a wrong value, or a schema is refused.

    Example:
        >>> options_of({"temperature": 0.5, "max_completion_tokens": 9, "base_url": "http://evil.example"})
        {'temperature': 0.5, 'max_tokens': 9}
    """
    options = msgspec.structs.asdict(converted(body, ClientOptions, "the request's options"))
    for alias, name in (("max_completion_tokens", "max_tokens"), ("reasoning_effort", "reasoning")):
        other = options.pop(alias)
        options[name] = options[name] or other
    options["tools"] = tuple(map(checked_tool, options["tools"] or ())) or None
    options["tool_choice"] = _tool_choice(options["tool_choice"])
    options["response_format"] = _response_format(options["response_format"])
    return cast("CallOptions", {name: value for name, value in options.items() if value is not None})


def checked_tool(tool: Mapping[str, object]) -> Tool:
    """Return the tool in a dict of the OpenAI form or of `Tool`'s own; its schema is checked."""
    if tool.get("type", "function") != "function":
        raise ConfigurationError(f"a tool of type {tool.get('type')!r} is not supported; functions are")
    made = tool_of(dict(tool))
    check_schema(made.parameters, f"the parameters of the tool {made.name!r}")
    return made


def checked_format(schema: object, name: str = "answer") -> JsonFormat:
    """Return the answer format of this JSON schema, checked."""
    if not is_object(schema):
        raise ConfigurationError("response_format needs a JSON schema")
    check_schema(schema, "the schema of response_format")
    return JsonFormat(schema, name)


def _tool_choice(value: str | dict[str, object] | None) -> str | None:
    """Return a word such as "auto", or the name of the function in a dict of OpenAI's form."""
    if not isinstance(value, dict):
        return value
    function = value.get("function", value)
    name = function.get("name") if is_object(function) else None
    if not isinstance(name, str):
        raise ConfigurationError("tool_choice is a word, or names a function")
    return name


def _response_format(value: str | dict[str, object] | None) -> JsonFormat | None:
    """Return the answer's format: "json" or a schema, in this package's form or OpenAI's."""
    if not isinstance(value, dict):
        return format_of(value)
    match value.get("type"):
        case "text":
            return None
        case "json_object":
            return JsonFormat()
        case "json_schema":
            wrapped = value.get("json_schema", value)
            inner = wrapped if is_object(wrapped) else {}
            name = inner.get("name")
            return checked_format(inner.get("schema"), name if isinstance(name, str) else "answer")
        case _:
            return checked_format(value)
