"""The OpenAI Chat Completions wire, as OpenAI and most other vendors speak it.

`Dialect` decides what a request contains; what comes back is read the same from every vendor, since
people put gateways in front: reasoning under any of its names, usage wherever it stands, tool
calls with or without index and id, errors in any shape.

Terminal: `[DONE]`, or a finish_reason before the end of the body.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..._json import Json, int_at, is_array, is_object, object_at, objects_at, text_at
from ..._protocol import Frame
from ..._transport.vendor_errors import fault_of
from ...errors import StreamInterruptedError
from ...events import FinishReason, TokenEvent, VendorEvent
from .._answer_builder import BROKEN_OFF, AnswerDecoder
from .._endpoint import Endpoint
from .._frame_reader import arguments_error, interrupted_before, is_filled, provider_error, unknown_fields
from .chunk import CHUNK_FIELDS, DELTA_FIELDS, plain_chunk
from .reasoning import DETAILS, joined_field, nested_text, reasoning_of
from .tool_calls import ToolCalls, calls_of


class OpenAIChatDecoder(AnswerDecoder):
    """Chat completion chunks to token events."""

    wire = "openai-chat"
    terminal = "a finish_reason or [DONE]"

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(provider, endpoint)
        self._calls = ToolCalls(self._answer)
        self._answered = False
        """A choice has come."""
        self._raw_finish: str | None = None
        self._native_finish: str | None = None
        self._reasoning_field: str | None = None
        self._fields: dict[str, list[object]] = {}
        """Fields of the deltas that go back to the vendor: those that we do not model, and reasoning_details."""
        self._refusal: list[str] = []

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one chunk."""
        if not self._is_open or frame.is_document:
            return self._read(frame)
        try:
            delta = plain_chunk(frame.data).choices[0].delta
        except (ValueError, RecursionError):
            return self._read(frame)
        thought = delta.reasoning_content or delta.reasoning
        if delta.tool_calls:
            arguments = None if thought or delta.content else self._calls.continued(*delta.tool_calls)
            return self._read(frame) if arguments is None else (arguments,)
        if not thought:
            return (self._answer.text(delta.content),) if delta.content else ()
        if self._reasoning_field is None:
            return self._read(frame)
        if delta.content:
            return (self._answer.reasoning(thought), self._answer.text(delta.content))
        return (self._answer.reasoning(thought),)

    def _last_events(self) -> Sequence[TokenEvent]:
        """Return the last events if a finish_reason has come."""
        return super()._last_events() if self._raw_finish is None else self._end()

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """Return the events of a frame of any form."""
        if frame.data.strip() == b"[DONE]" and not self.finished:
            return self._with_start(self._end())
        try:
            return super()._read(frame)
        except StreamInterruptedError:
            if frame.whole or self._raw_finish is None:
                raise
            return ()  # cut after its finish_reason: the answer itself is whole

    def _payload(self, kind: str, payload: Json) -> Iterator[TokenEvent]:
        """Yield what a chunk holds; usage and errors may stand in several places, by vendor."""
        chunk, answer = payload, self._answer
        answer.id = answer.id or text_at(chunk, "id")
        answer.model = answer.model or text_at(chunk, "model")
        groq = object_at(chunk, "x_groq")
        if counts := object_at(chunk, "usage") or object_at(groq, "usage"):
            yield from self._usage(counts)
        for choice in objects_at(chunk, "choices"):
            if int_at(choice, "index"):
                yield VendorEvent("candidate", choice)
            else:
                yield from self._choice(choice)
        for source in (chunk, groq):
            status = object_at(source, "base_resp").get("status_code")  # MiniMax; 0 is success
            if source.get("error") or source.get("errors") or status:
                raise provider_error(source)
        if "choices" in chunk:
            yield from self._answer.vendor_events(chunk, CHUNK_FIELDS)
        else:
            yield from _other_payload(kind or text_at(chunk, "object") or "unknown", chunk)

    def _choice(self, choice: Json) -> Iterator[TokenEvent]:
        """Yield what a choice holds: a delta, a whole message, or the text of a legacy completion."""
        delta = object_at(choice, "delta")
        if "delta" not in choice and "message" not in choice:
            delta = {"content": choice.get("text")}  # a legacy text completion
        elif not self._answered and "delta" not in choice:
            delta = object_at(choice, "message")  # the whole answer at once, from what does not stream
        self._answered = True
        yield from self._reasoning(*reasoning_of(delta))
        if delta.get(DETAILS):
            self._fields.setdefault(DETAILS, []).append(delta[DETAILS])
        yield from self._content(delta.get("content"))
        if refusal := text_at(delta, "refusal"):
            yield from self._refused(refusal)
        if calls := calls_of(delta):
            yield from self._calls.add(calls)
        for name, value in unknown_fields(delta, DELTA_FIELDS).items():
            yield _vendor_event(name, value)
            if name not in _NOT_SENT_BACK:
                self._fields.setdefault(name, []).append(value)
        if counts := object_at(choice, "usage"):
            yield from self._usage(counts)
        logprobs = choice.get("logprobs")
        if is_filled(logprobs):
            yield _vendor_event("logprobs", logprobs)
        yield from self._answer.vendor_events(choice, _CHOICE_FIELDS)
        finish = text_at(choice, "finish_reason")
        is_broken_off = (self._raw_finish or "").lower() in BROKEN_OFF  # and stays so
        if finish not in (None, "null") and not is_broken_off:
            self._raw_finish = finish
        self._native_finish = text_at(choice, "native_finish_reason") or self._native_finish
        if self._raw_finish == "error" and choice.get("error"):
            raise provider_error(choice)

    def _reasoning(self, thought: str, field: str) -> Iterator[TokenEvent]:
        if thought:
            self._reasoning_field = field
            yield self._answer.reasoning(thought)
            self._answer.sign("reasoning", {"field": field})

    def _content(self, content: object) -> Iterator[TokenEvent]:
        """Yield the events of what stands under `content`: text, a typed part, or a list of either."""
        if isinstance(content, str) and content:
            yield self._answer.text(content)
        elif is_array(content):
            for part in content:
                yield from self._content(part)
        elif is_object(content):
            match kind := text_at(content, "type") or "content":
                case "text" | "output_text":
                    yield from self._content(content.get("text"))
                case "thinking" | "reasoning":
                    yield from self._reasoning(nested_text(content), "content")
                    if signature := text_at(content, "signature"):  # Mistral's, to be sent back
                        self._answer.sign("reasoning", {"field": "content", "signature": signature})
                case "refusal":
                    yield from self._refused(text_at(content, "refusal"))
                case _:
                    yield VendorEvent(kind, content)

    def _refused(self, refusal: str | None) -> Iterator[TokenEvent]:
        if refusal:
            self._refusal.append(refusal)
            yield VendorEvent("refusal", {"refusal": refusal})

    def _usage(self, counts: Json) -> Iterator[TokenEvent]:
        """Replace the running total of tokens; what is missing or null stays as it was."""
        yield from self._answer.use(self._words.usage_of(counts, self._answer.usage))
        yield from self._answer.vendor_events({"usage": self._words.unmodelled_counts(counts)}, frozenset())

    def _end(self) -> list[TokenEvent]:
        """Return the last events; raise if the answer is not whole in spite of its terminal event."""
        if not self._answered:
            raise interrupted_before("any answer: only its end came")
        events: list[TokenEvent] = []
        reason = self._reason()
        if reason not in ("refusal", "content_filter"):
            events += self._calls.end()
            broken = self._calls.broken()
            if broken is not None and self._raw_finish is None:
                raise interrupted_before("a tool call was whole")
            if broken is not None and reason in ("stop", "tool_calls"):
                raise arguments_error(broken)
        fields = {name: joined_field(pieces) for name, pieces in self._fields.items()}
        if self._refusal:
            fields["refusal"] = "".join(self._refusal)
        if fields:
            self._answer.vendor_part(fields)
        events.append(self._finish(reason, self._raw_finish))
        return events

    def _reason(self) -> FinishReason:
        """Return our word for the vendor's; a plain stop after a refusal is a refusal."""
        if self._words.reason_of((self._native_finish or "").lower()) == "length":
            return "length"  # gateways have been seen to call a cut-off tool call "tool_calls"
        reason = self._words.reason_of((self._raw_finish or "stop").lower())
        return "refusal" if self._refusal and reason == "stop" else reason


_CHOICE_FIELDS = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "usage"})
_KEEP_ALIVES = ("ping", "keepalive", "keep-alive", "keep_alive", "heartbeat")
_NOT_SENT_BACK = frozenset({"annotations", "audio", "citations", "images", "search_results"})
"""Fields of a delta that are results for you: no vendor takes them in an earlier answer."""


def _other_payload(kind: str, payload: Json) -> Iterator[TokenEvent]:
    """Yield the event of a payload that is not a completion chunk, unless it is an error or keeps alive only."""
    if kind in _KEEP_ALIVES:
        return
    if fault_of(payload) is not None:
        raise provider_error(payload)
    if is_filled(payload):
        yield VendorEvent(kind, payload)


def _vendor_event(name: str, value: object) -> VendorEvent:
    return VendorEvent(name, value if is_object(value) else {name: value})
