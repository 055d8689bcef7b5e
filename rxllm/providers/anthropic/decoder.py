"""The Anthropic Messages wire.

Ends with `message_stop`. Blocks come one after another. Text and thinking blocks are reported as they
grow. A block of another type than text, thinking or client-run tool call becomes a `VendorEvent` when it
ends, and is sent back unchanged. Usage is a running total: what an event names replaces what was known.

`Usage.input_tokens` is the vendor's plain count, which excludes cached input. `total_tokens` is
the sum of what was processed: input, cache reads, cache writes and output.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from ..._json import Json, decode, int_at, object_at, objects_at, text_at
from ..._protocol import Frame
from ..._schema import decoder
from ...errors import ProtocolError
from ...events import TokenEvent, VendorEvent
from .._answer_builder import AnswerDecoder
from .._endpoint import Endpoint
from .._frame_reader import fields_back, provider_error, unknown_fields

CONTAINER = "rxllm_container"
"""The type of the `VendorPart` that holds an answer's container; the next request names it."""


class AnthropicDecoder(AnswerDecoder):
    """Messages stream events to token events."""

    wire = "anthropic"
    terminal = "message_stop"

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(provider, endpoint)
        self._blocks: dict[int, _Block] = {}
        self._calls_without_arguments: list[int] = []
        """Calls that ended without a letter of arguments: theirs are {}, unless the answer was cut there."""
        self._usage: Json = {}

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the token events of one event of the wire; what follows message_stop, such as [DONE], is ignored."""
        if not self._is_open or frame.is_document:
            return self._read(frame)
        try:
            event = _plain_event(frame.data)
        except (ValueError, RecursionError):
            return self._read(frame)
        delta = event.delta
        if isinstance(delta, _TextDelta):
            return (self._answer.text(delta.text),) if delta.text else ()
        if isinstance(delta, _ThinkingDelta):
            return (self._answer.reasoning(delta.thinking),) if delta.thinking else ()
        return self._input(delta.partial_json, self._blocks.get(event.index))

    def _last_events(self) -> Sequence[TokenEvent]:
        """Return the last events if a stop_reason has come, and no block is open."""
        if self._answer.raw_finish_reason is None or self._blocks:
            return super()._last_events()
        return list(self._message_stop({}))

    def _payload(self, kind: str, payload: Json) -> Iterable[TokenEvent]:
        """Return the token events of an event of the type `kind`."""
        match kind:
            case "content_block_delta":
                return self._delta(payload, object_at(payload, "delta"))
            case "content_block_start":
                return self._block_start(payload)
            case "content_block_stop":
                return self._end_block(int_at(payload, "index") or 0)
            case "message_start":
                return self._message_start(payload)
            case "message_delta":
                return self._message_delta(payload)
            case "message_stop":
                return self._message_stop(payload)
            case "ping":
                return ()
            case _ if kind == "error" or payload.get("error"):
                raise provider_error(payload)
            case _:
                return (VendorEvent(kind or "unknown", payload),)

    def _delta(self, payload: Json, delta: Json) -> Iterator[TokenEvent]:
        """Yield the events of a delta; one of an unknown kind grows its block, or becomes a `VendorEvent`."""
        block = self._blocks.get(int_at(payload, "index") or 0)
        match kind := text_at(delta, "type") or "":
            case "text_delta" if text := text_at(delta, "text"):
                yield self._answer.text(text)
            case "thinking_delta" if text := text_at(delta, "thinking"):
                yield self._answer.reasoning(text)
            case "input_json_delta":
                yield from self._input(text_at(delta, "partial_json"), block)
            case "text_delta" | "thinking_delta":
                pass  # empty
            case "signature_delta":
                self._keep(block, delta)
            case "citations_delta":
                if block is not None:
                    block.citations.append(object_at(delta, "citation"))
                yield VendorEvent(kind, delta)
            case _ if block is None or block.kind in _MODELLED:
                if block is not None and block.kind == "thinking":
                    self._keep(block, delta)
                if delta:
                    yield VendorEvent(kind or "unknown", delta)
            case _:
                block.grow(delta)

    def _keep(self, block: _Block | None, source: Json) -> None:
        """Keep what a thought has beside its text, such as its signature, to be sent back with it."""
        if own := unknown_fields(source, _THOUGHT_FIELDS):
            self._answer.sign_thought(own)
            if block is not None:
                block.signed = block.signed or "signature" in own

    def _input(self, piece: str | None, block: _Block | None) -> Sequence[TokenEvent]:
        """Add a piece of the input of a block: of a tool call for the user's program, or for the vendor's server."""
        if not piece:
            return ()
        if block is None:
            raise ProtocolError("input_json_delta for a block that did not start")
        block.input.append(piece)
        return () if block.call is None else (self._answer.add_arguments(block.call, piece),)

    def _message_start(self, payload: Json) -> Iterator[TokenEvent]:
        """Begin the answer. It may hold blocks and a stop reason; a second message in one stream is an error."""
        message = object_at(payload, "message")
        identity = text_at(message, "id")
        if self._answer.id or self._answer.model:
            if identity and self._answer.id and identity != self._answer.id:
                raise ProtocolError(f"a second message ({identity!r}) began inside the message {self._answer.id!r}")
            return
        self._answer.id, self._answer.model = identity, text_at(message, "model")
        yield from self._add_usage(object_at(message, "usage"))
        yield from _vendor_event("message_start", message, _MESSAGE_FIELDS)
        for index, block in enumerate(objects_at(message, "content")):
            yield from self._block_start({"index": index, "content_block": block})
            yield from self._end_block(index)
        self._stop_reason(message)

    def _block_start(self, payload: Json) -> Iterator[TokenEvent]:
        """Begin a block; end the one with the same index, which some gateways never stop."""
        index = int_at(payload, "index") or 0
        yield from self._end_calls_without_arguments()
        yield from self._end_block(index)
        data = object_at(payload, "content_block")
        block = self._blocks[index] = _Block(text_at(data, "type") or "unknown", data)
        if block.kind == "text":
            block.citations += objects_at(data, "citations")
            if text := text_at(data, "text"):
                yield self._answer.text(text)
        elif block.kind == "thinking":
            self._answer.end_part("reasoning")
            self._keep(block, data)
            if text := text_at(data, "thinking"):
                yield self._answer.reasoning(text)
        elif block.kind == "tool_use":
            yield self._start_call(block)
        elif block.kind == "fallback":
            self._answer.model = text_at(object_at(data, "to"), "model") or self._answer.model

    def _start_call(self, block: _Block) -> TokenEvent:
        """Start the tool call of a block; its fields that are not modelled go back with it."""
        name = text_at(block.data, "name")
        if name is None:
            raise ProtocolError("a tool_use block has no name")
        block.call = len(self._answer.calls)
        own = fields_back(block.data, _CALL_FIELDS)
        call_id = text_at(block.data, "id") or f"toolu_{block.call}"
        return self._answer.start_call(block.call, call_id, name, own)

    def _end_block(self, index: int) -> Iterator[TokenEvent]:
        """End a block, and attach what goes back to the vendor: a signature, citations, or the whole block."""
        block = self._blocks.pop(index, None)
        if block is None:
            self._answer.end_part()
        elif block.kind not in _MODELLED:
            data, whole = block.completed()
            if whole:
                self._answer.vendor_part(data)
            yield VendorEvent(block.kind, data)
        elif block.call is not None:
            yield from self._end_call(block, block.call)
        else:
            if block.kind == "thinking" and not block.signed:
                # Compatible endpoints sign no thoughts, and want them back all the same.
                self._answer.sign_thought({"signature": ""})
            if block.citations:
                self._answer.sign("text", {"citations": block.citations})
            self._answer.end_part()

    def _end_call(self, block: _Block, call: int) -> Iterator[TokenEvent]:
        """End a call; one without a letter of arguments waits for the stop reason, as it may have been cut there."""
        initial = object_at(block.data, "input")
        if block.input:
            yield from self._answer.end_call(call)
        elif initial:
            yield from self._answer.end_call_with(call, initial)
        else:
            self._calls_without_arguments.append(call)

    def _end_calls_without_arguments(self) -> Iterator[TokenEvent]:
        calls, self._calls_without_arguments = self._calls_without_arguments, []
        for call in calls:
            yield from self._answer.end_call(call)

    def _message_delta(self, payload: Json) -> Iterator[TokenEvent]:
        """Take the stop reason, the container and the token counts; blocks that are still open have ended."""
        delta = object_at(payload, "delta")
        yield from self._end_blocks()
        self._stop_reason(delta)
        if container := object_at(delta, "container") or object_at(payload, "container"):
            self._answer.vendor_part({**container, "type": CONTAINER})
        yield from self._add_usage(object_at(payload, "usage"))
        yield from _vendor_event("message_delta", {**payload, **delta}, _MESSAGE_DELTA_FIELDS)
        if rest := self._words.unmodelled_counts(self._usage):
            yield VendorEvent("usage", rest)

    def _end_blocks(self) -> Iterator[TokenEvent]:
        for index in list(self._blocks):
            yield from self._end_block(index)

    def _stop_reason(self, source: Json) -> None:
        raw = text_at(source, "stop_reason")
        if raw is not None:
            self._answer.raw_finish_reason = raw
            self._answer.finish_reason = self._words.reason_of(raw)

    def _message_stop(self, payload: Json) -> Iterator[TokenEvent]:
        """Yield the last events; raise if the answer was broken off, or is whole but for a tool call."""
        yield from self._end_blocks()
        yield from _vendor_event("message_stop", payload, _MESSAGE_STOP_FIELDS)
        reason, raw = self._answer.finish_reason or "other", self._answer.raw_finish_reason
        if raw is None or reason in ("stop", "tool_calls"):
            yield from self._end_calls_without_arguments()
        yield self._finish(reason, raw)

    def _add_usage(self, counts: Json) -> Iterable[TokenEvent]:
        """Update the counts by those of one event; 0 tokens of input, as some gateways end with, say nothing."""
        for key, value in counts.items():
            if value or (value is not None and (key == "output_tokens" or not self._usage.get(key))):
                self._usage[key] = value
        return self._answer.use(self._words.usage_of(self._usage))


class _TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    text: str


class _ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class _InputDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


class _Plain(msgspec.Struct, tag_field="type", tag="content_block_delta"):
    """What nearly all events of an answer are; reading them by their type alone halves their cost."""

    delta: _TextDelta | _ThinkingDelta | _InputDelta
    index: int = 0


_plain_event = decoder(_Plain).decode


class _Block(msgspec.Struct):
    """A content block under way."""

    kind: str
    data: Json
    call: int | None = None
    signed: bool = False
    input: list[str] = []
    citations: list[Json] = []

    def grow(self, delta: Mapping[str, object]) -> None:
        """Take a delta whose kind is not known: text is appended to text, anything else is set; so is a cipher."""
        grown = dict(self.data)
        for key, value in delta.items():
            if key == "type":
                continue
            before = grown.get(key)
            appended = isinstance(before, str) and isinstance(value, str) and key != "encrypted_content"
            grown[key] = f"{before}{value}" if appended else value
        self.data = grown

    def completed(self) -> tuple[Json, bool]:
        """Return the block with its streamed input, and whether that is whole."""
        text = "".join(self.input)
        if not text:
            return self.data, True
        try:
            value = decode(text)
        except (ValueError, RecursionError):
            return {**self.data, "input": text}, False
        return {**self.data, "input": value}, True


def _vendor_event(name: str, source: Mapping[str, object], known: frozenset[str]) -> Iterator[TokenEvent]:
    """Yield one vendor event with the filled fields of `source` that are not among the `known` ones."""
    if extras := unknown_fields(source, known):
        yield VendorEvent(name, extras)


_MODELLED = frozenset({"text", "thinking", "tool_use"})
_THOUGHT_FIELDS = frozenset({"type", "thinking"})
_CALL_FIELDS = frozenset({"type", "id", "name", "input"})
_MESSAGE_FIELDS = frozenset({"type", "id", "role", "model", "content", "stop_reason", "usage"})
_MESSAGE_DELTA_FIELDS = frozenset({"type", "delta", "usage", "stop_reason"})
_MESSAGE_STOP_FIELDS = frozenset({"type"})
