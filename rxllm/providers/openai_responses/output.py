"""The output of one answer of the OpenAI Responses wire: what each event adds to an `AnswerBuilder`.

The wire repeats everything: in deltas, when a part is done, when its item is done, and in the last
event. The first mention counts. What goes back to the vendor takes its place among the parts when its
item begins, since items may end in another order than they began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..._json import encode, int_at, is_object, object_at, objects_at, text_at
from ..._protocol import JsonObject
from ...errors import ProtocolError
from ...events import TokenEvent, VendorEvent
from .._answer_builder import AnswerBuilder, arguments_of
from .._frame_reader import fields_back
from .items import ContentPart, Item, Items, TextKind

DELTAS: Mapping[str, TextKind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning.delta": "reasoning",
    "response.reasoning_summary_text.delta": "summary",
}
"""The events that carry a delta of text, refusal or reasoning."""

DONES: Mapping[str, TextKind] = {f"{name.removesuffix('delta')}done": kind for name, kind in DELTAS.items()}
"""The events that carry the whole text that such deltas make."""


class OutputReader:
    """Reads the events of output items; each method takes an event's type and JSON and returns token events."""

    def __init__(self, answer: AnswerBuilder) -> None:
        self._answer = answer
        self._items = Items()
        self.part = NO_PART
        """The content part of the last delta: the next delta most likely continues it."""
        self.append: Callable[[str], TokenEvent] = answer.text
        """Records a delta of that part and returns its token event."""
        self.length_differs = False
        """A part that was streamed from its start is not as long as its end event shows."""
        self._call_place: tuple[object, ...] = ()
        self._call: Item | None = None
        self._orphan_arguments = False
        """Arguments came for a call that was not announced; its end, or the final list, may still name it."""

    @property
    def refused(self) -> bool:
        """Return whether the answer holds a refusal."""
        return any(item.refusal for item in self._items.all)

    def text_delta(self, name: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Take a delta of text, refusal or reasoning."""
        if delta := _delta_of(name, event):
            kind = DELTAS[name]
            item = self._text_item(event, kind)
            key = (kind, _part_index(event))
            part = item.content_parts.get(key)
            if part is None:
                part = item.content_parts[key] = ContentPart.of_event(name, event)
            yield self._add_text(item, kind, delta, part)
        if logprobs := event.get("logprobs"):
            yield VendorEvent("logprobs", {"logprobs": logprobs})

    def part_done(self, name: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Take the whole text of a part; it counts if no delta of the part came."""
        data = object_at(event, "part") or event
        kind = DONES.get(name) or _TEXT_KINDS.get(text_at(data, "type") or "")
        whole = text_at(data, "text") or text_at(data, "refusal")
        if kind is None or whole is None:
            return
        item = self._text_item(event, kind)
        key = (kind, _part_index(event))
        part = item.content_parts.get(key)
        if part is not None:
            self._compare(item, part.length, len(whole))
        elif item.reasoning_kind in (None, kind) or kind not in ("reasoning", "summary"):
            part = item.content_parts[key] = ContentPart.of_event("", event)
            yield self._add_text(item, kind, whole, part)

    def arguments_delta(self, name: str, event: JsonObject) -> Iterable[TokenEvent]:
        """Take a delta of a call's arguments; none if the call was not announced: its end brings them whole."""
        place = (len(self._items.all), event.get("output_index"), event.get("item_id"))
        if place != self._call_place:  # else it is the call of the last delta
            self._call_place, self._call = place, self._items.of_event(event, "function_call")
        item, delta = self._call, _delta_of(name, event)
        if not delta or item is None or item.done:
            self._orphan_arguments |= bool(delta) and item is None
            return ()
        events = list(self._start_call(item)) if item.call is None else []
        if item.call is not None:
            events.append(self._answer.add_arguments(item.call, delta))
        return events

    def arguments_done(self, _name: str, event: JsonObject) -> Iterable[TokenEvent]:
        """Keep a call's whole arguments; some servers send them in this event only, and name no call in it."""
        is_named = event.get("item_id") or int_at(event, "output_index") is not None
        item = self._items.of_event(event, "function_call") if is_named else self._call_without_arguments()
        if item is not None and not item.done:
            item.arguments = text_at(event, "arguments")
        return ()

    def _call_without_arguments(self) -> Item | None:
        """Return the first call under way that has no arguments yet, or the only one under way."""
        calls = [item for item in self._items.all if item.type == "function_call" and not item.done]
        for item in calls:
            if item.arguments is None and (item.call is None or not self._answer.calls[item.call].arguments):
                return item
        return calls[0] if len(calls) == 1 else None

    def annotation_added(self, name: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Take a citation or another annotation of a text."""
        self._text_item(event, "text").annotated = True
        yield VendorEvent(name, dict(event))

    def item(self, name: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Begin an item, or end it with its whole JSON; a repetition says nothing."""
        data = event.get("item")
        if not is_object(data):
            raise ProtocolError(f"{name}: its item is not an object")
        item = self._items.of_event(event, text_at(data, "type"))
        if name == _ADDED:
            if item is not None and not item.done and item is self._items.of_event({"item": data}):
                return
            item = None
        elif item is not None and item.done and item.data == data:
            return
        if item is None or item.done:
            yield from self._server_call(event) if name == _DONE else ()
            yield from self._add_item(event, data)
            item = self._items.all[-1]
            if name == _ADDED and item.type not in _MODELLED:
                yield VendorEvent(name, dict(event))
        if name == _DONE:
            item.update(data)
            yield from self._end_item(item, event, cut=False)

    def finish(self, output: Sequence[dict[str, object]], *, cut: bool) -> Iterator[TokenEvent]:
        """Take the final list of items, and end the items that no event ended.

        In an answer that was `cut`, a call is whole only if its item's status is "completed". Raises
        `ProtocolError` if a call of a whole answer has arguments that are not a JSON object.
        """
        streamed = {item.type for item in self._items.all}
        for data in output:
            event: dict[str, object] = {"type": _DONE, "item": data}
            item = self._items.of_event({"item": data})
            if item is None and text_at(data, "type") not in streamed:
                yield from self._add_item(event, data)
                item = self._items.all[-1]
            if item is not None and not item.done:
                item.update(data)
                yield from self._end_item(item, event, cut=cut)
        for item in self._items.all:
            if item.type == "function_call" and not item.done:
                yield from self._end_call(item, cut=cut)
        is_modelled = all(item.type in ("message", "reasoning") for item in self._items.all)
        if self._orphan_arguments and is_modelled and not cut:
            raise ProtocolError("arguments came for a function call that was never announced")

    def _text_item(self, event: JsonObject, kind: TextKind) -> Item:
        """Return the message or reasoning item of an event; a new one if it was not announced."""
        item_type = "message" if kind in ("text", "refusal") else "reasoning"
        item = self._items.of_event(event, item_type)
        return item if item is not None else self._items.add(event, {"type": item_type}, announced=False)

    def _add_text(self, item: Item, kind: TextKind, delta: str, part: ContentPart) -> TokenEvent:
        """Add a delta to its part. Of reasoning in full and in summary, only the kind that came first counts."""
        part.length += len(delta)
        if kind == "refusal":
            item.refusal.append(delta)
            return VendorEvent("refusal", {"refusal": delta})
        if kind != "text":
            item.reasoning_kind = item.reasoning_kind or kind
            if item.reasoning_kind != kind:
                return VendorEvent(part.delta, {"delta": delta})
        self.part = part
        self.append = self._answer.text if kind == "text" else self._answer.reasoning
        return self.append(delta)

    def _compare(self, item: Item, streamed: int, whole: int) -> None:
        self.length_differs = self.length_differs or (item.announced and streamed != whole)

    def _add_item(self, event: JsonObject, data: JsonObject) -> Iterator[TokenEvent]:
        """Begin an item, and reserve the place among the parts for what goes back to the vendor."""
        item = self._items.add(event, data)
        self.part = NO_PART
        self._answer.end_part()
        match item.type:
            case "message":
                if phase := text_at(data, "phase"):
                    self._answer.sign("text", {"phase": phase})
            case "reasoning":
                item.data.pop("encrypted_content", None)  # half of it: the whole comes when the item is done
                self._answer.sign("reasoning", item.data)
            case "function_call":
                # A call that is complete when announced may be one that the server makes itself: wait for its end.
                if text_at(data, "status") != "completed":
                    yield from self._start_call(item)
            case _:
                self._answer.vendor_part(item.data)

    def _server_call(self, event: JsonObject) -> Iterator[TokenEvent]:
        """End a call that the server made itself: another item, its result, takes its place (Perplexity)."""
        item = self._items.of_event(event, "function_call")
        if item is not None and not item.done and item.call is None:
            item.done = True
            yield VendorEvent(_ADDED, {"type": _ADDED, "item": item.data})

    def _end_item(self, item: Item, event: JsonObject, *, cut: bool) -> Iterator[TokenEvent]:
        """End an item by its newest JSON."""
        item.done = True
        match item.type:
            case "message":
                yield from self._end_message(item, event)
            case "reasoning":
                if item.reasoning_kind is None:
                    in_full = _texts(item.data, "content", "text")
                    yield from self._add_missing(item, "reasoning", in_full or _texts(item.data, "summary", "text"))
            case "function_call":
                yield from self._end_call(item, cut=cut)
            case _:
                yield VendorEvent(_DONE, dict(event))

    def _end_message(self, item: Item, event: JsonObject) -> Iterator[TokenEvent]:
        """End a message: add what was not streamed, and keep a refusal for the vendor.

        Its whole JSON is reported if it has annotations of which no event told.
        """
        texts = _texts(item.data, "content", "text")
        streamed = item.text_length()
        if streamed is None:
            yield from self._add_missing(item, "text", texts)
        elif texts:
            self._compare(item, streamed, sum(map(len, texts)))
        if not item.refusal:
            yield from self._add_missing(item, "refusal", _texts(item.data, "content", "refusal"))
        if item.refusal:
            refusal = {"type": "refusal", "refusal": "".join(item.refusal)}
            self._answer.vendor_part({"type": "message", "role": "assistant", "content": [refusal]})
        if not item.annotated and any(part.get("annotations") for part in objects_at(item.data, "content")):
            yield VendorEvent(_DONE, dict(event))

    def _add_missing(self, item: Item, kind: TextKind, texts: Sequence[str]) -> Iterator[TokenEvent]:
        """Add the texts of an item of which nothing of this kind was streamed."""
        for index, text in enumerate(texts):
            part = item.content_parts[kind, index] = ContentPart("")
            yield self._add_text(item, kind, text, part)

    def _start_call(self, item: Item) -> Iterator[TokenEvent]:
        """Start a call once its name is known; nothing if it has started."""
        name, call_id = text_at(item.data, "name"), text_at(item.data, "call_id") or text_at(item.data, "id")
        if item.call is None and name is not None:
            item.call = len(self._answer.calls)
            yield self._answer.start_call(
                item.call, call_id or f"call_{item.call}", name, fields_back(item.data, _CALL_FIELDS)
            )

    def _end_call(self, item: Item, *, cut: bool) -> Iterator[TokenEvent]:
        """End a call; the arguments of its end event count, whatever was streamed."""
        yield from self._start_call(item)
        if item.call is None:
            raise ProtocolError("a function call has no name")
        arguments = item.data.get("arguments")
        whole = encode(arguments).decode() if is_object(arguments) else text_at(item.data, "arguments")
        whole = whole or item.arguments
        if whole is not None and not self._answer.calls[item.call].arguments:
            yield self._answer.add_arguments(item.call, whole)
        status = text_at(item.data, "status")
        if status != "incomplete" and (not cut or status == "completed"):
            yield from self._answer.end_call(item.call, None if whole is None else arguments_of(whole))


NO_PART = ContentPart("")
"""A part that no event continues."""

_CALL_FIELDS = frozenset({"type", "id", "call_id", "name", "arguments", "status"})
_MODELLED = ("message", "reasoning", "function_call")
_ADDED = "response.output_item.added"
_DONE = "response.output_item.done"
_TEXT_KINDS: Mapping[str, TextKind] = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "reasoning",
    "summary_text": "summary",
}


def _delta_of(name: str, event: JsonObject) -> str:
    delta = event.get("delta")
    if delta is None or isinstance(delta, str):
        return delta or ""
    raise ProtocolError(f"{name}: its delta is not text")


def _part_index(event: JsonObject) -> int:
    index = int_at(event, "summary_index")
    return index if index is not None else int_at(event, "content_index") or 0


def _texts(item: JsonObject, field: str, key: str) -> list[str]:
    return [text for part in objects_at(item, field) if (text := text_at(part, key)) is not None]
