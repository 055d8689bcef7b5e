"""The body of an Anthropic Messages request.

The API takes system text beside the conversation, and turns of user and assistant: system messages
are hoisted in their order, tool results belong to the user, neighbours of one role are joined.
It requires `max_tokens`; without that option `MAX_TOKENS` is sent, and more where the model thinks.

Fields under a part's `vendor["anthropic"]` go into its block: signatures and citations as they
came, or what the caller put there, such as {"cache_control": {"type": "ephemeral"}} on text.

Source: https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from ..._json import is_array, is_object
from ...errors import ConfigurationError
from ...messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ...options import JsonFormat, Options, ReasoningEffort, Tool
from .._call_ids import with_valid_ids
from .._request import (
    Inline,
    body_bytes,
    inline,
    refuse_detail,
    unsupported_option,
    unsupported_part,
    vendor_fields,
    without_none,
)

WIRE = "anthropic"
MAX_TOKENS = 8192
"""Asked for where the caller names no `max_tokens`: the API demands one, and this is in every current model's reach."""
MAX_TOKENS_THINKING = 32_000
"""The same for a model that sets its own budget: thinking counts as output."""

_BUDGETS: Mapping[ReasoningEffort, int] = {"low": 2048, "medium": 8192, "high": 24_576}
"""Thinking tokens for an effort, on models from before the API knew efforts."""
_MIN_BUDGET = 1024
_BEFORE_EFFORT = re.compile(r"claude-(?:[123]\b|instant|(?:opus|sonnet|haiku)-4(?:[-.][015])?(?=$|[@:]|-\D|-\d{8}))")
"""Models up to Claude 4.5, which think by a budget only."""

_CALL_IDS = r"[a-zA-Z0-9_-]{1,64}"

_Block = dict[str, object]


def messages_request(messages: Sequence[Message], model: str, options: Options, provider: str) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it, objects into objects.

    Raises `ConfigurationError` naming the option or part that the API cannot take.
    """
    _refuse(options, provider)
    max_tokens, thinking, effort = _thinking(model, options)
    body: dict[str, object] = {
        "model": model,
        "max_tokens": max_tokens,
        "messages": _turns(with_valid_ids(messages, _CALL_IDS), provider),
        "system": _system(messages, provider),
        "thinking": thinking,
        "output_config": without_none(effort=effort, format=_format(options.response_format, provider)) or None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "stop_sequences": options.stop or None,
        "tools": [_tool(tool) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options.tool_choice),
        "stream": True,
    }
    return body_bytes(body, options.extra_body)


def _refuse(options: Options, provider: str) -> None:
    advice = "the Messages API has no such parameter (extra_body= sends what a gateway may know)"
    for option in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(options, option) is not None:
            raise unsupported_option(option, provider, advice)


def _thinking(model: str, options: Options) -> tuple[int, _Block | None, str | None]:
    """Return max_tokens, the thinking configuration, and the effort.

    A budget in tokens leaves `MAX_TOKENS` for the answer. An effort is sent as such, with
    thoughts to be shown; for a model that knows no efforts it becomes a budget, at most half of `max_tokens`.
    """
    wanted, limit = options.reasoning, options.max_tokens
    if wanted is None or wanted == 0:
        return MAX_TOKENS if limit is None else limit, None if wanted is None else {"type": "disabled"}, None
    if isinstance(wanted, str) and not _BEFORE_EFFORT.search(model):
        thinking: _Block = {"type": "adaptive", "display": "summarized"}
        return MAX_TOKENS_THINKING if limit is None else limit, thinking, wanted
    budget = wanted if isinstance(wanted, int) else _BUDGETS[wanted]
    if isinstance(wanted, str) and limit is not None:
        budget = max(_MIN_BUDGET, min(budget, limit // 2))
    return budget + MAX_TOKENS if limit is None else limit, {"type": "enabled", "budget_tokens": budget}, None


def _format(wanted: JsonFormat | None, provider: str) -> _Block | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        raise unsupported_option("response_format", provider, "it has no plain JSON mode; give a JSON schema or a type")
    return {"type": "json_schema", "schema": _closed(wanted.schema)}


def _closed(schema: object) -> object:
    """Return the schema with `additionalProperties: false` on each object, which the API demands."""
    if is_array(schema):
        return [_closed(item) for item in schema]
    if not is_object(schema):
        return schema
    closed = {key: _closed_under(key, value) for key, value in schema.items()}
    if schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_under(keyword: str, value: object) -> object:
    if keyword in ("properties", "$defs", "definitions") and is_object(value):
        return {name: _closed(schema) for name, schema in value.items()}
    return value if keyword in ("const", "default", "enum", "examples") else _closed(value)


def _tool(tool: Tool) -> _Block:
    return {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "input_schema": _closed(tool.parameters) if tool.strict else tool.parameters,
        **without_none(strict=tool.strict),
    }


def _tool_choice(choice: str | None) -> _Block | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case name:
            return {"type": "tool", "name": name}


def _system(messages: Sequence[Message], provider: str) -> object:
    """Return the system text: plain where it is one part, else one block for each part."""
    parts = [part for message in messages if message.role == "system" for part in message.parts]
    for part in parts:
        if not isinstance(part, TextPart):
            raise unsupported_part(part, provider, "a system message is text")
    blocks = [block for part in parts if (block := _block(part, provider))]
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        return blocks[0]["text"]
    return blocks or None


def _turns(messages: Sequence[Message], provider: str) -> list[_Block]:
    turns: list[tuple[str, list[_Block]]] = []
    for message in messages:
        blocks = [block for part in message.parts if (block := _block(part, provider))]
        if message.role == "system" or not blocks:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if not turns:
        raise ConfigurationError(
            f"{provider!r} needs at least one message that is not a system message and not empty", provider=provider
        )
    return [{"role": role, "content": blocks} for role, blocks in turns]


def _block(part: Part, provider: str) -> _Block | None:
    """Return the content block of a part; None where this API has none for it."""
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text, **vendor_fields(part.vendor, WIRE)} if text else None
        case ReasoningPart():
            signature = vendor_fields(part.vendor, WIRE)  # without one the API takes no thoughts back
            return {"type": "thinking", "thinking": part.text, **signature} if signature else None
        case ToolCall():
            own = vendor_fields(part.vendor, WIRE)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments, **own}
        case ToolResult():
            failed = {"is_error": True} if part.is_error else {}
            return {"type": "tool_result", "tool_use_id": part.id, "content": part.content, **failed}
        case ImagePart():
            return _image(part, provider)
        case DocumentPart():
            return {"type": "document", "source": _document(part, provider), **without_none(title=part.name)}
        case AudioPart():
            raise unsupported_part(part, provider, "the Messages API hears no sound; send a transcript as text")
        case VendorPart():
            return part.data if part.wire == WIRE else None


def _image(part: ImagePart, provider: str) -> _Block:
    refuse_detail(part, provider)
    return {"type": "image", "source": _source(part.url, inline(part))}


def _document(part: DocumentPart, provider: str) -> _Block:
    content = inline(part)
    if content is None or content.media_type == "application/pdf":
        return _source(part.url, content)
    if not content.media_type.startswith("text/"):
        raise unsupported_part(part, provider, f"documents are PDF or text, not {content.media_type}")
    text = base64.b64decode(content.base64).decode("utf-8", "replace")
    return {"type": "text", "media_type": "text/plain", "data": text}


def _source(url: str | None, content: Inline | None) -> _Block:
    if content is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": content.media_type, "data": content.base64}
