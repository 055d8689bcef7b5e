"""Token counts under the names of each wire: read from an answer, and written into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from .._json import count_at, is_object, object_at
from .._protocol import JsonObject
from ..events import Usage

CountNames: TypeAlias = Mapping[str, tuple[str, ...]]
"""For each field of `Usage` the vendor's names, of which the first one present counts; "details.cached" is the count
`cached` in the object `details`."""


def usage_of(counts: JsonObject, names: CountNames, before: Usage = Usage()) -> Usage:  # noqa: B008 - frozen
    """Return the usage in a vendor's counts; what they leave out stays as it was `before`."""
    known: dict[str, int] = {}
    for field, paths in names.items():
        for path in paths:
            outer, _, name = path.rpartition(".")
            count = count_at(object_at(counts, outer) if outer else counts, name)
            if count is not None:
                known[field] = count
                break
    return msgspec.structs.replace(before, **known)


def unmodelled_counts(counts: JsonObject, names: CountNames) -> dict[str, object]:
    """Return the filled counts for which `Usage` has no field: costs, times, kinds of tokens."""
    modelled = {path.rpartition(".")[2] for paths in names.values() for path in paths}
    rest: dict[str, object] = {}
    for name, value in counts.items():
        if is_object(value):
            value = {key: count for key, count in value.items() if key not in modelled and count}
        if value and name not in modelled:
            rest[name] = value
    return rest


def written_counts(usage: Usage, names: CountNames) -> dict[str, object]:
    """Return the known counts under a vendor's first name for each."""
    counts: dict[str, object] = {}
    for field, (path, *_) in names.items():
        outer, _, name = path.rpartition(".")
        count = getattr(usage, field)
        if count is not None and outer:
            counts[outer] = {**object_at(counts, outer), name: count}
        elif count is not None:
            counts[name] = count
    return counts


def without_gaps(usage: Usage, *parts: str) -> Usage:
    """Return the usage with 0 for unknown tokens and `parts` of them, and their sum as total: clients add them up."""
    total = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    zeros = {field: 0 for field in ("input_tokens", "output_tokens", *parts) if getattr(usage, field) is None}
    return msgspec.structs.replace(usage, **{**zeros, "total_tokens": usage.total_tokens or total})


CHAT: CountNames = {
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
    "cached_input_tokens": (
        "prompt_tokens_details.cached_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "cache_read_input_tokens",
        "cache_read_tokens",
    ),
    "reasoning_tokens": ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
}
"""OpenAI Chat Completions, with the words of those who speak it otherwise."""

RESPONSES: CountNames = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "total_tokens": ("total_tokens",),
    "cached_input_tokens": ("input_tokens_details.cached_tokens",),
    "reasoning_tokens": ("output_tokens_details.reasoning_tokens",),
}
ANTHROPIC: CountNames = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "cached_input_tokens": ("cache_read_input_tokens",),
    "reasoning_tokens": ("output_tokens_details.thinking_tokens",),
}
"""The total is no count of the vendor's: see `anthropic.decoder`."""

GEMINI: CountNames = {
    "input_tokens": ("promptTokenCount",),
    "output_tokens": ("candidatesTokenCount",),
    "total_tokens": ("totalTokenCount",),
    "cached_input_tokens": ("cachedContentTokenCount",),
    "reasoning_tokens": ("thoughtsTokenCount",),
}
OLLAMA: CountNames = {"input_tokens": ("prompt_eval_count",), "output_tokens": ("eval_count",)}
"""The total is no count of the vendor's: it is the sum."""
