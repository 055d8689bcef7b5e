"""OpenAI Responses streams for tests, in few words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from rxllm.events import StreamEnd, StreamStart, TokenEvent
from rxllm.providers.openai_responses import OpenAIResponsesDecoder
from tests.providers.recordings import Played, play

Event = dict[str, object]

COUNTS: Event = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 14,
}


def decoder() -> OpenAIResponsesDecoder:
    return OpenAIResponsesDecoder("acme")


def created(**response: object) -> Event:
    return {
        "type": "response.created",
        "response": {"id": "resp_1", "model": "m-1", "status": "in_progress", **response},
    }


def added(index: int, kind: str, **item: object) -> Event:
    """An item begins."""
    told = {"id": f"item_{index}", "type": kind, **item}
    return {"type": "response.output_item.added", "output_index": index, "item": told}


def done(index: int, kind: str, **item: object) -> Event:
    """An item is whole."""
    return added(index, kind, **item) | {"type": "response.output_item.done"}


def delta(piece: object, index: int = 0, of: str = "output_text", **fields: object) -> Event:
    """A piece of an item; `of` is the family of the event."""
    kind = f"response.{of}.delta"
    return {
        "type": kind,
        "item_id": f"item_{index}",
        "output_index": index,
        "content_index": 0,
        "delta": piece,
        **fields,
    }


def told(kind: str, index: int = 0, **fields: object) -> Event:
    """Another event about an item."""
    return {"type": f"response.{kind}", "item_id": f"item_{index}", "output_index": index, "content_index": 0, **fields}


def completed(*output: Mapping[str, object], status: str = "completed", **response: object) -> Event:
    whole = {"id": "resp_1", "model": "m-1", "status": status, "output": output, **response}
    return {"type": f"response.{status}", "response": whole}


def message(*texts: str) -> list[Event]:
    """The content of a message item."""
    return [{"type": "output_text", "text": text, "annotations": []} for text in texts]


def plain_answer(*pieces: str) -> list[Event]:
    """An answer told as OpenAI tells it: in deltas, by part, by item, and at the end."""
    text = "".join(pieces)
    part = {"type": "output_text", "text": text, "annotations": []}
    return numbered(
        [
            created(),
            {"type": "response.in_progress", "response": {"id": "resp_1", "model": "m-1"}},
            added(0, "message", role="assistant", content=[]),
            told("content_part.added", part={**part, "text": ""}),
            *(delta(piece, logprobs=[], obfuscation="x") for piece in pieces),
            told("output_text.done", text=text),
            told("content_part.done", part=part),
            done(0, "message", role="assistant", content=[part]),
            completed({"type": "message", "id": "item_0", "content": [part]}, usage=COUNTS),
        ]
    )


def numbered(events: Iterable[Mapping[str, object]], start: int = 0) -> list[Event]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events, start)]


def body(*events: Mapping[str, object], named: bool = True) -> bytes:
    names = (f"event: {event.get('type')}\n" if named else "" for event in events)
    return "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, events, strict=True)).encode()


def played(*events: Mapping[str, object]) -> Played:
    return play(decoder(), [body(*events)])


def said(*events: Mapping[str, object]) -> tuple[TokenEvent, ...]:
    """The token events of a stream that ends well, in short: without StreamStart and StreamEnd."""
    result = played(*events)
    if result.error is not None:
        raise result.error
    return tuple(event for event in result.events if not isinstance(event, StreamStart | StreamEnd))
