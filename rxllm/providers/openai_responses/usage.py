"""What the last event of the OpenAI Responses wire holds beside the answer: counts, cost, circumstances."""

from __future__ import annotations

from ..._json import count_at, is_object, object_at
from ..._protocol import JsonObject
from ...events import Usage


def usage_of(counts: JsonObject) -> Usage | None:
    """Return the usage in a `usage` object; None if it has none."""
    usage = Usage(
        input_tokens=count_at(counts, "input_tokens"),
        output_tokens=count_at(counts, "output_tokens"),
        total_tokens=count_at(counts, "total_tokens"),
        cached_input_tokens=count_at(object_at(counts, "input_tokens_details"), "cached_tokens"),
        reasoning_tokens=count_at(object_at(counts, "output_tokens_details"), "reasoning_tokens"),
    )
    return None if usage == Usage() else usage


def unmodelled_counts(counts: JsonObject) -> dict[str, object]:
    """Return the fields of a `usage` object that `Usage` has none for."""
    rest: dict[str, object] = {}
    for name, value in counts.items():
        if is_object(value):
            value = {key: count for key, count in value.items() if key not in _COUNTED and count}
        if name not in _COUNTED and value:
            rest[name] = value
    return rest


def unmodelled_outcome(event: JsonObject) -> dict[str, object]:
    """Return the fields of the last event that are neither the answer nor an echo of the request."""
    response = object_at(event, "response")
    data = {**response, **{name: value for name, value in event.items() if name not in _ENVELOPE}}
    return {name: value for name, value in data.items() if name not in _KNOWN and value}


_COUNTED = frozenset({"input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"})
_ENVELOPE = frozenset({"type", "response", "sequence_number"})
_ANSWER = frozenset({"id", "object", "model", "status", "output", "output_text", "usage", "error", "created_at"})
_REQUEST_ECHO = frozenset(
    {
        *(
            "instructions",
            "input",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "max_tool_calls",
            "text",
            "truncation",
        ),
        *("temperature", "top_p", "top_logprobs", "frequency_penalty", "presence_penalty", "max_output_tokens"),
        *("reasoning", "store", "background", "metadata", "previous_response_id", "user", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "completed_at"),
    }
)
_KNOWN = _ANSWER | _REQUEST_ECHO
