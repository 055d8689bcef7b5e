"""How the vendors that speak OpenAI Chat Completions differ in what they take: data, no behaviour.

The values are in `vendors.json`. What they send back differs as well, but every decoder reads all
of that: see `openai_chat.decoder`. What single models take is in `providers.model_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Documents: TypeAlias = Literal["file", "file_or_url", "file_url", "document_url"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the requests that a vendor accepts differ from OpenAI's; the defaults suit an unknown gateway."""

    key_header: str = "Authorization"
    """The header for the key; in Authorization it is a bearer token, elsewhere it stands alone."""
    rules: str = ""
    """The maker whose rows in `model_rules` hold for the models here; "" for none."""
    one_system_message: bool = False
    """Whether all system messages become one, at the front: templates of local models refuse any other."""
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: str = "seed"
    required_choice: Literal["required", "any"] = "required"
    """The word for "call some tool"."""
    stream_options: bool = True
    """Whether usage must be requested, and may be."""
    reasoning: Literal["reasoning_effort", "reasoning"] = "reasoning_effort"
    """Efforts as a word under `reasoning_effort`, or everything in OpenRouter's `reasoning` object."""
    reasoning_off: Mapping[str, object] | None = None
    """The fields that turn thinking off, if that is not the effort "none"."""
    reasoning_budget: str | None = None
    """The field for a budget in tokens, if `reasoning` is a word and there is one."""
    formats: tuple[Literal["json_object", "json_schema"], ...] = ("json_object", "json_schema")
    object_root: bool = False
    """Whether the schema of an answer must have an object at its root."""
    format_beside_tools: bool = True
    """Whether it calls tools beside a requested answer format; else the format wins, and no tool is called."""
    documents: Documents | None = "file"
    audio: Literal["object", "text"] | None = "object"
    """Whether `input_audio` holds an object with data and format, or the data alone."""
    reasoning_back: tuple[str, ...] = ()
    """The message fields in which this vendor takes its own reasoning back; "content" is Mistral's thinking chunk."""
    reasoning_back_without_tools: bool = False
    """Whether it takes reasoning back even if the request has no tools."""
    reasoning_on_calls: str | None = None
    """The field that every message with tool calls must have, "" if nothing was thought. DeepSeek answers 400
    without it: https://api-docs.deepseek.com/guides/thinking_mode."""
    unknown_fields_back: bool = False
    """Whether fields of an answer that we do not model go back to it."""
    empty_content: str | None = None
    """The `content` of a message that holds tool calls only."""
    message_after_tool: str | None = None
    """What the assistant says between a tool's result and the user, if the vendor requires a message there.
    Mistral's error 3230 without it: https://github.com/avante-corp/avante.nvim/issues/2562."""
    call_ids: str = ".+"
    """A pattern of the tool calls' ids that it takes. Ids with `__thought__` go back as they are: LiteLLM keeps
    a thought signature of Gemini in them."""
    unsupported: tuple[str, ...] = ()
    """Names of `Options` this vendor has no field for."""


GATEWAY = Dialect(
    reasoning_back=("reasoning_content", "reasoning", "reasoning_text", "reasoning_details"),
    unknown_fields_back=True,
    empty_content="",
)
