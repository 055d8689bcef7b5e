"""A response as it would have come through a text filter: what `StreamEnd` holds agrees with the deltas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from msgspec.structs import replace

from ...events import ReasoningDelta, Response, TextDelta
from ...messages import Part, ReasoningPart, TextPart, ToolCall


class TextFilter(Protocol):
    """Makes other text of text: text, or reasoning."""

    def feed(self, text: str, /) -> Sequence[TextDelta | ReasoningDelta]:
        """What is certain now that `text` has come; neighbouring pieces of a kind are one delta."""
        ...

    def close(self) -> Sequence[TextDelta | ReasoningDelta]:
        """What was held back, now that the run has ended; ready for the next run then."""
        ...


def filter_response(response: Response, text_filter: TextFilter) -> Response:
    """`response` with its text, and its parts, sent through `text_filter` (a fresh one)."""
    parts: list[Part] = []
    for part in response.parts or (TextPart(response.text),):
        if isinstance(part, TextPart):
            parts.extend(_made_of(part, text_filter.feed(part.text)))
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


def _made_of(source: TextPart, deltas: Sequence[TextDelta | ReasoningDelta]) -> list[TextPart | ReasoningPart]:
    """The parts that `deltas` are; the first text among them keeps what the vendor wants back with `source`."""
    parts = _parts(deltas)
    if source.vendor is None:
        return parts
    place = next((n for n, part in enumerate(parts) if isinstance(part, TextPart)), len(parts))
    parts[place : place + 1] = [TextPart("".join(part.text for part in parts[place : place + 1]), source.vendor)]
    return parts


def _end_run(parts: list[Part], deltas: Sequence[TextDelta | ReasoningDelta]) -> None:
    """Add what was held back to the end of a run: it goes on with the last part where it is of its kind."""
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
