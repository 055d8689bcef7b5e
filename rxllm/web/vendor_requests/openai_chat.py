"""Reads requests of OpenAI's Chat Completions API.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ..._json import is_array
from ...errors import ConfigurationError
from ...messages import Message
from ...prompt import Prompt, messages_of
from ..options import OPTION_NAMES
from ..options import options_of as options_in

NEUTRAL: Mapping[str, Sequence[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "functions": (),
    "function_call": (),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "store": (False,),
}
"""The parameters that are not supported, each with the values that change nothing."""

_IGNORED = frozenset(
    {"user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity"}
)
KNOWN = OPTION_NAMES | NEUTRAL.keys() | _IGNORED | {"model", "messages", "prompt", "stream", "stream_options"}

__all__ = ["KNOWN", "NEUTRAL", "messages_in", "options_in"]


def messages_in(body: Mapping[str, object]) -> tuple[Message, ...]:
    """Return the conversation in `body`; raises `ConfigurationError` that names what is not supported."""
    said = body.get("messages", body.get("prompt"))
    if not isinstance(said, str) and not is_array(said):
        raise ConfigurationError("messages is a list of messages")
    return messages_of(cast(Prompt, said))
