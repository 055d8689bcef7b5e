"""A response as if its text had come through a text filter, so that `StreamEnd` agrees with the deltas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

from msgspec.structs import replace

from ...events import ReasoningDelta, Response, TextDelta
from ...messages import Part, ReasoningPart, TextPart, ToolCall
from .._operator import TextReader

TextFilter: TypeAlias = TextReader[TextDelta | ReasoningDelta]
"""Turns a run of text into other text, or into reasoning. After `close` it is ready for the next run.

Adjacent pieces of a kind are one delta.
"""


def text_delta(text: str) -> Sequence[TextDelta]:
    """Return the delta of `text`; none if it is empty."""
    return (TextDelta(text),) if text else ()


def filter_response(response: Response, text_filter: TextFilter) -> Response:
    """Return `response` with its text, and its parts, sent through `text_filter`, which must be new."""
    parts: list[Part] = []
    for part in response.parts or (TextPart(response.text),):
        if isinstance(part, TextPart):
            parts.extend(_parts_from(part, text_filter.feed(part.text)))
            continue
        if isinstance(part, ReasoningPart | ToolCall):
            _end_run(parts, text_filter.close())
        parts.append(part)
    _end_run(parts, text_filter.close())
    return replace(
        response,
        text="".join(part.text for part in parts if isinstance(part, TextPart)),
        reasoning="".join(part.text for part in parts if isinstance(part, ReasoningPart)) or response.reasoning,
        parts=tuple(parts) if response.parts else (),
    )


def _parts_from(source: TextPart, deltas: Sequence[TextDelta | ReasoningDelta]) -> list[TextPart | ReasoningPart]:
    """Return the parts for `deltas`; the first text among them keeps the vendor's data of `source`."""
    parts = _parts(deltas)
    if source.vendor is None:
        return parts
    place = next((n for n, part in enumerate(parts) if isinstance(part, TextPart)), len(parts))
    parts[place : place + 1] = [TextPart("".join(part.text for part in parts[place : place + 1]), source.vendor)]
    return parts


def _end_run(parts: list[Part], deltas: Sequence[TextDelta | ReasoningDelta]) -> None:
    """Append the text that was held back; it extends the last part if that is of its kind."""
    held = _parts(deltas)
    if held and parts:
        match parts[-1], held[0]:
            case (TextPart() as last, TextPart(text)) | (ReasoningPart() as last, ReasoningPart(text)):
                parts[-1] = replace(last, text=last.text + text)
                del held[0]
            case _:
                pass
    parts.extend(held)


def _parts(deltas: Sequence[TextDelta | ReasoningDelta]) -> list[TextPart | ReasoningPart]:
    return [
        (TextPart if kind is TextDelta else ReasoningPart)("".join(delta.text for delta in group))
        for kind, group in groupby(deltas, key=type)
    ]
