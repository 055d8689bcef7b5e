"""The Gemini generateContent wire, asked for as server-sent events.

Has no terminal event: an answer is whole when its body ends after a finishReason, or after the
prompt was blocked. A finishReason before that ends nothing: text, calls and counts may follow it.

Every chunk carries a running total of tokens. It is told when the first one comes and, if it has
changed, at the end; `partial()` has the last one at any moment. `Usage.output_tokens` is the
vendor's candidatesTokenCount, which leaves thoughts out; `total_tokens` is the vendor's too.

A call without an id gets one. Parts that are no text, thought or function call are told whole as a
`VendorEvent` and carried back as they came, like all signatures.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from ..._json import encode, int_at, is_array, is_object, object_at, objects_at, text_at
from ..._protocol import Frame, WireRequest
from ...errors import ProtocolError
from ...events import FinishReason, Response, StreamStart, TokenEvent, Usage, UsageUpdate, VendorEvent
from ...messages import Message
from ...options import Options
from .._answer_builder import Reply, beyond, broken_call, interrupted, named_error, provider_error, read_object
from .._request import endpoint, header_fields
from .arguments import StreamedArguments
from .request import WIRE, generate_request


class Gemini:
    """The Gemini API at `base_url`, the host root (a /v1beta or other version at its end stays)."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._base_url = base_url
        self._headers = header_fields(
            {"x-goog-api-key": api_key, "Content-Type": "application/json", "Accept": "text/event-stream"}, headers
        )

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """The request for one streamed answer; `ConfigurationError` where the API cannot say it."""
        name = quote(model if "/" in model else f"models/{model}")
        url = endpoint(self._base_url, "/v1beta", f"/{name}:streamGenerateContent", "alt=sse")
        return WireRequest(url, dict(self._headers), generate_request(messages, model, options, self._provider))

    def decoder(self) -> GeminiDecoder:
        """A fresh decoder for one answer."""
        return GeminiDecoder(self._provider)


