"""Tool calls of the OpenAI Chat Completions wire, kept apart whatever the vendor leaves out.

Vendors send a call whole or in pieces; with an index, with the same index for all, with gaps or
with none; with an id once, on every piece, empty, or new each time; with the name again and again.
A piece belongs to the call at its index (without one: to the call of its id, else to the call at its
position in the list before, else the last one), unless it names a function and cannot be of that call.
Arguments alone at an index that no call has are of the last call, if they are not whole without them.
Names and ids are never joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ..._json import encode, int_at, is_object, object_at, objects_at, text_at
from ..._protocol import JsonObject
from ...events import TokenEvent, VendorEvent
from .._answer_builder import AnswerBuilder, arguments_of
from .chunk import CallPiece


def calls_of(delta: JsonObject) -> list[dict[str, object]]:
    """Return the calls, or pieces of calls, in a delta; the old `function_call` is the call at index 0."""
    value = delta.get("tool_calls")
    if is_object(value):
        return [value]
    calls = objects_at(delta, "tool_calls") if value else []
    function = delta.get("function_call")
    return [*calls, {"index": 0, "function": function}] if function and is_object(function) else calls


class ToolCalls:
    """The calls of one answer, as they grow; what is known of them goes to an `AnswerBuilder`."""

    def __init__(self, answer: AnswerBuilder) -> None:
        self._answer = answer
        self._calls: dict[int, _PartialCall] = {}
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        """The numbers of the calls, by the index and by the id that the vendor gives them."""
        self._last: int | None = None
        """The number of the call that was added to last: a piece without index and id continues it."""
        self._last_list: list[int | None] = []
        """The numbers of the calls in the last list of several."""
        self._free = 0
        """A number above those of all calls."""

    def add(self, items: Sequence[dict[str, object]]) -> Iterator[TokenEvent]:
        """Add the entries of one `tool_calls` list, and yield their events."""
        calls: list[int | None] = []
        for position, item in enumerate(items):
            if len(items) == len(self._last_list):  # the same calls again: without an index or id, the place counts
                self._last = self._last_list[position]
            yield from self._add_piece(item)
            calls.append(self._last)
        if len(calls) > 1:
            self._last_list = calls

    def continued(self, piece: CallPiece) -> TokenEvent | None:
        """Add a piece to the call at its index; None if that has not begun, or the piece may be a placeholder."""
        at = self._by_index.get(piece.index)
        arguments = piece.function.arguments
        if at is None or not self._calls[at].begun or arguments in ("", "{}"):
            return None
        self._last = at
        self._calls[at].pieces.append(arguments)
        return self._answer.add_arguments(at, arguments)

    def end(self) -> Iterator[TokenEvent]:
        """End every call whose arguments are whole."""
        for at, call in self._calls.items():
            if call.name and not call.begun:
                yield from self._begin(at, call)
            if call.placeholder and call.begun and not call.pieces:
                yield self._answer.add_arguments(at, call.placeholder)
        for index in self._answer.calls:
            self._answer.sign_call(index, self._calls[index].fields)
            yield from self._answer.end_call(index)

    def broken(self) -> str | None:
        """Return, after `end`, the name of a call that could not be ended ("" if it has none), or None."""
        nameless = any(not call.begun for call in self._calls.values())
        return "" if nameless else self._answer.unfinished_call()

    def _add_piece(self, item: dict[str, object]) -> Iterator[TokenEvent]:
        """Add one entry of `tool_calls` to its call, and yield the events."""
        if "custom" in item:
            self._answer.has_other_calls = True
            yield VendorEvent("custom_tool_call", item)
            return
        function = object_at(item, "function") or item
        call_id, name = text_at(item, "id") or "", text_at(function, "name") or ""
        piece = _text_of(function.get("arguments"))
        if not (call_id or name or piece):
            last = self._by_index.get(index) if (index := _index_of(item)) is not None else self._last
            if last is not None:
                self._calls[last].add_fields(item, function)
            return
        at = self._find_call(_index_of(item), call_id, name, piece)
        call = self._calls[at]
        if name and piece and call_id and call_id == call.id and call.is_whole():
            return  # the finished call repeated
        call.id, call.name = call.id or call_id, call.name or name
        call.add_fields(item, function)
        if piece == "{}" and not call.pieces:
            call.placeholder, piece = piece, ""  # no arguments, or some servers' placeholder for those to come
        if piece:
            call.pieces.append(piece)
        if call.begun and piece:
            yield self._answer.add_arguments(at, piece)
        elif not call.begun and call.name and (call.id or piece or call.placeholder):
            yield from self._begin(at, call)

    def _begin(self, at: int, call: _PartialCall) -> Iterator[TokenEvent]:
        """Start a call whose name is known; one without an id gets one, so that a result can name it."""
        call.begun = True
        yield self._answer.start_call(at, call.id or f"call_{at}", call.name)
        for piece in call.pieces:
            yield self._answer.add_arguments(at, piece)

    def _find_call(self, index: int | None, call_id: str, name: str, piece: str) -> int:
        """Return the number of the call that a delta belongs to; a new one if it belongs to none."""
        by_id = self._by_id.get(call_id) if call_id else self._last
        at = by_id if index is None else self._by_index.get(index)
        if at is None and index in self._calls and index not in self._by_index.values():
            at = index  # came without its index so far
        if at is None and not (call_id or name) and self._last is not None and not self._calls[self._last].is_whole():
            return self._last
        is_known = call_id != "" and at is not None and self._by_id.get(call_id) == at
        if at is None or (name and not is_known and self._calls[at].is_other_call(call_id, name, piece)):
            at = self._free if index is None or index in self._calls else index
            self._free = max(self._free, at + 1)
            self._calls[at] = _PartialCall()
        if index is not None:
            self._by_index[index] = at
        if call_id:
            self._by_id[call_id] = at
        self._last = at
        return at


class _PartialCall(msgspec.Struct):
    """A call as its pieces come."""

    id: str = ""
    name: str = ""
    pieces: list[str] = []
    begun: bool = False
    placeholder: str = ""
    fields: dict[str, object] = {}
    """What the vendor said of the call beyond our model of it, such as Gemini's thought signature."""

    def add_fields(self, item: JsonObject, function: JsonObject) -> None:
        """Keep the fields of a piece that are not modelled, to be sent back with the call."""
        if not _CALL_FIELDS.issuperset(item):
            self.fields.update((name, value) for name, value in item.items() if name not in _CALL_FIELDS and value)
        if function is not item and not _CALL_FIELDS.issuperset(function):
            more = {name: value for name, value in function.items() if name not in _CALL_FIELDS and value}
            self.fields |= {"function": more} if more else {}

    def is_other_call(self, call_id: str, name: str, piece: str) -> bool:
        """Return whether a piece with this id and name cannot be of this call.

        An id alone proves nothing: some servers make a new one for every piece.
        """
        if call_id and self.id and call_id != self.id:
            return bool(self.pieces or self.placeholder) or name != self.name
        if call_id and self.id:
            return False
        return bool(self.name) and (name != self.name or bool(piece and self.is_whole()))

    def is_whole(self) -> bool:
        """Return whether the arguments so far are a JSON object, or the text "null"."""
        last = next((piece for piece in reversed(self.pieces) if not piece.isspace()), self.placeholder)
        # Their end decides most cases, and costs nothing: a server may repeat the name with every piece.
        return last.rstrip().endswith(("}", "l")) and arguments_of("".join(self.pieces)) is not None


_CALL_FIELDS = frozenset({"index", "id", "type", "function", "name", "arguments"})


def _index_of(item: JsonObject) -> int | None:
    """Return the index of a call; some servers send it as text."""
    index = item.get("index")
    return int(index) if isinstance(index, str) and index.isdecimal() else int_at(item, "index")


def _text_of(arguments: object) -> str:
    """Return a piece of arguments as text; some servers send them parsed."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else encode(arguments).decode()
