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
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec

from ..._json import Json
from ..._protocol import WireRequest
from ...messages import (
    DocumentPart,
    ImagePart,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ...options import Options, Tool
from .._conversation import system_texts, turns_of
from .._request import inline, result_text, unsupported_option, without_none
from .._schemas.anthropic import AnthropicSchema
from .._vendor_wire import VendorWire, option_fields
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

_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_CHECKS_PREFIX = re.compile(r"claude-[a-z]+-(?:5-[1-9](?!\d)|[6-9]|\d\d)")
"""Models from 5.1 on, which refuse thoughts if anything before them has changed: a shorter history, other tools."""
_DROP_THOUGHTS: Mapping[str, object] = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
DROP_THOUGHTS_BETA = "thinking-binding-controls-2026-08-01"
"""Source: https://platform.claude.com/docs/en/build-with-claude/preserved-thinking (2026-11-28)."""


class Anthropic(VendorWire):
    """The wire to the Messages API."""

    decoder_class = AnthropicDecoder
    version, path = "/v1", "/messages"
    key_header = "x-api-key"
    more_headers: ClassVar = {"anthropic-version": "2023-06-01"}
    option_names = option_fields("temperature", "max_tokens", "top_p", "top_k", stop="stop_sequences")
    call_ids = r"[a-zA-Z0-9_-]{1,64}"
    media_in_results = True

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request; its header names the beta that it uses."""
        request = super().request(messages, model, options)
        if b'"block_binding":{' not in request.body:
            return request
        name = next((name for name in request.headers if name.lower() == "anthropic-beta"), "anthropic-beta")
        others = [beta for beta in request.headers.get(name, "").split(",") if beta.strip()]
        betas = dict.fromkeys([*map(str.strip, others), DROP_THOUGHTS_BETA])
        return msgspec.structs.replace(request, headers={**request.headers, name: ",".join(betas)})

    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of a Messages request; None marks a field to leave out."""
        rules = checked_rules("anthropic", model, options, self._provider)
        max_tokens, thinking, effort = self._thinking(model, options, rules)
        if self._may_be_refused(messages, model) and (thinking or _ADAPTIVE)["type"] == "adaptive":
            thinking = {**(thinking or {"type": "adaptive"}), **_DROP_THOUGHTS}
        return {
            "model": model,
            **self._option_fields(options),
            "max_tokens": max_tokens,
            "messages": self._turns(self._repaired(messages)),
            "system": self._system(messages),
            "container": self._container(messages),
            "thinking": thinking,
            "output_config": without_none(effort=effort, format=self._format(options)) or None,
            "tools": [self._tool(tool) for tool in options.tools] or None,
            "tool_choice": self._tool_choice(options, _CHOICES, lambda name: {"type": "tool", "name": name}),
            "stream": True,
        }

    def _may_be_refused(self, messages: Sequence[Message], model: str) -> bool:
        """Return whether thoughts go back to a model of Anthropic's own API that checks what stands before them.

        Thoughts of other models are sent too: the API drops those that the model cannot read.
        """
        thoughts = [part for message in messages for part in message.parts if isinstance(part, ReasoningPart)]
        sends_thoughts = any(self._endpoint.fields(part.vendor) for part in thoughts)
        return sends_thoughts and self._endpoint.host == "api.anthropic.com" and bool(_CHECKS_PREFIX.match(model))

    def _thinking(self, model: str, options: Options, rules: ModelRules | None) -> tuple[int, Json | None, str | None]:
        """Return max_tokens, the thinking configuration, and the effort.

        A budget in tokens leaves `MAX_TOKENS` for the answer. An effort is sent as such, with thoughts to be
        shown; for a model that knows no efforts it becomes a budget, at most half of `max_tokens`.
        """
        wanted, limit = options.reasoning, options.max_tokens
        if wanted is None:
            default = MAX_TOKENS_THINKING if rules is not None and rules.thinks else MAX_TOKENS
            shown: Json | None = {**_ADAPTIVE} if rules is not None and rules.show_thoughts else None
            return default if limit is None else limit, shown, None
        if is_off(wanted):
            off = "between_tools" if rules is not None and rules.off == "between_tools" else "disabled"
            return MAX_TOKENS if limit is None else limit, {"type": off}, None
        if isinstance(wanted, int):
            budget = wanted
        elif not _BEFORE_EFFORT.search(model.replace(".", "-")):
            return MAX_TOKENS_THINKING if limit is None else limit, {**_ADAPTIVE}, wanted
        elif wanted not in _BUDGETS:
            name, known = f"{self._provider}:{model}", " ".join(_BUDGETS)
            raise unsupported_option("reasoning", name, f"it takes {known}, not {wanted!r}")
        else:
            budget = _BUDGETS[wanted] if limit is None else max(_MIN_BUDGET, min(_BUDGETS[wanted], limit // 2))
        if limit is not None and budget >= limit:
            raise self._unsupported("reasoning", f"{budget} tokens of thought leave none of max_tokens={limit}")
        return budget + MAX_TOKENS if limit is None else limit, {"type": "enabled", "budget_tokens": budget}, None

    def _format(self, options: Options) -> Json | None:
        wanted = options.response_format
        if wanted is None:
            return None
        if wanted.schema is None:
            raise self._unsupported("response_format", "it has no plain JSON mode; give a JSON schema or a type")
        return {"type": "json_schema", "schema": self._format_schema(wanted, AnthropicSchema)}

    def _tool(self, tool: Tool) -> Json:
        return self._tool_fields(tool, "input_schema", AnthropicSchema if tool.strict else None, strict=tool.strict)

    def _container(self, messages: Sequence[Message]) -> object:
        """Return the id of the container in which the newest answer's code runs, if any."""
        parts = [part for message in messages for part in message.parts if isinstance(part, VendorPart)]
        own = [part.data for part in parts if self._endpoint.is_own(part) and part.data.get("type") == CONTAINER]
        return own[-1].get("id") if own else None

    def _system(self, messages: Sequence[Message]) -> object:
        """Return the system text: plain if it is one part, else one block for each part."""
        blocks = self._blocks(system_texts(messages, self._provider))
        if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
            return blocks[0]["text"]
        return blocks or None

    def _turns(self, messages: Sequence[Message]) -> list[Json]:
        turns = turns_of(messages, self._content, self._provider)
        return [
            {"role": "assistant" if by_model else "user", "content": _ordered(blocks, by_model=by_model)}
            for by_model, blocks in turns
        ]

    def _content(self, message: Message) -> list[Json]:
        """Return the blocks of a message. None of an answer ends with a thought, as one cut while it thought does.

        Source: https://github.com/tailcallhq/forgecode/issues/2107.
        """
        blocks = self._blocks(message.parts)
        while blocks and blocks[-1]["type"] in _THOUGHTS:
            del blocks[-1]
        return blocks

    def _blocks(self, parts: Iterable[Part]) -> list[Json]:
        return [block for part in parts if (block := self._block(part))]

    def _block(self, part: Part) -> Json | None:
        """Return the content block of a part; None if this API has none for it."""
        match part:
            case TextPart(text=text):  # text of blanks only is refused, also with fields beside it
                return {"type": "text", "text": text, **self._endpoint.fields(part.vendor)} if text.strip() else None
            case ReasoningPart():
                own = self._endpoint.fields(part.vendor)  # the API takes thoughts back with their signature only
                return {"type": "thinking", "thinking": part.text, **own} if own else None
            case ToolCall():
                call = {"type": "tool_use", "id": part.id, "name": self._endpoint.wire_name(part.name)}
                return {**call, "input": part.arguments, **self._endpoint.fields(part.vendor)}
            case ToolResult():
                said: object = self._blocks([TextPart(part.content), *part.media]) if part.media else result_text(part)
                failed = {"is_error": True} if part.is_error else {}
                return {"type": "tool_result", "tool_use_id": part.id, "content": said, **failed}
            case VendorPart(data=data):
                return data if self._endpoint.is_own(part) and data.get("type") != CONTAINER else None
            case _:
                return self._media(part)

    def _media(self, part: MediaPart) -> Json:
        """Return the block of an image, a PDF or an address as it is, and of other documents as plain text."""
        content = inline(part)
        if isinstance(part, ImagePart):
            self._refuse_detail(part)
            kind, title = "image", None
        elif isinstance(part, DocumentPart):
            kind, title = "document", part.name
        else:
            raise self._unsupported_part(part, "the Messages API does not accept audio; send a transcript as text")
        if content is None:
            source: Json = {"type": "url", "url": part.url}
        elif kind == "image" or content.media_type == "application/pdf":
            source = {"type": "base64", "media_type": content.media_type, "data": content.base64}
        elif content.media_type.startswith("text/"):
            text = base64.b64decode(content.base64).decode("utf-8", "replace")
            source = {"type": "text", "media_type": "text/plain", "data": text}
        else:
            raise self._unsupported_part(part, f"documents are PDF or text, not {content.media_type}")
        return without_none(type=kind, source=source, title=title)


def _ordered(blocks: list[Json], *, by_model: bool) -> list[Json]:
    """Return the blocks of a turn in the order that the API demands.

    Results come first in a user's turn. In the model's, text that other vendors put behind their calls stands
    before them.
    """
    if not by_model:
        return sorted(blocks, key=lambda block: block["type"] != "tool_result")
    if all(block["type"] in ("text", "tool_use") for block in blocks):
        return sorted(blocks, key=lambda block: block["type"] == "tool_use")
    return blocks
