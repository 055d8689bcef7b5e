"""The Gemini generateContent wire, as server-sent events.

Has no terminal event: an answer is whole when its body ends after a finishReason, or after the
prompt was blocked. A finishReason before that ends nothing: text, calls and counts may follow it.

Every chunk carries a running total of tokens. It is reported when the first one comes and, if it has
changed, at the end; `partial()` has the last one at any moment. `Usage.output_tokens` is the
vendor's candidatesTokenCount, which leaves thoughts out; `total_tokens` is the vendor's too.

A call without an id gets one. Parts that are not text, thought or function call become a
`VendorEvent` each and go back as they came, like all signatures.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ..._json import count_at, encode, int_at, is_array, is_object, object_at, objects_at, text_at
from ..._protocol import Frame
from ...errors import ProtocolError
from ...events import Response, StreamStart, TokenEvent, Usage, UsageUpdate, VendorEvent
from .._answer_builder import (
    BROKEN_OFF,
    AnswerDecoder,
    arguments_error,
    broken_off,
    error_event,
    interrupted_before,
    provider_error,
    read_object,
    read_objects,
    reasons,
    unknown_fields,
)
from .._endpoint import Endpoint
from .arguments import StreamedArguments
from .request import WIRE


class GeminiDecoder(AnswerDecoder):
    """Chunks of generateContent to token events."""

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(WIRE, provider, endpoint)
        self._blocked = False
        self._streamed_arguments: StreamedArguments | None = None
        """The arguments of the last call, while they come leaf by leaf."""
        self._may_get_arguments = False
        """The last call came whole, but without arguments: some servers send them in the next chunk."""
        self._counts: msgspec.Raw | dict[str, object] = {}
        """The last token counts, not yet parsed if they came with plain text."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one chunk. Chunks with only text are parsed into structs, which is faster."""
        if not self._started or self.finished or frame.is_document:
            return self._read(frame)
        try:
            chunk = _plain_chunk(frame.data)
        except (ValueError, RecursionError):
            return self._read(frame)
        if chunk.usage_metadata:
            self._counts = chunk.usage_metadata
        answer = self._answer
        return [
            answer.reasoning(part.text) if part.thought else answer.text(part.text)
            for part in chunk.candidates[0].content.parts
            if part.text
        ]

    def close(self) -> Sequence[TokenEvent]:
        """Return the last events; raise `StreamInterruptedError` if no finishReason and no blockReason came."""
        if self.finished:
            return ()
        raw = self._answer.raw_finish_reason
        if raw is None and not self._blocked:
            raise interrupted_before("a finishReason")
        if raw is not None and raw.lower() in BROKEN_OFF:
            raise broken_off(self._answer, raw)
        reason = _FINISH_REASONS.get(raw, "other") if raw else "content_filter"
        if reason == "other":
            self._answer.drop_calls()  # MALFORMED_FUNCTION_CALL and its like: a call in it is not to be run
        events = self._end_streamed_call() if reason == "stop" or self._may_get_arguments else []
        if reason == "stop" and (name := self._answer.unfinished_call()) is not None:
            raise arguments_error(name)
        if reason == "stop" and self._answer.calls:
            reason = "tool_calls"
        self._add_usage(events)
        if others := unknown_fields(self._totals(), _COUNTS):
            events.append(VendorEvent("usageMetadata", others))
        self.finished = True
        return [*events, self._answer.finish(reason, raw)]

    def partial(self) -> Response:
        """Return the answer so far."""
        return msgspec.structs.replace(super().partial(), usage=_usage_of(self._totals()))

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """Return the events of a frame of any form."""
        if self.finished or frame.data.strip() in (b"", b"[DONE]"):
            return ()
        if frame.event == "error":
            raise error_event(frame)
        events: list[TokenEvent] = []
        for chunk in read_objects(frame, self._answer):
            if chunk.get("error"):
                raise provider_error(chunk)
            events += self._chunk(chunk)
        return events

    def _chunk(self, chunk: dict[str, object]) -> Sequence[TokenEvent]:
        """Return the events of one chunk. Only the first counts are reported here; the last follow at the end."""
        events: list[TokenEvent] = []
        answer = self._answer
        answer.id = answer.id or text_at(chunk, "responseId")
        answer.model = answer.model or text_at(chunk, "modelVersion")
        if not self._started:
            if not any(chunk.get(name) for name in (*_CHUNK_FIELDS, "promptFeedback")):
                return ()
            self._started = True
            events.append(StreamStart(answer.id, answer.model))
        feedback = object_at(chunk, "promptFeedback")
        if text_at(feedback, "blockReason"):
            self._blocked = True
        for candidate in objects_at(chunk, "candidates"):
            if int_at(candidate, "index"):
                events.append(VendorEvent("candidate", candidate))
            else:
                self._candidate(candidate, events)
        events += self._answer.vendor_events(chunk, _CHUNK_FIELDS)
        counts = object_at(chunk, "usageMetadata")
        if not _COUNTS.isdisjoint(counts):
            first, self._counts = not self._totals(), counts
            if first:
                self._add_usage(events)
        return events

    def _candidate(self, candidate: dict[str, object], events: list[TokenEvent]) -> None:
        for part in objects_at(object_at(candidate, "content"), "parts"):
            self._part(part, events)
        events += self._answer.vendor_events(candidate, _CANDIDATE_FIELDS)
        raw = text_at(candidate, "finishReason")
        if raw is not None and raw != "FINISH_REASON_UNSPECIFIED":
            self._answer.raw_finish_reason = raw
            self._answer.finish_reason = _FINISH_REASONS.get(raw, "other")

    def _part(self, part: dict[str, object], events: list[TokenEvent]) -> None:
        """Add a part: a function call, text or thought, or another kind, which goes back as it came."""
        call = part.get("functionCall")
        if self._may_get_arguments and not (is_object(call) and "name" not in call):
            events += self._end_streamed_call()
        if is_object(call):
            own = {name: value for name, value in part.items() if name != "functionCall" and value is not None}
            self._call(call, own, events)
            return
        kind = next((name for name in part if name not in _PART_FIELDS and part[name] is not None), "text")
        if kind == "text" or text_at(part, "text"):
            self._text(part, events)
            events += self._answer.vendor_events(part, _PART_FIELDS)
        else:
            self._answer.vendor_part(self._key, part)
            events.append(VendorEvent(kind, part))

    def _text(self, part: dict[str, object], events: list[TokenEvent]) -> None:
        """Add a piece of text or reasoning; one with a signature becomes a part of its own."""
        text, thought = text_at(part, "text"), part.get("thought") is True
        own = {name: value for name, value in part.items() if name not in ("text", "thought") and value is not None}
        if own:
            self._answer.end_part()
        if text:
            events.append(self._answer.reasoning(text) if thought else self._answer.text(text))
        if own:
            self._answer.sign("reasoning" if thought else "text", {self._key: own})
            self._answer.end_part()

    def _call(self, call: dict[str, object], own: dict[str, object], events: list[TokenEvent]) -> None:
        """Add a function call, or a piece of one: a name begins it, a piece without willContinue ends it."""
        name, leaves = text_at(call, "name"), call.get("partialArgs")
        if leaves and not is_array(leaves):
            raise ProtocolError("a function call's partialArgs is no list")
        if name is not None and not self._continues(name, text_at(call, "id")):
            events += self._end_streamed_call()
            self._start_call(name, text_at(call, "id"), own, events)
            if call.get("args") and not (call.get("willContinue") or leaves):
                self._whole_call(call.get("args"), events)
                return
            self._streamed_arguments = StreamedArguments()
            if not (call.get("willContinue") or leaves):
                self._may_get_arguments = True
                return
        arguments = self._streamed_arguments
        if arguments is None:
            if call.get("args") or leaves:
                raise ProtocolError("a function call has no name")
            return
        whole = object_at(call, "args")
        text = arguments.begin(whole) if whole and not arguments.value else ""
        text += "".join(map(arguments.add, objects_at(call, "partialArgs")))
        if text:
            events.append(self._answer.add_arguments(self._last_call(), text))
        if not (call.get("willContinue") or arguments.unfinished):
            events += self._end_streamed_call()

    def _continues(self, name: str, own_id: str | None) -> bool:
        """Return whether a piece that names a function continues the last call, of which only the name came."""
        if self._streamed_arguments is None or self._streamed_arguments.value:
            return False
        last = self._answer.calls[self._last_call()]
        return last.name == name and own_id in (None, last.id)

    def _start_call(self, name: str, own_id: str | None, own: dict[str, object], events: list[TokenEvent]) -> None:
        index = len(self._answer.calls)
        answer = re.sub(r"[^\w-]", "", self._answer.id or "", flags=re.ASCII)
        call_id = own_id or "_".join(filter(None, ("call", answer, str(index))))
        fields = {**own, "functionCall": {"id": own_id}} if own_id else own
        events.append(self._answer.start_call(index, call_id, name, {self._key: fields} if fields else None))

    def _whole_call(self, args: object, events: list[TokenEvent]) -> None:
        """Add the arguments of a call that has them at once; they may be JSON text, which no model should send."""
        text = args if isinstance(args, str) else encode(args or {}).decode()
        if text:
            events.append(self._answer.add_arguments(self._last_call(), text))
        end = self._answer.end_call(self._last_call())
        if end is not None:
            events.append(end)

    def _end_streamed_call(self) -> list[TokenEvent]:
        """End the call whose arguments come leaf by leaf, if there is one: the wire may never mark its end."""
        arguments, self._streamed_arguments = self._streamed_arguments, None
        self._may_get_arguments = False
        if arguments is None:
            return []
        text = arguments.end()
        events: list[TokenEvent] = [self._answer.add_arguments(self._last_call(), text)] if text else []
        end = self._answer.end_call(self._last_call(), arguments.value)
        return [*events, end] if end is not None else events

    def _last_call(self) -> int:
        return len(self._answer.calls) - 1

    def _totals(self) -> dict[str, object]:
        """Return the last token counts; those that came with plain text are parsed only now."""
        if isinstance(self._counts, msgspec.Raw):
            try:
                counts = read_object(Frame(bytes(self._counts)), self._answer)
            except ProtocolError:  # it was passed over unread, and the text beside it was taken
                counts = None
            self._counts = counts or {}
        return self._counts

    def _add_usage(self, events: list[TokenEvent]) -> None:
        """Report the usage if it has changed."""
        usage = _usage_of(self._totals())
        if usage != self._answer.usage:
            self._answer.usage = usage
            events.append(UsageUpdate(usage))


