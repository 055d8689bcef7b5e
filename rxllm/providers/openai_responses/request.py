"""Requests of the OpenAI Responses API: address, headers and body.

Stateless, since the messages hold the whole conversation and a stream may be cancelled before the
server has stored anything: `store` is false, and items go back without the ids under which a
server would look for them. Reasoning goes back in the order it came: as the encrypted content
(requested with `include` from models that reason: others refuse it), or as text if the vendor
sends text; a summary alone has no value for the model and stays out. `extra_body` can change all this.

Source: https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ..._json import objects_at, text_at
from ..._protocol import JsonObject, WireRequest
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
from .._conversation import with_results_behind_calls, with_supported_media
from .._endpoint import Endpoint
from .._request import (
    body_bytes,
    data_url,
    endpoint_url,
    header_fields,
    inline,
    json_bytes,
    refuse_options,
    result_text,
    unsupported_option,
    unsupported_part,
    without_none,
)
from .._tools_and_formats import chosen_tool, openai_format, openai_tool_schema, tool_fields
from ..model_rules import ModelRules, checked_rules, is_off
from .decoder import OpenAIResponsesDecoder

_STORED = ("previous_response_id", "conversation")
"""Fields of `extra_body` that name what the server holds: calls of it may be answered here."""
_REFUSED = ("top_k", "stop", "seed", "frequency_penalty", "presence_penalty")
_CALL_IDS = ".{1,64}|.*__thought__.*"
_REASONING_MODELS = re.compile(r"(^|/)(o\d|gpt-([5-9]|1\d)(?!\d|.*chat)|codex)")
"""Models of OpenAI that reason unasked: o1 and its heirs, gpt-5 and later but for their chat variants."""


class OpenAIResponses:
    """The wire to the Responses API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The address before /responses, which may have a query; a pasted full address works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "", "/responses", pasted="/chat/completions|/models")
        self._endpoint = Endpoint(OpenAIResponsesDecoder.wire, provider, self._url)
        bearer = None if api_key is None else f"Bearer {api_key}"
        self._headers = header_fields({"Authorization": bearer}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what this wire cannot take."""
        body = responses_request(messages, model, options, self._endpoint)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIResponsesDecoder:
        """Return a new decoder for one answer."""
        return OpenAIResponsesDecoder(self._endpoint.provider, self._endpoint)


def responses_request(messages: Sequence[Message], model: str, options: Options, endpoint: Endpoint) -> bytes:
    """Build the JSON body for one streamed answer.

    Raises `ConfigurationError` naming the option or part that this wire has no field for.
    """
    provider = endpoint.provider
    refuse_options(_REFUSED, options, provider, "the Responses API has no such field")
    rules = checked_rules("openai", model, options, provider) or checked_rules("xai", model, options, provider)
    stored = any(name in (options.extra_body or {}) for name in _STORED)
    messages = with_results_behind_calls(messages, None if stored else provider, _CALL_IDS)
    messages = with_supported_media(messages, lambda part: _user_part(part, provider))
    instructions, rest = _instructions(messages)
    thinks = options.reasoning is not None or _REASONING_MODELS.search(model)
    body: dict[str, object] = {
        "model": model,
        "instructions": instructions,
        "input": _without_stored_ids(list(_input(rest, endpoint))),
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"] if thinks else None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_output_tokens": options.max_tokens,
        "reasoning": _reasoning(options.reasoning, rules, provider),
        "text": _text(options.response_format, provider),
        "tools": [_tool(tool, endpoint) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options.tool_choice, options.tools, endpoint),
    }
    return body_bytes(body, options.extra_body)


def _instructions(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """Return the system messages that begin the conversation, as one text, and the rest of it."""
    begin = next((at for at, message in enumerate(messages) if not _is_instruction(message)), 0)
    return "\n\n".join(message.text for message in messages[:begin]) or None, messages[begin:]


def _is_instruction(message: Message) -> bool:
    return message.role == "system" and all(isinstance(part, TextPart) for part in message.parts)


def _input(messages: Sequence[Message], endpoint: Endpoint) -> Iterable[dict[str, object]]:
    """Return the items of the conversation, in its order."""
    items = _Items(endpoint)
    for message in messages:
        parts = filter(_is_not_empty_text, message.parts) if message.role == "assistant" else message.parts
        for phase, group in groupby(parts, items.phase):
            if phase is None:
                yield from (item for part in group if (item := items.of_part(part)) is not None)
            else:
                yield _message(message.role, phase or None, list(group), endpoint.provider)


def _is_not_empty_text(part: Part) -> bool:
    return not isinstance(part, TextPart) or bool(part.text)


class _Items:
    """The items of parts; knows which calls a program made: their results have to name it too."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._callers: dict[str, object] = {}

    def phase(self, part: Part) -> str | None:
        """Return the phase of the message that a part belongs to ("" if none is given), or None for other parts."""
        if isinstance(part, TextPart):
            return text_at(self._endpoint.fields(part.vendor), "phase") or ""
        return "" if isinstance(part, ImagePart | DocumentPart | AudioPart) else None

    def of_part(self, part: Part) -> dict[str, object] | None:
        """Return the item of a part; None for parts of other wires."""
        match part:
            case ToolCall(id=call_id, name=name, arguments=arguments, vendor=vendor):
                fields = self._endpoint.fields(vendor)
                self._callers[call_id] = fields.get("caller")
                call = {"type": "function_call", "call_id": call_id, "name": self._endpoint.wire_name(name)}
                return {**call, "arguments": json_bytes(arguments).decode(), **fields}
            case ToolResult(id=call_id):
                output, caller = _output(part, self._endpoint.provider), self._callers.get(call_id)
                return without_none(type="function_call_output", call_id=call_id, output=output, caller=caller)
            case ReasoningPart(vendor=vendor):
                return _reasoning_item(self._endpoint.fields(vendor))
            case VendorPart(data=data) if self._endpoint.is_own(part):
                return data
            case _:
                return None


def _without_stored_ids(items: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the items without the ids under which the server would look for them in vain: nothing is stored.

    An id that another item names, such as that of a program or of a request for approval, stays.
    Source: openclaw/openclaw pull request 90706, and the API's "Items are not persisted when `store` is set to false".
    """
    if not any("id" in item for item in items):
        return list(items)
    whole = json_bytes(items)
    result: list[dict[str, object]] = []
    for item in items:
        name = (text_at(item, "id") or "").encode()
        if not name or item.get("type") in _OWN_ITEMS or whole.count(name) > json_bytes(item).count(name):
            result.append(item)
        else:
            result.append({key: value for key, value in item.items() if key != "id"})
    return result


_OWN_ITEMS = ("reasoning", "message", "function_call", "function_call_output")
"""Items that are written here, without ids, unless one must stay."""


def _reasoning_item(data: JsonObject) -> dict[str, object] | None:
    """Return a reasoning item as it may go back."""
    kept = {name: value for name, value in data.items() if name != "status" and value is not None}
    if text_at(kept, "encrypted_content") is not None:
        return {"type": "reasoning", "summary": [], **{name: kept[name] for name in kept if name != "id"}}
    return kept if objects_at(kept, "content") else None


def _message(role: Role, phase: str | None, parts: Sequence[Part], provider: str) -> dict[str, object]:
    """Return a message item; text alone goes as a string, which every server accepts, if its role allows it."""
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


def _output(result: ToolResult, provider: str) -> object:
    """Return the output of a tool: text alone as text, else a list of parts.

    Source: https://developers.openai.com/api/docs/guides/function-calling (formatting results)
    """
    if not result.media:
        return result_text(result)
    parts: list[Part] = [*([TextPart(result.content)] if result.content else []), *result.media]
    return [_user_part(part, provider) for part in parts]


def _user_part(part: Part, provider: str) -> dict[str, object]:
    """Return a part of a user or system message, or of a tool result."""
    match part:
        case TextPart(text=text):
            return {"type": "input_text", "text": text}
        case ImagePart(detail=detail):
            return without_none(type="input_image", image_url=data_url(part), detail=detail)
        case DocumentPart(name=name) if (content := inline(part)) is not None:
            suffix = content.media_type.rpartition("/")[2].replace("plain", "txt")
            return {"type": "input_file", "filename": name or f"document.{suffix}", "file_data": data_url(part)}
        case DocumentPart(url=url):
            return {"type": "input_file", "file_url": url}
        case _:
            raise unsupported_part(part, provider, "the Responses API takes no sound")


def _reasoning(wanted: str | int | None, rules: ModelRules | None, provider: str) -> dict[str, object] | None:
    if wanted is None or (is_off(wanted) and rules is not None and rules.off == "nothing"):
        return None
    if isinstance(wanted, int) and wanted:
        raise unsupported_option("reasoning", provider, 'it takes an effort such as "low", no token budget')
    return {"effort": wanted or "none"}


def _text(wanted: JsonFormat | None, provider: str) -> dict[str, object] | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"format": {"type": "json_object"}}
    return {"format": {"type": "json_schema", **openai_format(wanted, provider, object_root=True)}}


def _tool(tool: Tool, endpoint: Endpoint) -> dict[str, object]:
    """Return a function tool; without `strict` the API would make it strict by itself, with other arguments.

    Source: https://developers.openai.com/api/docs/guides/migrate-to-responses
    """
    parameters = openai_tool_schema(tool, endpoint.provider)
    return {"type": "function", **tool_fields(tool, endpoint, parameters=parameters, strict=bool(tool.strict))}


def _tool_choice(choice: str | None, tools: Sequence[Tool], endpoint: Endpoint) -> object:
    if choice in (None, "auto", "none", "required"):
        return choice
    return {"type": "function", "name": chosen_tool(choice, tools, endpoint)}
