"""Requests of the Anthropic Messages API: address, headers and body.

The API takes system text beside the conversation, and turns of user and assistant: system messages
are hoisted in their order, tool results belong to the user, neighbours of one role are joined.
It requires `max_tokens`; without that option `MAX_TOKENS` is sent, and more if the model thinks.

Fields under a part's `vendor["anthropic"]` go into its block: signatures and citations as they
came, or what the caller put there, such as {"cache_control": {"type": "ephemeral"}} on text.

Source: https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from ..._protocol import WireRequest
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
from ...options import JsonFormat, Options, Tool
from .._conversation import joined_turns, system_texts, with_results_behind_calls, with_supported_media
from .._endpoint import Endpoint
from .._request import (
    Inline,
    body_bytes,
    endpoint_url,
    header_fields,
    inline,
    refuse_detail,
    refuse_options,
    result_text,
    unsupported_option,
    unsupported_part,
    without_none,
)
from .._schemas import anthropic_schema
from .._tools_and_formats import format_schema, tool_fields, tool_schema
from ..model_rules import ModelRules, checked_rules, is_off
from .decoder import CONTAINER, AnthropicDecoder

_THOUGHTS = ("thinking", "redacted_thinking")
MAX_TOKENS = 8192
"""Sent if the caller names no `max_tokens`: the API demands one, and this is in every current model's reach."""
MAX_TOKENS_THINKING = 32_000
"""The same for a model that sets its own budget: thinking counts as output."""

_BUDGETS: Mapping[str, int] = {"low": 2048, "medium": 8192, "high": 24_576}
"""Thinking tokens for an effort, on models from before the API knew efforts."""
_MIN_BUDGET = 1024
_ADAPTIVE = {"type": "adaptive", "display": "summarized"}
_BEFORE_EFFORT = re.compile(r"claude-(?:[123]\b|instant|(?:opus|sonnet|haiku)-4(?:[-.][015])?(?=$|[@:]|-\D|-\d{8}))")
"""Models up to Claude 4.5, which think by a budget only."""

_CHECKS_PREFIX = re.compile(r"claude-[a-z]+-(?:5-[1-9](?!\d)|[6-9]|\d\d)")
"""Models from 5.1 on, which refuse thoughts if anything before them has changed: a shorter history, other tools."""
_DROP_THOUGHTS: Mapping[str, object] = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
DROP_THOUGHTS_BETA = "thinking-binding-controls-2026-08-01"
"""Source: https://platform.claude.com/docs/en/build-with-claude/preserved-thinking (2026-11-28)."""

_REFUSED = ("seed", "frequency_penalty", "presence_penalty")
_ADVICE = "the Messages API has no such parameter (extra_body= sends what a gateway may know)"
_CALL_IDS = r"[a-zA-Z0-9_-]{1,64}"

_Block = dict[str, object]


class Anthropic:
    """The wire to the Messages API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; a /v1 or the full address of the Messages API works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "/v1", "/messages")
        self._endpoint = Endpoint(AnthropicDecoder.wire, provider, self._url)
        self._headers = header_fields({"x-api-key": api_key, "anthropic-version": "2023-06-01"}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = messages_request(messages, model, options, self._endpoint)
        headers = dict(self._headers)
        if b'"block_binding":{' in body:
            name = next((name for name in headers if name.lower() == "anthropic-beta"), "anthropic-beta")
            others = [each for each in headers.get(name, "").split(",") if each.strip() not in ("", DROP_THOUGHTS_BETA)]
            headers[name] = ",".join([*others, DROP_THOUGHTS_BETA])
        return WireRequest(self._url, headers, body)

    def decoder(self) -> AnthropicDecoder:
        """Return a new decoder for one answer."""
        return AnthropicDecoder(self._endpoint.provider, self._endpoint)


def messages_request(messages: Sequence[Message], model: str, options: Options, endpoint: Endpoint) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it, objects into objects, and its tools are added.

    Raises `ConfigurationError` naming the option or part that the API or the model does not take.
    """
    provider = endpoint.provider
    refuse_options(_REFUSED, options, provider, _ADVICE)
    rules = checked_rules("anthropic", model, options, provider)
    max_tokens, thinking, effort = _thinking(model, options, rules, provider)
    if _may_be_refused(messages, model, endpoint) and (thinking or _ADAPTIVE)["type"] == "adaptive":
        thinking = {**(thinking or {"type": "adaptive"}), **_DROP_THOUGHTS}
    conversation = with_results_behind_calls(messages, provider, _CALL_IDS)
    conversation = with_supported_media(conversation, lambda part: _block(part, endpoint))
    body: dict[str, object] = {
        "model": model,
        "max_tokens": max_tokens,
        "messages": _turns(conversation, endpoint),
        "system": _system(messages, endpoint),
        "container": _container(messages, endpoint),
        "thinking": thinking,
        "output_config": without_none(effort=effort, format=_format(options.response_format, provider)) or None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "stop_sequences": options.stop or None,
        "tools": [_tool(tool, endpoint) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options.tool_choice, endpoint),
        "stream": True,
    }
    return body_bytes(body, options.extra_body)