class GeminiDecoder:
    """Chunks of generateContent to token events."""

    def __init__(self, provider: str) -> None:
        self.finished = False
        self._reply = Reply(provider)
        self._started = False
        self._blocked = False
        self._growing: StreamedArguments | None = None
        """The arguments of the last call, while they come leaf by leaf."""
        self._counts: msgspec.Raw | dict[str, object] = {}
        """The last token counts, unread where they came with plain text."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """The events of one chunk."""
        if not self._started or self.finished or frame.bare:
            return self._read(frame)
        try:
            chunk = _plain_chunk(frame.data)
        except (ValueError, RecursionError):
            return self._read(frame)
        if chunk.usage_metadata:
            self._counts = chunk.usage_metadata
        reply = self._reply
        return [
            reply.reasoning(part.text) if part.thought else reply.text(part.text)
            for part in chunk.candidates[0].content.parts
            if part.text
        ]

    def close(self) -> Sequence[TokenEvent]:
        """The last events; `StreamInterruptedError` where neither a finishReason nor a blocked prompt came."""
        if self.finished:
            return ()
        raw = self._reply.raw_finish_reason
        if raw is None and not self._blocked:
            raise interrupted("a finishReason")
        reason = _FINISH_REASONS.get(raw, "other") if raw else "content_filter"
        events = self._end_growing() if reason == "stop" else []
        if reason == "stop" and (name := self._reply.unfinished_call()) is not None:
            raise broken_call(name)
        if reason == "stop" and self._reply.calls:
            reason = "tool_calls"
        self._count(events)
        if others := beyond(self._totals(), _COUNTS):
            events.append(VendorEvent("usageMetadata", others))
        self.finished = True
        return [*events, self._reply.finish(reason, raw)]

    def partial(self) -> Response:
        """The answer so far."""
        return msgspec.structs.replace(self._reply.response(), usage=_usage_of(self._totals()))

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """The events of a frame of any shape."""
        if self.finished or frame.data.strip() in (b"", b"[DONE]"):
            return ()
        if frame.event == "error":
            raise named_error(frame)
        chunk = read_object(frame, self._reply)
        if chunk is None:
            return ()
        if chunk.get("error"):
            raise provider_error(chunk)
        return self._chunk(chunk)

    def _chunk(self, chunk: dict[str, object]) -> Sequence[TokenEvent]:
        events: list[TokenEvent] = []
        reply = self._reply
        reply.id = reply.id or text_at(chunk, "responseId")
        reply.model = reply.model or text_at(chunk, "modelVersion")
        if not self._started:
            if not any(chunk.get(name) for name in (*_CHUNK_FIELDS, "promptFeedback")):
                return ()
            self._started = True
            events.append(StreamStart(reply.id, reply.model))
        feedback = object_at(chunk, "promptFeedback")
        if text_at(feedback, "blockReason"):
            self._blocked = True
        for candidate in objects_at(chunk, "candidates"):
            if int_at(candidate, "index"):
                events.append(VendorEvent("candidate", candidate))
            else:
                self._candidate(candidate, events)
        events += self._reply.others(chunk, _CHUNK_FIELDS)
        counts = object_at(chunk, "usageMetadata")
        if not _COUNTS.isdisjoint(counts):
            first, self._counts = not self._totals(), counts
            if first:
                self._count(events)
        return events

    def _candidate(self, candidate: dict[str, object], events: list[TokenEvent]) -> None:
        for part in objects_at(object_at(candidate, "content"), "parts"):
            self._part(part, events)
        events += self._reply.others(candidate, _CANDIDATE_FIELDS)
        raw = text_at(candidate, "finishReason")
        if raw is not None and raw != "FINISH_REASON_UNSPECIFIED":
            self._reply.raw_finish_reason = raw
            self._reply.finish_reason = _FINISH_REASONS.get(raw, "other")

    def _part(self, part: dict[str, object], events: list[TokenEvent]) -> None:
        call = part.get("functionCall")
        if is_object(call):
            own = {name: value for name, value in part.items() if name != "functionCall" and value is not None}
            self._call(call, own, events)
            return
        kind = next((name for name in part if name not in _PART_FIELDS and part[name] is not None), "text")
        if kind == "text" or text_at(part, "text"):
            self._text(part, events)
            events += self._reply.others(part, _PART_FIELDS)
        else:
            self._reply.vendor_part(WIRE, part)
            events.append(VendorEvent(kind, part))

    def _text(self, part: dict[str, object], events: list[TokenEvent]) -> None:
        """A piece of text or of a thought; one with a signature is a part of its own."""
        text, thought = text_at(part, "text"), part.get("thought") is True
        own = {name: value for name, value in part.items() if name not in ("text", "thought") and value is not None}
        if own:
            self._reply.end_part()
        if text:
            events.append(self._reply.reasoning(text) if thought else self._reply.text(text))
        if own:
            self._reply.sign("reasoning" if thought else "text", {WIRE: own})
            self._reply.end_part()

    def _call(self, call: dict[str, object], own: dict[str, object], events: list[TokenEvent]) -> None:
        """A function call, or a piece of one: begun with a name, ended by a piece that does not say willContinue."""
        name, leaves = text_at(call, "name"), call.get("partialArgs")
        if leaves and not is_array(leaves):
            raise ProtocolError("a function call's partialArgs is no list")
        if name is not None and not self._continues(name, text_at(call, "id")):
            events += self._end_growing()
            self._start_call(name, text_at(call, "id"), own, events)
            if not (call.get("willContinue") or leaves):
                self._whole_call(call.get("args"), events)
                return
            self._growing = StreamedArguments()
        growing = self._growing
        if growing is None:
            if call.get("args") or leaves:
                raise ProtocolError("a function call has no name")
            return
        whole = object_at(call, "args")
        text = growing.begin(whole) if whole and not growing.value else ""
        text += "".join(map(growing.add, objects_at(call, "partialArgs")))
        if text:
            events.append(self._reply.add_arguments(self._last_call(), text))
        if not (call.get("willContinue") or growing.unfinished):
            events += self._end_growing()

    def _continues(self, name: str, own_id: str | None) -> bool:
        """Whether a piece that names a function goes on with the last call, of which no more than its name came."""
        if self._growing is None or self._growing.value:
            return False
        last = self._reply.calls[self._last_call()]
        return last.name == name and own_id in (None, last.id)

    def _start_call(self, name: str, own_id: str | None, own: dict[str, object], events: list[TokenEvent]) -> None:
        index = len(self._reply.calls)
        answer = re.sub(r"[^\w-]", "", self._reply.id or "", flags=re.ASCII)
        call_id = own_id or "_".join(filter(None, ("call", answer, str(index))))
        fields = {**own, "functionCall": {"id": own_id}} if own_id else own
        events.append(self._reply.start_call(index, call_id, name, {WIRE: fields} if fields else None))

    def _whole_call(self, args: object, events: list[TokenEvent]) -> None:
        """The arguments of a call that has them at once; as text, which no model should send, they may be JSON."""
        text = args if isinstance(args, str) else encode(args or {}).decode()
        if text:
            events.append(self._reply.add_arguments(self._last_call(), text))
        end = self._reply.end_call(self._last_call())
        if end is not None:
            events.append(end)

    def _end_growing(self) -> list[TokenEvent]:
        """End the call whose arguments come leaf by leaf, if there is one: its end may never be told."""
        growing, self._growing = self._growing, None
        if growing is None:
            return []
        text = growing.end()
        events: list[TokenEvent] = [self._reply.add_arguments(self._last_call(), text)] if text else []
        end = self._reply.end_call(self._last_call(), growing.value)
        return [*events, end] if end is not None else events

    def _last_call(self) -> int:
        return len(self._reply.calls) - 1

    def _totals(self) -> dict[str, object]:
        if isinstance(self._counts, msgspec.Raw):
            try:
                counts = read_object(Frame(bytes(self._counts)), self._reply)
            except ProtocolError:  # it was passed over unread, and the text beside it was taken
                counts = None
            self._counts = counts or {}
        return self._counts

    def _count(self, events: list[TokenEvent]) -> None:
        """Tell the usage where it has changed."""
        usage = _usage_of(self._totals())
        if usage != self._reply.usage:
            self._reply.usage = usage
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
        input_tokens=int_at(totals, "promptTokenCount"),
        output_tokens=int_at(totals, "candidatesTokenCount"),
        total_tokens=int_at(totals, "totalTokenCount"),
        cached_input_tokens=int_at(totals, "cachedContentTokenCount"),
        reasoning_tokens=int_at(totals, "thoughtsTokenCount"),
    )


_CHUNK_FIELDS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index"})
_PART_FIELDS = frozenset({"text", "thought", "thoughtSignature", "partMetadata"})
_COUNTS = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "cachedContentTokenCount", "thoughtsTokenCount"}
)
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
