"""An answer of the OpenAI Responses wire as its items grow: what each event adds to a `Reply`.

All is told three times and more: in deltas, when a part is done, when its item is done, and in the
last event. It is taken where it is told first. What goes back to the vendor takes its place among
the parts when its item begins, since items may be done in another order than they began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..._json import encode, int_at, is_object, object_at, objects_at, text_at
from ..._protocol import JsonObject
from ...errors import ProtocolError
from ...events import TokenEvent, VendorEvent
from .._answer_builder import Reply, arguments_of, broken_call
from .items import WIRE, Item, Items, Speech, Voice, call_fields

DELTAS: Mapping[str, Voice] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning.delta": "reasoning",
    "response.reasoning_summary_text.delta": "summary",
}
"""The events that carry a piece of text, refusal or reasoning."""

DONES: Mapping[str, Voice] = {f"{kind.removesuffix('delta')}done": voice for kind, voice in DELTAS.items()}
"""The events that carry the whole of what such pieces make."""


class Answer:
    """The items of one answer, and what was said in them."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._items = Items()
        self.speech = SILENCE
        """The part that spoke last: the next piece is most likely its."""
        self.speak: Callable[[str], TokenEvent] = reply.text
        """What records a piece of that part."""
        self.differs = False
        """A part was streamed from its start, and is not as long as it is told to be."""
        self._argued_for_nothing = False
        """Arguments came of a call that was not announced; its end, or the final list, may still tell it."""

    @property
    def refused(self) -> bool:
        """Whether there is a refusal in the answer."""
        return any(item.refusal for item in self._items.all)

    def said(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """A piece of text, refusal or reasoning."""
        piece = _piece(kind, event)
        events: list[TokenEvent] = []
        if piece:
            voice = DELTAS[kind]
            item = self._speaker(event, voice)
            at = (voice, _part_index(event))
            speech = item.speeches.get(at)
            if speech is None:
                speech = item.speeches[at] = Speech(kind, event)
            events += self._pronounce(item, voice, piece, speech)
        if logprobs := event.get("logprobs"):
            events.append(VendorEvent("logprobs", {"logprobs": logprobs}))
        return events

    def part_done(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """The whole of a part."""
        part = object_at(event, "part") or event
        voice = DONES.get(kind) or _VOICES.get(text_at(part, "type") or "")
        whole = text_at(part, "text") or text_at(part, "refusal")
        if voice is None or whole is None:
            return []
        item = self._speaker(event, voice)
        at = (voice, _part_index(event))
        speech = item.speeches.get(at)
        if speech is not None:
            self._compare(item, speech.length, len(whole))
            return []
        if item.voice not in (None, voice) and voice in ("reasoning", "summary"):
            return []
        speech = item.speeches[at] = Speech("", event)
        return self._pronounce(item, voice, whole, speech)

    def argued(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """A piece of a call's arguments; of a call that was never announced, the whole comes at its end."""
        item = self._items.of_event(event, "function_call")
        piece = _piece(kind, event)
        if not piece or item is None or item.done:
            self._argued_for_nothing |= bool(piece) and item is None
            return []
        events = self._start_call(item)
        return events if item.call is None else [*events, self._reply.add_arguments(item.call, piece)]

    def annotated(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """A citation or the like in a text."""
        self._speaker(event, "text").annotated = True
        return [VendorEvent(kind, dict(event))]

    def item_added(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """An item begins."""
        told = _item_told(kind, event)
        known = self._items.named(told)
        if known is not None and not known.done and known is self._items.of_event(event, text_at(told, "type")):
            return []  # told twice
        events = self._add(event, told)
        if self._items.all[-1].kind not in _MODELLED:
            events.append(VendorEvent(kind, dict(event)))
        return events

    def item_done(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """An item is whole."""
        told = _item_told(kind, event)
        item = self._items.of_event(event, text_at(told, "type"))
        events: list[TokenEvent] = []
        if item is not None and item.done and item.told == told:
            return []  # told twice
        if item is None or item.done:
            events += self._withdrawn(event)
            events += self._add(event, told)
            item = self._items.all[-1]
        item.retell(told)
        return events + self._finish(item, event, cut=False)

    def settle(self, output: Sequence[dict[str, object]], *, cut: bool) -> list[TokenEvent]:
        """What only the final list of items tells, and the end of what was never told to be done.

        In an answer that was `cut`, a call is whole only where its item says so. Raises `ProtocolError`
        where a call of a whole answer has arguments that are no JSON object.
        """
        events: list[TokenEvent] = []
        streamed = set(self._items.kinds)
        for told in output:
            event: dict[str, object] = {"type": _DONE, "item": told}
            item = self._items.named(told)
            if item is None and text_at(told, "type") not in streamed:
                events += self._add(event, told)
                item = self._items.all[-1]
            if item is not None and not item.done:
                item.retell(told)
                events += self._finish(item, event, cut=cut)
        for item in self._items.all:
            if item.kind == "function_call" and not item.done:
                events += self._finish_call(item, cut=cut)
        broken = self._reply.unfinished_call()
        if broken is not None and not cut:
            raise broken_call(broken)
        if self._argued_for_nothing and not cut and _SPOKEN.issuperset(self._items.kinds):
            raise ProtocolError("arguments came of a function call that was never told")
        return events

    def _speaker(self, event: JsonObject, voice: Voice) -> Item:
        kind = "message" if voice in ("text", "refusal") else "reasoning"
        item = self._items.of_event(event, kind)
        return item if item is not None else self._items.add(event, {"type": kind}, announced=False)

    def _pronounce(self, item: Item, voice: Voice, piece: str, speech: Speech) -> list[TokenEvent]:
        speech.length += len(piece)
        if voice == "refusal":
            item.refusal.append(piece)
            return [VendorEvent("refusal", {"refusal": piece})]
        if voice != "text":
            item.voice = item.voice or voice
            if item.voice != voice:
                return [VendorEvent(speech.delta, {"delta": piece})]
        self.speech = speech
        self.speak = self._reply.text if voice == "text" else self._reply.reasoning
        return [self.speak(piece)]

    def _compare(self, item: Item, streamed: int, told: int) -> None:
        self.differs = self.differs or (item.announced and streamed != told)

    def _add(self, event: JsonObject, told: JsonObject) -> list[TokenEvent]:
        """Begin an item, with the place among the parts for what will go back to the vendor."""
        item = self._items.add(event, told)
        self.speech = SILENCE
        self._reply.end_part()
        match item.kind:
            case "message":
                if phase := text_at(told, "phase"):
                    self._reply.sign("text", {WIRE: {"phase": phase}})
            case "reasoning":
                item.told.pop("encrypted_content", None)  # half a cipher: the whole comes when the item is done
                self._reply.sign("reasoning", {WIRE: item.told})
            case "function_call":
                # One that is complete as it begins may be a call that the server makes itself: wait for its end.
                return [] if text_at(told, "status") == "completed" else self._start_call(item)
            case _:
                self._reply.vendor_part(WIRE, item.told)
        return []

    def _withdrawn(self, event: JsonObject) -> list[TokenEvent]:
        """A call that the server made itself, as it says by putting what came of it in its place (Perplexity)."""
        item = self._items.of_event(event, "function_call")
        if item is None or item.done or item.call is not None:
            return []
        item.done = True
        return [VendorEvent(_ADDED, {"type": _ADDED, "item": item.told})]

    def _finish(self, item: Item, event: JsonObject, *, cut: bool) -> list[TokenEvent]:
        """End an item by what was told of it last."""
        item.done = True
        match item.kind:
            case "message":
                return self._finish_message(item, event)
            case "reasoning":
                if item.voice is not None:
                    return []
                in_full = _texts(item.told, "content", "text")
                return self._fill(item, "reasoning", in_full or _texts(item.told, "summary", "text"))
            case "function_call":
                return self._finish_call(item, cut=cut)
            case _:
                return [VendorEvent(_DONE, dict(event))]

    def _finish_message(self, item: Item, event: JsonObject) -> list[TokenEvent]:
        events: list[TokenEvent] = []
        texts = _texts(item.told, "content", "text")
        streamed = item.length("text")
        if streamed is None:
            events += self._fill(item, "text", texts)
        elif texts:
            self._compare(item, streamed, sum(map(len, texts)))
        if not item.refusal:
            events += self._fill(item, "refusal", _texts(item.told, "content", "refusal"))
        if item.refusal:
            said = {"type": "refusal", "refusal": "".join(item.refusal)}
            self._reply.vendor_part(WIRE, {"type": "message", "role": "assistant", "content": [said]})
        if not item.annotated and any(part.get("annotations") for part in objects_at(item.told, "content")):
            events.append(VendorEvent(_DONE, dict(event)))
        return events

    def _fill(self, item: Item, voice: Voice, texts: Sequence[str]) -> list[TokenEvent]:
        """The texts of an item of which nothing was streamed in this voice."""
        events: list[TokenEvent] = []
        for at, text in enumerate(texts):
            speech = item.speeches[voice, at] = Speech("", {})
            events += self._pronounce(item, voice, text, speech)
        return events

    def _start_call(self, item: Item) -> list[TokenEvent]:
        name, call_id = text_at(item.told, "name"), text_at(item.told, "call_id") or text_at(item.told, "id")
        if item.call is not None or name is None:
            return []
        item.call = len(self._reply.calls)
        fields = call_fields(item.told)
        return [
            self._reply.start_call(item.call, call_id or f"call_{item.call}", name, {WIRE: fields} if fields else None)
        ]

    def _finish_call(self, item: Item, *, cut: bool) -> list[TokenEvent]:
        """End a call; its arguments as told last hold, whatever was streamed."""
        events = self._start_call(item)
        if item.call is None:
            raise ProtocolError("a function call has no name")
        arguments = item.told.get("arguments")
        whole = encode(arguments).decode() if is_object(arguments) else text_at(item.told, "arguments")
        if whole is not None and not self._reply.calls[item.call].arguments:
            events.append(self._reply.add_arguments(item.call, whole))
        status = text_at(item.told, "status")
        if status == "incomplete" or (cut and status != "completed"):
            return events
        end = self._reply.end_call(item.call, None if whole is None else arguments_of(whole))
        return events if end is None else [*events, end]


SILENCE = Speech("", {})
"""A part that no event continues."""

_MODELLED = ("message", "reasoning", "function_call")
_SPOKEN = frozenset({"message", "reasoning"})
_ADDED = "response.output_item.added"
_DONE = "response.output_item.done"
_VOICES: Mapping[str, Voice] = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "reasoning",
    "summary_text": "summary",
}


def _piece(kind: str, event: JsonObject) -> str:
    piece = event.get("delta")
    if piece is None or isinstance(piece, str):
        return piece or ""
    raise ProtocolError(f"{kind}: its delta is not text")


def _part_index(event: JsonObject) -> int:
    index = int_at(event, "summary_index")
    return index if index is not None else int_at(event, "content_index") or 0


def _item_told(kind: str, event: JsonObject) -> JsonObject:
    told = event.get("item")
    if is_object(told):
        return told
    raise ProtocolError(f"{kind}: its item is not an object")


def _texts(item: JsonObject, field: str, key: str) -> list[str]:
    return [text for part in objects_at(item, field) if (text := text_at(part, key)) is not None]
