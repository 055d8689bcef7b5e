"""Reads requests of OpenAI's Chat Completions API.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ..._json import is_array, object_at
from ...errors import ConfigurationError
from ...prompt import Prompt, messages_of
from ..options import OPTION_NAMES, options_of
from .vendor_request import VendorRequest, extra_of, model_of, refuse_unsupported

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
_KNOWN = OPTION_NAMES | _NEUTRAL.keys() | _IGNORED | {"model", "messages", "prompt", "stream", "stream_options"}


def read(body: Mapping[str, object]) -> VendorRequest:
    """Return the request in `body`; raises `ConfigurationError` that names what is not supported."""
    refuse_unsupported(body, _NEUTRAL)
    said = body.get("messages", body.get("prompt"))
    if not isinstance(said, str) and not is_array(said):
        raise ConfigurationError("messages is a list of messages")
    return VendorRequest(
        model_of(body),
        messages_of(cast(Prompt, said)),
        options_of(body),
        body.get("stream") is True,
        extra_of(body, _KNOWN),
        object_at(body, "stream_options").get("include_usage") is True,
    )
