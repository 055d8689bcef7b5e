"""Reads requests of OpenAI's Chat Completions API.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ...messages import Message
from ...prompt import Prompt, messages_of
from ..options import OPTION_NAMES, options_of
from .vendor_request import VendorReader

_NEUTRAL: Mapping[str, Sequence[object]] = {
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
_IGNORED = frozenset(
    {"user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity"}
)
_KNOWN = OPTION_NAMES | _IGNORED | {"model", "messages", "prompt", "stream", "stream_options"}


def _messages_in(body: Mapping[str, object]) -> tuple[Message, ...]:
    return messages_of(cast(Prompt, body.get("messages", body.get("prompt"))))


READER = VendorReader(_messages_in, options_of, _NEUTRAL, _KNOWN)
