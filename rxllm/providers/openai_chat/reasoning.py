"""Where reasoning hides in a chat completion delta, and how it is fields to be sent back."""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import is_array, is_object, objects_at
from ..._protocol import JsonObject

DETAILS = "reasoning_details"


def reasoning_of(delta: JsonObject) -> tuple[str, str]:
    """Return the reasoning in a delta and the field that holds it; "" where there is none.

    Some vendors say the same words in several fields: the first that speaks counts.
    """
    for field in _FIELDS:
        if (value := delta.get(field)) and (thought := nested_text(value)):
            return thought, field
    return "".join(map(nested_text, objects_at(delta, DETAILS))), DETAILS


def nested_text(value: object) -> str:
    """Return the text in a list entry: under `text`, `thinking` or `summary`, itself text or such a list."""
    if isinstance(value, str):
        return value
    if is_array(value):
        return "".join(map(nested_text, value))
    if not is_object(value):
        return ""
    return next((words for name in _WORDS if (words := nested_text(value.get(name)))), "")


def joined_details(pieces: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the `reasoning_details` of a whole answer: deltas of one entry joined."""
    entries: list[dict[str, object]] = []
    words: list[list[str]] = []
    for piece in pieces:
        name = next((name for name in ("text", "summary") if isinstance(piece.get(name), str)), None)
        last = entries[-1] if entries else None
        rest = {key: value for key, value in piece.items() if key != name and value is not None}
        if last is None or any(last.get(key) != piece.get(key) for key in ("type", "index")) or "data" in piece:
            entries.append(rest)
            words.append([])
        else:
            last.update(rest)
        if name is not None:
            words[-1].append(str(piece[name]))
    for entry, parts in zip(entries, words, strict=True):
        if parts:
            entry["summary" if str(entry.get("type")).endswith("summary") else "text"] = "".join(parts)
    return entries


_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
_WORDS = ("text", "thinking", "summary", "reasoning", "content")
