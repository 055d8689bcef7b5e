"""How the vendors that speak OpenAI Chat Completions differ in what they take. Data, no behaviour.

What they send back is_other_call as well, but every decoder reads all of that: see `openai_chat`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Documents: TypeAlias = Literal["file", "file_or_url", "file_url", "document_url"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What one vendor takes, where it is not what OpenAI takes; the defaults suit an unknown gateway."""

    key_header: str = "Authorization"
    """The header for the key; in Authorization it is a bearer token, elsewhere it stands alone."""
    system_role: Literal["system", "developer"] = "system"
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: str = "seed"
    required_choice: Literal["required", "any"] = "required"
    """The word for "call some tool"."""
    stream_options: bool = True
    """Whether usage must be requested, and may be."""
    reasoning: Literal["reasoning_effort", "reasoning"] = "reasoning_effort"
    """Efforts as a word under `reasoning_effort`, or everything in OpenRouter's `reasoning` object."""
    efforts: tuple[str, ...] = ("low", "medium", "high")
    reasoning_budget: str | None = None
    """The field for a budget in tokens, where `reasoning` is a word and there is one."""
    formats: tuple[Literal["json_object", "json_schema"], ...] = ("json_object", "json_schema")
    format_beside_tools: bool = True
    """Whether it calls tools beside a requested answer format; else the format wins, and no tool is called."""
    documents: Documents | None = "file"
    audio: Literal["object", "text"] | None = "object"
    """Whether `input_audio` holds an object with data and format, or the data alone."""
    reasoning_back: tuple[str, ...] = ()
    """The message fields in which this vendor takes its own reasoning back while tools are in play."""
    call_ids: str = ".+"
    """A pattern of the tool calls' ids that it takes."""
    unsupported: tuple[str, ...] = ()
    """Names of `Options` this vendor has no field for."""


GATEWAY = Dialect(reasoning_back=("reasoning_content", "reasoning", "reasoning_text", "reasoning_details"))
OPENAI = Dialect(max_tokens="max_completion_tokens", call_ids=".{1,40}", unsupported=("top_k",))
AZURE = msgspec.structs.replace(OPENAI, key_header="api-key")
GROQ = Dialect(
    max_tokens="max_completion_tokens",
    documents=None,
    audio=None,
    reasoning_back=("reasoning",),
    unsupported=("top_k",),
)
MISTRAL = Dialect(
    seed="random_seed",
    required_choice="any",
    stream_options=False,
    efforts=("high",),
    documents="document_url",
    audio="text",
    call_ids="[a-zA-Z0-9]{9}",
    unsupported=("top_k",),
)
DEEPSEEK = Dialect(
    formats=("json_object",),
    documents=None,
    audio=None,
    reasoning_back=("reasoning_content",),
    unsupported=("top_k", "seed"),
)
XAI = Dialect(max_tokens="max_completion_tokens", documents=None, audio=None, unsupported=("top_k",))
OPENROUTER = Dialect(reasoning="reasoning", documents="file_or_url", reasoning_back=("reasoning_details", "reasoning"))
TOGETHER = Dialect(documents=None)
FIREWORKS = Dialect(
    reasoning_budget="reasoning_effort", documents=None, audio=None, reasoning_back=("reasoning_content",)
)
CEREBRAS = Dialect(
    max_tokens="max_completion_tokens",
    documents=None,
    audio=None,
    reasoning_back=("reasoning",),
    unsupported=("top_k", "frequency_penalty", "presence_penalty"),
)
PERPLEXITY = Dialect(
    stream_options=False,
    formats=("json_schema",),
    documents="file_url",
    audio=None,
    unsupported=("seed", "stop", "tools", "tool_choice"),
)
VLLM = Dialect(
    reasoning_budget="thinking_token_budget", documents=None, reasoning_back=("reasoning", "reasoning_content")
)
LLAMACPP = Dialect(
    reasoning_budget="thinking_budget_tokens",
    format_beside_tools=False,
    documents=None,
    reasoning_back=("reasoning_content",),
)
LMSTUDIO = Dialect(formats=("json_schema",), documents=None, audio=None, reasoning_back=("reasoning_content",))
