"""The body of an OpenAI Responses request.

Stateless, since the messages hold the whole conversation and a stream may be cancelled before the
server has stored anything: `store` is false, and items go back without the ids under which a
server would look for them. Reasoning goes back in the order it came: as the encrypted content
(requested with `include` from models that reason: others refuse it), or as text where the vendor
sends text; a summary alone has no value for the model and stays out. `extra_body` can change all this.

Source: https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from ..._json import encode, objects_at, text_at
from ..._protocol import JsonObject
from ...errors import ConfigurationError
from ...messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ...options import JsonFormat, Options, Tool
from .._call_ids import with_valid_ids
from .._request import body_bytes, inline, unsupported_option, unsupported_part, vendor_fields, without_none
from .._strict import is_strict
from .items import WIRE

_REFUSED = ("top_k", "stop", "seed", "frequency_penalty", "presence_penalty")
_CALL_IDS = ".{1,64}"
_REASONING_MODELS = re.compile(r"(^|/)(o\d|gpt-([5-9]|1\d)(?!\d|.*chat)|codex)")
"""Models of OpenAI that reason unasked: o1 and its heirs, gpt-5 and later but for their chat variants."""


def responses_request(messages: Sequence[Message], model: str, options: Options, provider: str) -> bytes:
    """Build the JSON body for one streamed answer.

    Raises `ConfigurationError` naming the option or part that this wire has no words for.
    """
    for name in _REFUSED:
        if getattr(options, name) not in (None, ()):
            raise unsupported_option(name, provider, "the Responses API has no such field")
    instructions, rest = _instructions(messages)
    thinks = options.reasoning is not None or _REASONING_MODELS.search(model)
    body: dict[str, object] = {
        "model": model,
        "instructions": instructions,
        "input": list(_input(with_valid_ids(rest, _CALL_IDS), provider)),
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"] if thinks else None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_output_tokens": options.max_tokens,
        "reasoning": _reasoning(options.reasoning, provider),
        "text": _text(options.response_format),
        "tools": list(map(_tool, options.tools)) or None,
        "tool_choice": _tool_choice(options.tool_choice, options.tools),
    }
    return body_bytes(body, options.extra_body)


def _instructions(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """Return the system messages that begin the conversation, as one text, and the rest of it."""
    begin = next((at for at, message in enumerate(messages) if not _is_instruction(message)), 0)
    return "\n\n".join(message.text for message in messages[:begin]) or None, messages[begin:]


def _is_instruction(message: Message) -> bool:
    return message.role == "system" and all(isinstance(part, TextPart) for part in message.parts)


def _input(messages: Sequence[Message], provider: str) -> Iterable[dict[str, object]]:
    """Return the items of the conversation, in its order."""
    callers: dict[str, object] = {}
    for message in messages:
        parts = filter(_is_not_empty_text, message.parts) if message.role == "assistant" else message.parts
        for phase, group in groupby(parts, _phase):
            if phase is None:
                items = (_item(part, callers) for part in group)
                yield from (item for item in items if item is not None)
            else:
                yield _message(message.role, phase or None, list(group), provider)


def _is_not_empty_text(part: Part) -> bool:
    return not isinstance(part, TextPart) or bool(part.text)


def _phase(part: Part) -> str | None:
    """Return the phase of the message that a part belongs to ("" where none is given), or None for other parts."""
    if isinstance(part, TextPart):
        return text_at(vendor_fields(part.vendor, WIRE), "phase") or ""
    return "" if isinstance(part, ImagePart | DocumentPart | AudioPart) else None


def _item(part: Part, callers: dict[str, object]) -> dict[str, object] | None:
    """Return the item of a part; None for parts of other wires.

    `callers` remembers which calls a program made: their results have to say so too.
    """
    match part:
        case ToolCall(id=call_id, name=name, arguments=arguments, vendor=vendor):
            fields = vendor_fields(vendor, WIRE)
            callers[call_id] = fields.get("caller")
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": _json(arguments), **fields}
        case ToolResult(id=call_id, content=content):
            return without_none(
                type="function_call_output", call_id=call_id, output=content, caller=callers.get(call_id)
            )
        case ReasoningPart(vendor=vendor):
            return _reasoning_item(vendor_fields(vendor, WIRE))
        case VendorPart(wire=wire, data=data) if wire == WIRE:
            return data
        case _:
            return None


def _reasoning_item(data: JsonObject) -> dict[str, object] | None:
    """Return a reasoning item as it may go back."""
    kept = {name: value for name, value in data.items() if name != "status" and value is not None}
    if text_at(kept, "encrypted_content") is not None:
        return {"type": "reasoning", "summary": [], **{name: kept[name] for name in kept if name != "id"}}
    return kept if objects_at(kept, "content") else None


def _json(arguments: JsonObject) -> str:
    try:
        return encode(arguments).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"a tool call's arguments cannot be sent as JSON: {error}") from error


def _message(role: Role, phase: str | None, parts: Sequence[Part], provider: str) -> dict[str, object]:
    """Return a message item; text alone goes as text where every server takes it so."""
    if role == "assistant":
        content = [_assistant_part(part, provider) for part in parts]
        return without_none(type="message", role="assistant", phase=phase, content=content)
    role = "system" if role == "system" else "user"
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return {"role": role, "content": parts[0].text}
    return {"role": role, "content": [_user_part(part, provider) for part in parts]}


def _assistant_part(part: Part, provider: str) -> dict[str, object]:
    if isinstance(part, TextPart):
        return {"type": "output_text", "text": part.text}
    raise unsupported_part(part, provider, "an assistant message holds text, reasoning and tool calls")


def _user_part(part: Part, provider: str) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"type": "input_text", "text": text}
        case ImagePart(detail=detail):
            return without_none(type="input_image", image_url=_url(part), detail=detail)
        case DocumentPart(name=name) if (content := inline(part)) is not None:
            suffix = content.media_type.rpartition("/")[2].replace("plain", "txt")
            return {"type": "input_file", "filename": name or f"document.{suffix}", "file_data": _url(part)}
        case DocumentPart(url=url):
            return {"type": "input_file", "file_url": url}
        case _:
            raise unsupported_part(part, provider, "the Responses API takes no sound")


def _url(part: ImagePart | DocumentPart) -> str | None:
    content = inline(part)
    return part.url if content is None else f"data:{content.media_type};base64,{content.base64}"


def _reasoning(wanted: str | int | None, provider: str) -> dict[str, object] | None:
    if isinstance(wanted, int):
        advice = 'it takes an effort, "low", "medium" or "high", no token budget'
        raise unsupported_option(f"reasoning={wanted}", provider, advice)
    return None if wanted is None else {"effort": wanted}


def _text(wanted: JsonFormat | None) -> dict[str, object] | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"format": {"type": "json_object"}}
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", wanted.name)[:64]
    strict = is_strict(wanted.schema) or None
    return {"format": without_none(type="json_schema", name=name, schema=wanted.schema, strict=strict)}


def _tool(tool: Tool) -> dict[str, object]:
    description = tool.description or None
    return without_none(
        type="function", name=tool.name, description=description, parameters=tool.parameters, strict=tool.strict
    )


def _tool_choice(choice: str | None, tools: Sequence[Tool]) -> object:
    if choice in (None, "auto", "none", "required"):
        return choice
    if choice not in [tool.name for tool in tools]:
        raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
    return {"type": "function", "name": choice}
