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
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ..._json import Json, int_at, is_array, is_object, object_at, objects_at, text_at
from ..._protocol import Frame
from ..._schema import decoder
from ...errors import ProtocolError
from ...events import Response, TokenEvent, Usage, VendorEvent
from .._answer_builder import AnswerDecoder
from .._endpoint import Endpoint
from .._frame_reader import fields_back, provider_error
from .arguments import StreamedArguments


class GeminiDecoder(AnswerDecoder):
    """Chunks of generateContent to token events."""

    wire = "gemini"
    terminal = "a finishReason"

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(provider, endpoint)
        self._blocked = False
        self._streamed_arguments: StreamedArguments | None = None
        """The arguments of the last call, while they come leaf by leaf."""
        self._may_get_arguments = False
        """The last call came whole, but without arguments: some servers send them in the next chunk."""
        self._counts: msgspec.Raw | Json = {}
        """The last token counts, not yet parsed if they came with plain text."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the events of one chunk. Chunks with only text are parsed into structs, which is faster."""
        if not self._is_open or frame.is_document:
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

    def _last_events(self) -> Sequence[TokenEvent]:
        """Return the last events if a finishReason or a blockReason has come."""
        raw = self._answer.raw_finish_reason
        if raw is None and not self._blocked:
            return super()._last_events()
        reason = self._words.reason_of(raw) if raw else "content_filter"
        if reason == "other":
            self._answer.drop_calls()  # MALFORMED_FUNCTION_CALL and its like: a call in it is not to be run
        events = list(self._end_streamed_call()) if reason == "stop" or self._may_get_arguments else []
        events += self._answer.use(self._words.usage_of(self._totals()))
        if others := self._words.unmodelled_counts(self._totals()):
            events.append(VendorEvent("usageMetadata", others))
        return [*events, self._finish(reason, raw)]

    def partial(self) -> Response:
        """Return the answer so far."""
        return msgspec.structs.replace(super().partial(), usage=self._words.usage_of(self._totals()))

    def _payload(self, kind: str, payload: Json) -> Iterator[TokenEvent]:
        """Return the events of one chunk. Only the first counts are reported here; the last follow at the end."""
        if payload.get("error"):
            raise provider_error(payload)
        answer = self._answer
        answer.id = answer.id or text_at(payload, "responseId")
        answer.model = answer.model or text_at(payload, "modelVersion")
        if text_at(object_at(payload, "promptFeedback"), "blockReason"):
            self._blocked = True
        for candidate in objects_at(payload, "candidates"):
            if int_at(candidate, "index"):
                yield VendorEvent("candidate", candidate)
            else:
                yield from self._candidate(candidate)
        yield from answer.vendor_events(payload, _CHUNK_FIELDS)
        counts = object_at(payload, "usageMetadata")
        if (usage := self._words.usage_of(counts)) != Usage():
            first, self._counts = not self._totals(), counts
            if first:
                yield from answer.use(usage)

    def _candidate(self, candidate: Json) -> Iterator[TokenEvent]:
        """Add the parts of the answer, and note its finish reason."""
        for part in objects_at(object_at(candidate, "content"), "parts"):
            yield from self._part(part)
        yield from self._answer.vendor_events(candidate, _CANDIDATE_FIELDS)
        raw = text_at(candidate, "finishReason")
        if raw is not None and raw != "FINISH_REASON_UNSPECIFIED":
            self._answer.raw_finish_reason = raw
            self._answer.finish_reason = self._words.reason_of(raw)

    def _part(self, part: Json) -> Iterator[TokenEvent]:
        """Add a part: a function call, text or thought, or another kind, which goes back as it came."""
        call = part.get("functionCall")
        if self._may_get_arguments and not (is_object(call) and self._may_be_rest(call)):
            yield from self._end_streamed_call()
        if is_object(call):
            yield from self._call(call, fields_back(part, frozenset({"functionCall"})))
            return
        kind = next((name for name in part if name not in _PART_FIELDS and part[name] is not None), "text")
        if kind == "text" or text_at(part, "text"):
            yield from self._text(part)
            yield from self._answer.vendor_events(part, _PART_FIELDS)
        else:
            self._answer.vendor_part(part)
            yield VendorEvent(kind, part)

    def _text(self, part: Json) -> Iterator[TokenEvent]:
        """Add a piece of text or reasoning; one with a signature becomes a part of its own."""
        text, thought = text_at(part, "text"), part.get("thought") is True
        own = fields_back(part, frozenset({"text", "thought"}))
        if own:
            self._answer.end_part()
        if text:
            yield self._answer.reasoning(text) if thought else self._answer.text(text)
        if own:
            self._answer.sign("reasoning" if thought else "text", own)
            self._answer.end_part()

    def _call(self, call: Json, own: Json) -> Iterator[TokenEvent]:
        """Add a function call, or a piece of one: a name begins it, a piece without willContinue ends it."""
        name, leaves = text_at(call, "name"), call.get("partialArgs")
        if leaves and not is_array(leaves):
            raise ProtocolError("a function call's partialArgs is not a list")
        is_streamed = bool(call.get("willContinue") or leaves)
        if name is None or self._continues(name, text_at(call, "id")):
            if self._streamed_arguments is not None:
                self._answer.sign_call(self._last_call(), own)
        else:
            repeated = None if is_streamed else self._repeated(name, text_at(call, "id"), call.get("args"))
            if repeated is not None:
                self._answer.sign_call(repeated, own)
                return
            yield from self._end_streamed_call()
            yield self._start_call(name, text_at(call, "id"), own)
            if call.get("args") and not is_streamed:
                yield from self._answer.end_call_with(self._last_call(), call["args"])
                return
            self._streamed_arguments = StreamedArguments()
            self._may_get_arguments = not is_streamed
            if not is_streamed:
                return
        arguments = self._streamed_arguments
        if arguments is None:
            if call.get("args") or leaves:
                raise ProtocolError("a function call has no name")
            return
        if not arguments.value:
            arguments.value.update(object_at(call, "args"))
        for leaf in objects_at(call, "partialArgs"):
            arguments.add(leaf)
        if not (call.get("willContinue") or arguments.unfinished):
            yield from self._end_streamed_call()

    def _continues(self, name: str, own_id: str | None) -> bool:
        """Return whether a piece that names a function continues the last call, of which only the name came."""
        if self._streamed_arguments is None or self._streamed_arguments.value:
            return False
        last = self._last_call()
        return self._answer.is_call(last, name) and own_id in (None, self._answer.calls[last].id)

    def _may_be_rest(self, call: Json) -> bool:
        """Return whether a piece may bring the arguments of the last call, of which only the name came."""
        own_id = text_at(call, "id")
        return "name" not in call or (own_id is not None and self._continues(text_at(call, "name") or "", own_id))

    def _repeated(self, name: str, own_id: str | None, arguments: object) -> int | None:
        """Return the index of the whole call that comes again with its id: at times only one of the two is signed."""
        for at, call in self._answer.calls.items():
            is_same = call.id == own_id and self._answer.is_call(at, name)
            if is_same and call.ended is not None and arguments in (None, {}, call.ended.arguments):
                return at
        return None

    def _start_call(self, name: str, own_id: str | None, own: Json) -> TokenEvent:
        index = len(self._answer.calls)
        answer = re.sub(r"[^\w-]", "", self._answer.id or "", flags=re.ASCII)
        call_id = own_id or "_".join(filter(None, ("call", answer, str(index))))
        fields = {**own, "functionCall": {"id": own_id}} if own_id else own
        return self._answer.start_call(index, call_id, name, fields)

    def _end_streamed_call(self) -> Iterator[TokenEvent]:
        """End the call whose arguments come leaf by leaf, if there is one: the wire may never mark its end."""
        arguments, self._streamed_arguments = self._streamed_arguments, None
        self._may_get_arguments = False
        if arguments is not None:
            yield from self._answer.end_call_with(self._last_call(), arguments.value)

    def _last_call(self) -> int:
        return len(self._answer.calls) - 1

    def _totals(self) -> Json:
        """Return the last token counts; those that came with plain text are parsed only now."""
        if isinstance(self._counts, msgspec.Raw):
            try:
                read = self._reader.objects(Frame(bytes(self._counts)))
            except ProtocolError:  # it was passed over unread, and the text beside it was taken
                read = ()
            self._counts = read[0] if read else {}
        return self._counts


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


_plain_chunk = decoder(_PlainChunk).decode


_CHUNK_FIELDS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index"})
_PART_FIELDS = frozenset({"text", "thought", "thoughtSignature", "partMetadata"})
