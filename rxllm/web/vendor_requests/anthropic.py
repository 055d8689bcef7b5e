"""Reads requests of Anthropic's Messages API.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from ..._json import is_array, is_object, object_at, objects_at, text_at
from ...errors import ConfigurationError
from ...messages import DocumentPart, ImagePart, Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from ...options import CallOptions, ReasoningEffort
from ..options import options_of
from .vendor_request import VendorReader, blocks_of, data_url, joined_text, text_of

_NEUTRAL: Mapping[str, Sequence[object]] = {"container": (), "mcp_servers": ([],), "top_k": ()}
_KNOWN = frozenset(
    {"model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "stop_sequences", "tools"}
    | {"tool_choice", "thinking", "output_format", "output_config", "metadata", "service_tier", "betas"}
    | {"context_management", "cache_control", "inference_geo"}
)

_CHOICES: Mapping[object, str] = {"auto": "auto", "any": "required", "none": "none"}
_MANY_TOKENS, _FEW_TOKENS = 16_000, 4_000
"""Thinking budgets in tokens: from the first on the effort is high, below the second it is low."""


def _messages_in(body: Mapping[str, object]) -> tuple[Message, ...]:
    """Return the conversation in `body`; the system text is its first message."""
    items = body.get("messages")
    if not is_array(items) or not items:
        raise ConfigurationError("messages is a list of messages")
    system = joined_text(body.get("system") or [], "system")
    head = [Message.system(system)] if system else []
    return (*head, *(message for item in items for message in _messages(item)))


def _options_in(body: Mapping[str, object]) -> CallOptions:
    """Return the options in `body`, checked."""
    if body.get("max_tokens") is None:
        raise ConfigurationError("max_tokens is required")
    choice = object_at(body, "tool_choice")
    if choice.get("disable_parallel_tool_use") is True:
        raise ConfigurationError("the parameter 'disable_parallel_tool_use' is not supported")
    wanted = _CHOICES.get(text_at(choice, "type")) or text_at(choice, "name")
    if choice and wanted is None:
        raise ConfigurationError("the type of tool_choice is auto, any, none or tool, and a tool has a name")
    form = object_at(body, "output_format") or object_at(object_at(body, "output_config"), "format")
    return options_of(
        {
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "max_tokens": body.get("max_tokens"),
            "stop": body.get("stop_sequences") or None,
            "reasoning": _effort(object_at(body, "thinking")),
            "tools": [_tool(tool) for tool in objects_at(body, "tools")] or None,
            "tool_choice": wanted,
            "response_format": form.get("schema"),
        }
    )


def _effort(thinking: Mapping[str, object]) -> ReasoningEffort | None:
    if thinking.get("type") not in ("enabled", "adaptive"):
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "medium"
    return "high" if budget >= _MANY_TOKENS else "low" if budget < _FEW_TOKENS else "medium"


def _tool(tool: Mapping[str, object]) -> dict[str, object]:
    if tool.get("type", "custom") != "custom":
        raise ConfigurationError(f"a tool of type {tool.get('type')!r} is not supported")
    made = {"name": tool.get("name"), "description": tool.get("description") or ""}
    return {**made, "parameters": tool.get("input_schema")}


def _messages(item: object) -> Iterator[Message]:
    """Yield the message that `item` is; tool results in a user's message come before it, in a message of their own."""
    role = item.get("role") if is_object(item) else None
    if not is_object(item) or (role != "user" and role != "assistant"):
        raise ConfigurationError("a message has the role user or assistant")
    blocks = blocks_of(item.get("content"), "content")
    results = [_result(block) for block in blocks if block.get("type") == "tool_result"]
    if results:
        yield Message.tool(*results)
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if parts or not results:
        yield Message("user" if role == "user" else "assistant", tuple(parts))


def _part(block: dict[str, object]) -> Part | None:
    """Return the part that a block is; None for a block that is read elsewhere, or not at all."""
    match block.get("type"):
        case "text":
            return TextPart(text_of(block))
        case "thinking":
            return ReasoningPart(text_of(block, "thinking"))
        case "tool_use":
            return ToolCall(text_of(block, "id"), text_of(block, "name"), object_at(block, "input"))
        case "image":
            return ImagePart(_url(block))
        case "document":
            return DocumentPart(_url(block), name=text_at(block, "title"))
        case "tool_result" | "redacted_thinking":
            return None
        case kind:
            raise ConfigurationError(f"a block of type {kind!r} is not supported")


def _url(block: Mapping[str, object]) -> str:
    """Return the link or the data URL of a block's source."""
    source = object_at(block, "source")
    match source.get("type"):
        case "base64":
            return data_url(text_of(source, "media_type"), text_of(source, "data"))
        case "text":
            return f"data:text/plain,{quote(text_of(source, 'data'))}"
        case "url":
            return text_of(source, "url")
        case kind:
            raise ConfigurationError(f"a source of type {kind!r} is not supported")


def _result(block: Mapping[str, object]) -> ToolResult:
    text = joined_text(block.get("content") or "", "content")
    return ToolResult(text_of(block, "tool_use_id"), text, is_error=block.get("is_error") is True)


READER = VendorReader(_messages_in, _options_in, _NEUTRAL, _KNOWN)
