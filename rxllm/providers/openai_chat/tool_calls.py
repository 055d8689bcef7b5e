"""Tool calls of the OpenAI Chat Completions wire, told apart whatever the vendor leaves out.

Vendors send a call whole or in pieces; with an index, with the same index for all, with gaps or
with none; with an id once, on every piece, empty, or new each time; with the name again and again.
A piece belongs to the call at its index (without one: to the call of its id, else to the call at its
position in the list before, else the last one), unless it names a function and cannot be of that call.
Names and ids are never joined.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import encode, int_at, is_object, object_at, objects_at, text_at
from ..._protocol import JsonObject
from ...events import TokenEvent, VendorEvent
from ...messages import VendorFields
from .._answer_builder import Reply, arguments_of
from .messages import EXTRA, WIRE


def calls_of(delta: JsonObject) -> list[dict[str, object]]:
    """The calls, or pieces of calls, in a delta; the old `function_call` is the call at index 0."""
    told = delta.get("tool_calls")
    if is_object(told):
        return [told]
    calls = objects_at(delta, "tool_calls") if told else []
    function = delta.get("function_call")
    return [*calls, {"index": 0, "function": function}] if function and is_object(function) else calls


class ToolCalls:
    """The calls of one answer, as they grow; what is known of them goes to a `Reply`."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._calls: dict[int, _Growing] = {}
        self._at_index: dict[int, int] = {}
        self._of_id: dict[str, int] = {}
        self._last: int | None = None
        self._row: list[int | None] = []
        """The calls in the last list of several."""
        self._free = 0
        """A number above those of all calls."""

    def take(self, items: Sequence[dict[str, object]]) -> list[TokenEvent]:
        """The events that the entries of one `tool_calls` list bring."""
        if len(items) == 1:
            return self._take(items[0])
        events: list[TokenEvent] = []
        row: list[int | None] = []
        for position, item in enumerate(items):
            if len(items) == len(self._row):
                self._last = self._row[position]
            events += self._take(item)
            row.append(self._last)
        self._row = row
        return events

    def end(self) -> list[TokenEvent]:
        """End every call whose arguments are whole."""
        events: list[TokenEvent] = []
        for at, call in self._calls.items():
            if call.name and not call.begun:
                events += self._begin(at, call)
        events += self._reply.end_calls()
        return events

    def broken(self) -> str | None:
        """After `end`: the name of a call that could not be ended, if there is one ("" where it has none)."""
        nameless = any(not call.begun for call in self._calls.values())
        return "" if nameless else self._reply.unfinished_call()

    def _take(self, item: dict[str, object]) -> list[TokenEvent]:
        if "custom" in item:
            return [VendorEvent("custom_tool_call", item)]  # its input is free text: no call of a function
        function = object_at(item, "function") or item
        call_id, name = text_at(item, "id") or "", text_at(function, "name") or ""
        piece = _text_of(function.get("arguments"))
        if not (call_id or name or piece):
            return []
        at = self._place(int_at(item, "index"), call_id, name, piece)
        call = self._calls[at]
        if name and piece and call_id and call_id == call.id and call.is_whole():
            return []  # the finished call told once more
        call.id, call.name = call.id or call_id, call.name or name
        call.extra = call.extra or object_at(item, EXTRA)
        if piece:
            call.pieces.append(piece)
        if call.begun:
            return [self._reply.add_arguments(at, piece)] if piece else []
        return self._begin(at, call) if call.name and (call.id or piece) else []

    def _begin(self, at: int, call: _Growing) -> list[TokenEvent]:
        """Start a call whose name is known; one without an id gets one, so that a result can name it."""
        call.begun = True
        vendor: VendorFields | None = {WIRE: {EXTRA: call.extra}} if call.extra else None
        start = self._reply.start_call(at, call.id or f"call_{at}", call.name, vendor)
        return [start, *(self._reply.add_arguments(at, piece) for piece in call.pieces)]

    def _place(self, index: int | None, call_id: str, name: str, piece: str) -> int:
        """The number of the call that a piece belongs to, a new one if need be."""
        by_id = self._of_id.get(call_id) if call_id else self._last
        at = by_id if index is None else self._at_index.get(index)
        if at is None and index in self._calls and index not in self._at_index.values():
            at = index  # told without its index so far
        if at is None or self._calls[at].differs(call_id, name, piece):
            at = self._free if index is None or index in self._calls else index
            self._free = max(self._free, at + 1)
            self._calls[at] = _Growing()
        if index is not None:
            self._at_index[index] = at
        if call_id:
            self._of_id[call_id] = at
        self._last = at
        return at


class _Growing:
    """A call as its pieces come."""

    __slots__ = ("begun", "extra", "id", "name", "pieces")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.begun = False
        self.extra: dict[str, object] = {}

    def differs(self, call_id: str, name: str, piece: str) -> bool:
        """Whether a piece with this id and name cannot be of this call.

        An id alone proves nothing: some servers make a new one for every piece.
        """
        if not name:
            return False
        if call_id and self.id:
            return call_id != self.id
        return bool(self.name) and (name != self.name or bool(piece and self.is_whole()))

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object, or the text "null"."""
        last = next((piece for piece in reversed(self.pieces) if not piece.isspace()), "")
        # Their end tells most of it, and costs nothing: a server may repeat the name with every piece.
        return last.rstrip().endswith(("}", "l")) and arguments_of("".join(self.pieces)) is not None


def _text_of(arguments: object) -> str:
    """A piece of arguments as text; some servers send them parsed."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else encode(arguments).decode()