class _PlainPart(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _PlainContent(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[_PlainPart]
    role: str = "model"


class _PlainCandidate(msgspec.Struct, forbid_unknown_fields=True):
    content: _PlainContent
    index: Literal[0] = 0


class _PlainChunk(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What nearly all chunks are; reading them by their type alone, their counts unread, halves their cost."""

    candidates: tuple[_PlainCandidate]
    usage_metadata: msgspec.Raw = msgspec.Raw()
    model_version: str = ""
    response_id: str = ""
    create_time: str = ""


_plain_chunk = msgspec.json.Decoder(_PlainChunk).decode


def _usage_of(totals: Mapping[str, object]) -> Usage:
    return Usage(
        input_tokens=count_at(totals, "promptTokenCount"),
        output_tokens=count_at(totals, "candidatesTokenCount"),
        total_tokens=count_at(totals, "totalTokenCount"),
        cached_input_tokens=count_at(totals, "cachedContentTokenCount"),
        reasoning_tokens=count_at(totals, "thoughtsTokenCount"),
    )


_CHUNK_FIELDS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index"})
_PART_FIELDS = frozenset({"text", "thought", "thoughtSignature", "partMetadata"})
_COUNTS = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "cachedContentTokenCount", "thoughtsTokenCount"}
)
_FINISH_REASONS = reasons(
    {
        "stop": "STOP",
        "length": "MAX_TOKENS CONTINUATION",
        "content_filter": "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR ESCALATION "
        "PUP_LIMITED_DISABLED IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION",
    }
)