def _may_be_refused(messages: Sequence[Message], model: str, endpoint: Endpoint) -> bool:
    """Return whether thoughts go back to a model of Anthropic's own API that checks what stands before them.

    Thoughts of other models are sent too: the API drops those that the model cannot read.
    """
    parts = [part for message in messages for part in message.parts]
    sends_thoughts = any(isinstance(part, ReasoningPart) and endpoint.fields(part.vendor) for part in parts)
    return sends_thoughts and endpoint.host == "api.anthropic.com" and _CHECKS_PREFIX.match(model) is not None


def _thinking(
    model: str, options: Options, rules: ModelRules | None, provider: str
) -> tuple[int, _Block | None, str | None]:
    """Return max_tokens, the thinking configuration, and the effort.

    A budget in tokens leaves `MAX_TOKENS` for the answer. An effort is sent as such, with thoughts to be
    shown; for a model that knows no efforts it becomes a budget, at most half of `max_tokens`.
    """
    wanted, limit = options.reasoning, options.max_tokens
    by_budget = _BEFORE_EFFORT.search(model.replace(".", "-")) is not None
    if wanted is None:
        default = MAX_TOKENS_THINKING if rules is not None and rules.thinks else MAX_TOKENS
        shown: _Block | None = {**_ADAPTIVE} if rules is not None and rules.show_thoughts else None
        return default if limit is None else limit, shown, None
    if is_off(wanted):
        off = "between_tools" if rules is not None and rules.off == "between_tools" else "disabled"
        return MAX_TOKENS if limit is None else limit, {"type": off}, None
    if isinstance(wanted, str) and not by_budget:
        return MAX_TOKENS_THINKING if limit is None else limit, {**_ADAPTIVE}, wanted
    if isinstance(wanted, str) and wanted not in _BUDGETS:
        raise unsupported_option("reasoning", f"{provider}:{model}", f"it takes {' '.join(_BUDGETS)}, not {wanted!r}")
    budget = wanted if isinstance(wanted, int) else _BUDGETS[wanted]
    if isinstance(wanted, str) and limit is not None:
        budget = max(_MIN_BUDGET, min(budget, limit // 2))
    if limit is not None and budget >= limit:
        raise unsupported_option("reasoning", provider, f"{budget} tokens of thought leave none of max_tokens={limit}")
    return budget + MAX_TOKENS if limit is None else limit, {"type": "enabled", "budget_tokens": budget}, None


def _format(wanted: JsonFormat | None, provider: str) -> _Block | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        raise unsupported_option("response_format", provider, "it has no plain JSON mode; give a JSON schema or a type")
    return {"type": "json_schema", "schema": format_schema(wanted, provider, anthropic_schema)}


def _tool(tool: Tool, endpoint: Endpoint) -> _Block:
    schema = tool_schema(tool, endpoint.provider, anthropic_schema if tool.strict else dict)
    return tool_fields(tool, endpoint, input_schema=schema, strict=tool.strict)


def _tool_choice(choice: str | None, endpoint: Endpoint) -> _Block | None:
    """Return the tool choice in the words of the API."""
    if choice is None:
        return None
    if choice in ("auto", "none", "required"):
        return {"type": "any" if choice == "required" else choice}
    return {"type": "tool", "name": endpoint.wire_name(choice)}


def _container(messages: Sequence[Message], endpoint: Endpoint) -> object:
    """Return the id of the container in which the newest answer's code runs, if any."""
    parts = [part for message in messages for part in message.parts if isinstance(part, VendorPart)]
    own = [part.data for part in parts if endpoint.is_own(part) and part.data.get("type") == CONTAINER]
    return own[-1].get("id") if own else None


def _system(messages: Sequence[Message], endpoint: Endpoint) -> object:
    """Return the system text: plain if it is one part, else one block for each part."""
    parts = system_texts(messages, endpoint.provider)
    blocks = [block for part in parts if (block := _block(part, endpoint))]
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        return blocks[0]["text"]
    return blocks or None


def _turns(messages: Sequence[Message], endpoint: Endpoint) -> list[_Block]:
    """Return the messages with neighbours of the same role joined, as the API requires, without system messages."""
    turns = (
        (
            "assistant" if message.role == "assistant" else "user",
            [block for part in message.parts if (block := _block(part, endpoint))],
        )
        for message in messages
        if message.role != "system"
    )
    ordered = ((role, _ordered(role, blocks)) for role, blocks in joined_turns(turns, endpoint.provider))
    return [{"role": role, "content": blocks} for role, blocks in joined_turns(ordered, endpoint.provider)]


def _ordered(role: str, blocks: list[_Block]) -> list[_Block]:
    """Return the blocks of a turn in the order that the API demands.

    Results come first in a user's turn. An assistant's turn does not end with a thought, as one that was cut
    while it thought does: https://github.com/tailcallhq/forgecode/issues/2107. Text that other vendors put
    behind their calls stands before them.
    """
    if role == "user":
        return sorted(blocks, key=lambda block: block["type"] != "tool_result")
    while blocks and blocks[-1]["type"] in _THOUGHTS:
        blocks = blocks[:-1]
    if all(block["type"] in ("text", "tool_use") for block in blocks):
        return sorted(blocks, key=lambda block: block["type"] == "tool_use")
    return blocks


def _block(part: Part, endpoint: Endpoint) -> _Block | None:
    """Return the content block of a part; None if this API has none for it."""
    match part:
        case TextPart(text=text):  # text of blanks only is refused, also with fields beside it
            return {"type": "text", "text": text, **endpoint.fields(part.vendor)} if text.strip() else None
        case ReasoningPart():
            own = endpoint.fields(part.vendor)  # the API takes thoughts back with their signature only
            return {"type": "thinking", "thinking": part.text, **own} if own else None
        case ToolCall():
            own = endpoint.fields(part.vendor)
            name = endpoint.wire_name(part.name)
            return {"type": "tool_use", "id": part.id, "name": name, "input": part.arguments, **own}
        case ToolResult():
            failed = {"is_error": True} if part.is_error else {}
            return {"type": "tool_result", "tool_use_id": part.id, "content": _result(part, endpoint), **failed}
        case ImagePart():
            return _image(part, endpoint.provider)
        case DocumentPart():
            source = _document(part, endpoint.provider)
            return {"type": "document", "source": source, **without_none(title=part.name)}
        case AudioPart():
            raise unsupported_part(
                part, endpoint.provider, "the Messages API does not accept audio; send a transcript as text"
            )
        case VendorPart(data=data):
            return data if endpoint.is_own(part) and data.get("type") != CONTAINER else None


def _result(result: ToolResult, endpoint: Endpoint) -> str | list[_Block]:
    """Return the content of a tool result: text alone as text, else blocks."""
    if not result.media:
        return result_text(result)
    blocks = [_block(part, endpoint) for part in (TextPart(result.content), *result.media)]
    return [block for block in blocks if block is not None]


def _image(part: ImagePart, provider: str) -> _Block:
    refuse_detail(part, provider)
    return {"type": "image", "source": _source(part.url, inline(part))}


def _document(part: DocumentPart, provider: str) -> _Block:
    """Return the source of a document: a PDF or an address as it is, other text as plain text."""
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
