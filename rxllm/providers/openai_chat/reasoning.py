"""Where reasoning hides in a chat completion delta, and how it is fields to be sent back."""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import Json, is_array, is_object, objects_at
from ..._protocol import JsonObject

DETAILS = "reasoning_details"


def reasoning_of(delta: JsonObject) -> tuple[str, str]:
    """Return the reasoning in a delta and the field that holds it; "" if there is none.

    Some vendors repeat the same text in several fields: only the first field that is not empty is used.
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


def joined_field(pieces: Sequence[object]) -> object:
    """Return the value of a field of a whole answer from its values in the deltas.

    Lists of objects are joined entry by entry. Texts are joined, unless each delta repeats the same one. Of other
    values the last one counts.
    """
    if all(is_array(piece) and all(map(is_object, piece)) for piece in pieces):
        return _joined_entries([entry for piece in pieces if is_array(piece) for entry in piece if is_object(entry)])
    if all(isinstance(piece, str) for piece in pieces):
        return pieces[-1] if all(piece == pieces[0] for piece in pieces) else "".join(map(str, pieces))
    return pieces[-1]


def _joined_entries(pieces: Sequence[Json]) -> list[Json]:
    """Return the entries of such a list, `reasoning_details` and the like: deltas of one entry joined.

    A signature is the last thing that comes of an entry: words behind it, or another one, are of the next.
    """
    groups: list[list[Json]] = []
    signed: object = None
    for piece in pieces:
        signature = piece.get("signature")
        is_other = not groups or any(groups[-1][0].get(key) != piece.get(key) for key in ("type", "index"))
        is_next = signed and signature != signed and (signature or any(map(piece.get, _JOINED)))
        if is_other or is_next or "data" in piece:
            groups.append([])
            signed = None
        groups[-1].append(piece)
        signed = signature or signed
    return list(map(_joined_entry, groups))


def _joined_entry(pieces: Sequence[Json]) -> Json:
    """Return one entry: its texts joined, of everything else the last value."""
    entry = {key: value for piece in pieces for key, value in piece.items() if value is not None}
    for name in _JOINED:
        texts = [str(piece[name]) for piece in pieces if isinstance(piece.get(name), str)]
        entry |= {name: "".join(texts)} if texts else {}
    return entry


_JOINED = ("text", "summary", "thinking")
"""The keys of the words in an entry."""
_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
_WORDS = ("text", "thinking", "summary", "reasoning", "content")
