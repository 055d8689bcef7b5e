"""The output items of one answer of the OpenAI Responses wire, and which item an event belongs to.

An event belongs to the item that has its `item_id`, else to the item at its `output_index`: some servers
change the ids on the way (then the index counts), and some give one index to two items (then the id
counts). A stream that was resumed begins inside an item that it never announced: that item is made
from the first event that needs it.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import msgspec

from ..._json import int_at, is_object, text_at
from ..._protocol import JsonObject

TextKind: TypeAlias = Literal["text", "refusal", "reasoning", "summary"]
"""The kind of text in a content part; "summary" is a summary of reasoning."""


def call_fields(data: JsonObject) -> dict[str, object]:
    """Return the fields of a function_call item that a `ToolCall` has no attribute for."""
    return {name: value for name, value in data.items() if name not in _CALL_FIELDS and value is not None}


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
        self._by_index: dict[int, Item] = {}
        self._by_id: dict[str, Item] = {}

    def add(self, event: JsonObject, data: JsonObject, *, announced: bool = True) -> Item:
        """Add the item that `event` is about, and return it."""
        item = Item(text_at(data, "type") or "unknown", dict(data), announced)
        self.all.append(item)
        index = int_at(event, "output_index")
        if index is not None:
            self._by_index[index] = item
        for name in (text_at(data, "id"), text_at(data, "call_id"), text_at(event, "item_id")):
            if name is not None:
                self._by_id[name] = item
        return item

    def of_event(self, event: JsonObject, item_type: str | None = None) -> Item | None:
        """Return the item that `event` is about; None if it is unknown, or not of `item_type`."""
        data = event.get("item")
        item = self._by_id.get(text_at(event, "item_id") or "")
        if item is None and is_object(data):
            item = self.by_id(data)
        if item is None or item_type not in (None, item.type):
            index = int_at(event, "output_index")
            if index is not None:
                item = self._by_index.get(index)
            elif item is None and not is_object(data) and text_at(event, "item_id") is None:
                item = self.all[-1] if self.all else None
        return item if item is not None and item_type in (None, item.type) else None

    def by_id(self, data: JsonObject) -> Item | None:
        """Return the known item that has the id or call_id of the item in `data`."""
        names = (text_at(data, "id"), text_at(data, "call_id"))
        return next((self._by_id[name] for name in names if name is not None and name in self._by_id), None)


_CALL_FIELDS = frozenset({"type", "id", "call_id", "name", "arguments", "status"})
