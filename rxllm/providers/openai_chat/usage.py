"""Token counts of chat completion vendors, under all names in use."""

from __future__ import annotations

from ..._json import count_at, object_at
from ..._protocol import JsonObject
from ...events import Usage


def usage_of(counts: JsonObject, before: Usage) -> Usage:
    """Return the usage in a `usage` object; what it leaves out stays as it was `before`."""
    prompt, completion = object_at(counts, "prompt_tokens_details"), object_at(counts, "completion_tokens_details")

    def known(value: int | None, old: int | None) -> int | None:
        return old if value is None else value

    return Usage(
        input_tokens=known(_count(counts, "prompt_tokens", "input_tokens"), before.input_tokens),
        output_tokens=known(_count(counts, "completion_tokens", "output_tokens"), before.output_tokens),
        total_tokens=known(_count(counts, "total_tokens"), before.total_tokens),
        cached_input_tokens=known(
            known(_count(prompt, "cached_tokens"), _count(counts, *_CACHED)), before.cached_input_tokens
        ),
        reasoning_tokens=known(
            known(_count(completion, "reasoning_tokens"), _count(counts, "reasoning_tokens")), before.reasoning_tokens
        ),
    )


def unmodelled_counts(counts: JsonObject) -> dict[str, object]:
    """Return the fields of a `usage` object that `Usage` has none for: costs, times, kinds of tokens."""
    rest = {name: value for name, value in counts.items() if name not in _MODELLED and value}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = {key: value for key, value in object_at(counts, name).items() if key not in _MODELLED and value}
        if details:
            rest[name] = details
    return rest


_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_MODELLED = {
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "reasoning_tokens",
    *_CACHED,
}


def _count(counts: JsonObject, *names: str) -> int | None:
    return next((count for name in names if (count := count_at(counts, name)) is not None), None)
