"""Tools and answer formats: their JSON schemas as a vendor takes them, or an error that names tool or format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import ConfigurationError
from ..options import JsonFormat, Tool
from ._endpoint import Endpoint
from ._request import unsupported_option, without_none
from ._schemas import SchemaError, format_name, inlined_parameters, strict_schema, tool_parameters


def tool_fields(tool: Tool, endpoint: Endpoint, **fields: object) -> dict[str, object]:
    """Return the name and the description of a tool, and the `fields` that have a value."""
    return without_none(name=endpoint.wire_name(tool.name), description=tool.description or None, **fields)


def tool_schema(
    tool: Tool, provider: str, rewritten: Callable[[dict[str, object]], dict[str, object]]
) -> dict[str, object]:
    """Return the `rewritten` schema of a tool; raise `ConfigurationError` naming the tool and the reason."""
    try:
        return rewritten(tool_parameters(tool))
    except SchemaError as error:
        strict = " with strict=True" if tool.strict else ""
        raise ConfigurationError(
            f"{provider!r} cannot take the tool {tool.name!r}{strict}: {error}", provider=provider
        ) from error


def openai_tool_schema(tool: Tool, provider: str) -> dict[str, object]:
    """Return a tool's schema as both APIs of OpenAI take it; raise what `tool_schema` raises."""
    return tool_schema(tool, provider, strict_schema if tool.strict else inlined_parameters)


def chosen_tool(choice: str, tools: Sequence[Tool], endpoint: Endpoint) -> str:
    """Return the wire's name of the tool that `choice` names; raise `ConfigurationError` if there is none."""
    if choice not in [tool.name for tool in tools]:
        raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
    return endpoint.wire_name(choice)


def format_schema(
    wanted: JsonFormat, provider: str, rewritten: Callable[[Mapping[str, object]], dict[str, object]]
) -> dict[str, object] | None:
    """Return the `rewritten` schema of an answer, if it has one; raise `ConfigurationError` if that cannot be."""
    try:
        return None if wanted.schema is None else rewritten(wanted.schema)
    except SchemaError as error:
        raise _unsupported_format(wanted, provider, f"{error}; a tool can take it") from error


def openai_format(wanted: JsonFormat, provider: str, *, object_root: bool) -> dict[str, object]:
    """Return the name and the schema of an answer; strict, if strict mode can take it without a loss."""
    schema = {"type": "object"} if wanted.schema is None else wanted.schema
    described: dict[str, object] = {"name": format_name(wanted.name), "schema": schema}
    try:
        return {**described, "schema": strict_schema(schema), "strict": True}
    except SchemaError as error:
        if object_root and schema.get("type") != "object":
            raise _unsupported_format(wanted, provider, str(error)) from error
        return described


def _unsupported_format(wanted: JsonFormat, provider: str, reason: str) -> ConfigurationError:
    return unsupported_option("response_format", provider, f"the schema of {wanted.name}: {reason}")
