"""Function tools as both APIs of OpenAI take them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigurationError
from ..options import Tool
from ._endpoint import Endpoint
from ._request import unsupported_tool
from ._schemas import SchemaError, inlined_parameters, strict_schema, tool_parameters


def function_parameters(tool: Tool, provider: str) -> dict[str, object]:
    """Return a tool's schema as OpenAI takes it; raise `ConfigurationError` naming the tool and the reason."""
    try:
        parameters = tool_parameters(tool)
        return strict_schema(parameters) if tool.strict else inlined_parameters(parameters)
    except SchemaError as error:
        raise unsupported_tool(tool, provider, error) from error


def chosen_tool(choice: str, tools: Sequence[Tool], endpoint: Endpoint) -> str:
    """Return the wire's name of the tool that `choice` names; raise `ConfigurationError` if there is none."""
    if choice not in [tool.name for tool in tools]:
        raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
    return endpoint.wire_name(choice)
