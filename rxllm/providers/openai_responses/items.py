"""The output items of one answer of the OpenAI Responses wire, and which item an event belongs to.

An event belongs to the item that has its `item_id`, else to the item at its `output_index`: some servers
change the ids on the way (then the index counts), and some give one index to two items (then the id
counts). A stream that was resumed begins inside an item that it never announced: that item is made
from the first event that needs it.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import msgspec

from ..._json import int_at, object_at, text_at
from ..._protocol import JsonObject

TextKind: TypeAlias = Literal["text", "refusal", "reasoning", "summary"]
"""The kind of text in a content part; "summary" is a summary of reasoning."""


class ContentPart(msgspec.Struct):
    """One content part of an item while it is streamed: the fields that its deltas share, and its length."""

    delta: str
    """The type of the events that carry its deltas."""
    output_index: object = None
    content_index: object = None
    summary_index: object = None
    item_id: object = None
    length: int = 0
    """Characters received."""

    @classmethod
    def of_event(cls, delta: str, event: JsonObject) -> Self:
        """Return the part that an event begins."""
        get = event.get
        return cls(delta, get("output_index"), get("content_index"), get("summary_index"), get("item_id"))


class Item(msgspec.Struct):
    """One output item."""

    type: str
    data: dict[str, object]
    """The newest JSON of the item; parts of the answer that carry it back share this very object."""
    announced: bool
    """An output_item.added or .done event has named it."""
    index: int | None
    names: frozenset[str]
    """The ids by which events name it."""
    done: bool = False
    annotated: bool = False
    call: int | None = None
    """The index of its tool call, once that has started."""
    arguments: str | None = None
    """The whole arguments, if function_call_arguments.done gave them."""
    reasoning_kind: TextKind | None = None
    """"reasoning" or "summary": a server may send one thought as both, and only the first is taken."""
    refusal: list[str] = []
    content_parts: dict[tuple[TextKind, int], ContentPart] = {}

    def update(self, data: JsonObject) -> None:
        """Replace the item's JSON by newer, fuller JSON."""
        newer = dict(data)
        self.data.clear()
        self.data.update(newer)

    def text_length(self) -> int | None:
        """Return how many characters of text were streamed; None if no text part was streamed."""
        lengths = [part.length for (kind, _), part in self.content_parts.items() if kind == "text"]
        return sum(lengths) if lengths else None


class Items:
    """All output items of one answer."""

    def __init__(self) -> None:
        self.all: list[Item] = []

    def add(self, event: JsonObject, data: JsonObject, *, announced: bool = True) -> Item:
        """Add the item that `event` is about, and return it."""
        index = int_at(event, "output_index")
        item = Item(text_at(data, "type") or "unknown", dict(data), announced, index, frozenset(_names(event, data)))
        self.all.append(item)
        return item

    def of_event(self, event: JsonObject, item_type: str | None = None) -> Item | None:
        """Return the newest item that `event` is about; None if it is unknown, or not of `item_type`."""
        data, index = object_at(event, "item"), int_at(event, "output_index")
        names = _names(event, data)
        of_type = [item for item in reversed(self.all) if item_type in (None, item.type)]
        for item in of_type:
            if item.names.intersection(names):
                return item
        if index is not None:
            return next((item for item in of_type if item.index == index), None)
        return of_type[0] if of_type and of_type[0] is self.all[-1] and not (names or data) else None


def _names(event: JsonObject, data: JsonObject) -> list[str]:
    """Return the ids by which an event names its item."""
    names = (event.get("item_id"), data.get("id"), data.get("call_id"))
    return [name for name in names if isinstance(name, str) and name]
