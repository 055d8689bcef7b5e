"""The output items of one answer of the OpenAI Responses wire, told apart however a server names them.

An event belongs to the item at its `output_index`; some servers send none (then by the item's id),
and some rotate the ids (so the index goes first). A stream that was resumed begins inside an item
that it never announced: that item is made up from the first event that needs it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..._json import int_at, is_object, text_at
from ..._protocol import JsonObject

WIRE = "openai-responses"
"""The name under which this wire keeps its own fields in message parts."""

Voice: TypeAlias = Literal["text", "refusal", "reasoning", "summary"]
"""What a piece of a message or reasoning item is: "summary" is reasoning told in short."""


def call_fields(told: JsonObject) -> dict[str, object]:
    """What a function_call item says beyond what a `ToolCall` holds: which program called, its namespace."""
    return {name: value for name, value in told.items() if name not in _CALL and value is not None}


class Speech:
    """One part of an item, as it is streamed: what identifies its deltas, and how long it has become."""

    __slots__ = ("content_index", "delta", "item_id", "length", "output_index", "summary_index")

    def __init__(self, delta: str, event: JsonObject) -> None:
        self.delta = delta
        """The type of the events that carry its pieces."""
        self.output_index = event.get("output_index")
        self.content_index = event.get("content_index")
        self.summary_index = event.get("summary_index")
        self.item_id = event.get("item_id")
        self.length = 0


class Item:
    """One output item."""

    __slots__ = ("annotated", "announced", "call", "done", "kind", "refusal", "speeches", "told", "voice")

    def __init__(self, kind: str, told: dict[str, object], *, announced: bool) -> None:
        self.kind = kind
        self.told = told
        """The item as last told; parts of the answer that carry it back share this very object."""
        self.announced = announced
        self.done = False
        self.annotated = False
        self.call: int | None = None
        self.voice: Voice | None = None
        """The one way of telling reasoning that is taken; a server may tell the same thought in two."""
        self.refusal: list[str] = []
        self.speeches: dict[tuple[Voice, int], Speech] = {}

    def retell(self, told: JsonObject) -> None:
        """Take a later, fuller telling of the item."""
        now = dict(told)
        self.told.clear()
        self.told.update(now)

    def length(self, *voices: Voice) -> int | None:
        """How long what was streamed in these voices is; None where nothing was."""
        lengths = [speech.length for (voice, _), speech in self.speeches.items() if voice in voices]
        return sum(lengths) if lengths else None


class Items:
    """All output items of one answer."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self.kinds: set[str] = set()
        self._at: dict[int, Item] = {}
        self._of: dict[str, Item] = {}

    def add(self, event: JsonObject, told: JsonObject, *, announced: bool = True) -> Item:
        """A new item, which `event` speaks of."""
        item = Item(text_at(told, "type") or "unknown", dict(told), announced=announced)
        self.all.append(item)
        self.kinds.add(item.kind)
        index = int_at(event, "output_index")
        if index is not None:
            self._at[index] = item
        for name in (text_at(told, "id"), text_at(told, "call_id"), text_at(event, "item_id")):
            if name is not None:
                self._of[name] = item
        return item

    def of_event(self, event: JsonObject, kind: str | None = None) -> Item | None:
        """The item that `event` speaks of, if it is known and of `kind`."""
        index = int_at(event, "output_index")
        if index is not None:
            item = self._at.get(index)
        elif (name := text_at(event, "item_id")) is not None:
            item = self._of.get(name)
        else:
            told = event.get("item")
            item = self.named(told) if is_object(told) else (self.all[-1] if self.all else None)
        return item if item is not None and kind in (None, item.kind) else None

    def named(self, told: JsonObject) -> Item | None:
        """The item that has the id or call_id of `told`."""
        names = (text_at(told, "id"), text_at(told, "call_id"))
        return next((self._of[name] for name in names if name is not None and name in self._of), None)


_CALL = frozenset({"type", "id", "call_id", "name", "arguments", "status"})
