"""The OpenAI Responses wire, as OpenAI, Azure, xAI, gateways and local servers speak it.

The client is stateless: it sends the whole conversation each time and asks for nothing to be
stored (see `_responses_request`). What comes back is read the same from every vendor: with or
without event names, indexes and sequence numbers, reasoning under any of its names.

Terminal: response.completed, response.incomplete, response.failed, or error. There is no [DONE].

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from ..._json import decode, int_at, object_at, objects_at, text_at
from ..._protocol import Frame, JsonObject, WireRequest
from ..._transport.vendor_errors import fault_of
from ...errors import LLMError, ProtocolError
from ...events import FinishReason, Response, StreamStart, TokenEvent, UsageUpdate, VendorEvent
from ...messages import Message
from ...options import Options
from .._answer_builder import Reply, interrupted, provider_error, read_object
from .._request import endpoint, header_fields
from .answer import DELTAS, DONES, SILENCE, Answer
from .request import responses_request
from .usage import unmodelled_counts, unmodelled_outcome, usage_of


class OpenAIResponses:
    """The Responses API at `base_url`, which ends before /responses and may have a query."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._url = endpoint(base_url, "", "/responses")
        ours = {
            "Authorization": None if api_key is None else f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        self._headers = header_fields(ours, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """The request for one streamed answer; `ConfigurationError` naming what this wire cannot say."""
        body = responses_request(messages, model, options, self._provider)
        return WireRequest(self._url, dict(self._headers), body)

    def decoder(self) -> OpenAIResponsesDecoder:
        """A fresh decoder for one answer."""
        return OpenAIResponsesDecoder(self._provider)


class OpenAIResponsesDecoder:
    """The events of one streamed response to token events."""

    def __init__(self, provider: str) -> None:
        self.finished = False
        self._reply = Reply(provider)
        self._answer = Answer(self._reply)
        self._silent = True
        self._next: int | None = None
        self._missing = 0
        self._streamed: set[tuple[str, object]] = set()

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """The token events of one event."""
        try:
            delta = _read_delta(frame.data)
        except (ValueError, RecursionError):
            return self._read(frame)
        answer = self._answer
        speech = answer.speech
        if (
            delta.type != speech.delta
            or delta.output_index != speech.output_index
            or delta.content_index != speech.content_index
            or delta.summary_index != speech.summary_index
            or (delta.output_index is None and delta.item_id != speech.item_id)
            or delta.sequence_number != self._next
            or delta.logprobs
            or not delta.delta
            or frame.bare
        ):
            return self._read(frame)
        if self._next is not None:
            self._next += 1
        speech.length += len(delta.delta)
        return (answer.speak(delta.delta),)

    def close(self) -> Sequence[TokenEvent]:
        """Nothing more where the answer is complete; else `StreamInterruptedError`."""
        if not self.finished:
            raise interrupted("response.completed")
        return ()

    def partial(self) -> Response:
        """The answer so far."""
        return self._reply.response()

    def _read(self, frame: Frame) -> Sequence[TokenEvent]:
        """The token events of an event of any kind."""
        data = frame.data.strip()
        if self.finished or not data or data == b"[DONE]":
            return ()
        if frame.event == "error":
            raise _reported(frame)
        event = read_object(frame, self._reply)
        if event is None:
            return ()
        self._count(int_at(event, "sequence_number"))
        kind = text_at(event, "type") or frame.event
        handler = _OF_THE_ANSWER.get(kind)
        events = handler(self._answer, kind, event) if handler is not None else self._aside(kind, event)
        self._silent = self._silent and not events
        return events

    def _count(self, number: int | None) -> None:
        """Keep count of events that are missing; some servers repeat numbers, or send them out of order."""
        if number is None:
            return
        expected = number if self._next is None else self._next
        if number >= expected:
            self._missing += number - expected
            self._next = number + 1
        elif self._missing:
            self._missing -= 1

    def _aside(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        """The token events of what is not a piece of the answer."""
        if kind in _BEGINNINGS:
            self._know(_response_of(event))
            return [StreamStart(self._reply.id, self._reply.model)] if self._silent else []
        if kind in _ENDINGS:
            return self._end(kind, event)
        if kind in _ERRORS or (event.get("error") and not kind.startswith("response.")):
            raise provider_error(event)
        if not event or kind in _SILENT or self._is_told(kind, event):
            return []
        return [VendorEvent(kind or "unknown", dict(event))]

    def _is_told(self, kind: str, event: JsonObject) -> bool:
        """Whether an event that is not modelled says nothing: an empty piece, or the whole of what was streamed."""
        stem, _, stage = kind.rpartition(".")
        index = int_at(event, "output_index")
        of = (stem, text_at(event, "item_id") if index is None else index)
        if stage == "delta":
            self._streamed.add(of)
            return not event.get("delta")
        return stage == "done" and of in self._streamed

    def _know(self, response: JsonObject) -> None:
        """The answer's id as first told (gateways change it), its model as last told."""
        self._reply.id = self._reply.id or text_at(response, "id")
        self._reply.model = text_at(response, "model") or self._reply.model

    def _end(self, kind: str, event: JsonObject) -> list[TokenEvent]:
        response, reply = _response_of(event), self._reply
        told = text_at(response, "status")
        status = told if told in _STATUSES else _ENDINGS[kind]
        self._know(response)
        counts = object_at(response, "usage")
        usage = usage_of(counts)
        if usage is not None:
            reply.usage = usage
        reply.raw_finish_reason = status
        if status in ("failed", "cancelled"):
            raise provider_error({"error": response.get("error") or {"message": f"the response was {status}"}})
        events = self._answer.settle(objects_at(response, "output"), cut=status != "completed")
        if self._missing and self._answer.differs:
            raise ProtocolError(f"{self._missing} events of the stream were lost, and part of the answer with them")
        if usage is not None:
            events.append(UsageUpdate(usage))
        for name, data in (("usage", unmodelled_counts(counts)), (kind, unmodelled_outcome(event))):
            if data:
                events.append(VendorEvent(name, data))
        events.append(reply.finish(self._reason(status, response), status))
        self.finished, self._answer.speech = True, SILENCE
        return events

    def _reason(self, status: str, response: JsonObject) -> FinishReason:
        if status != "completed":
            return _CUTS.get(text_at(object_at(response, "incomplete_details"), "reason") or "", "other")
        if self._answer.refused:
            return "refusal"
        return "tool_calls" if self._reply.calls else "stop"


class _Delta(msgspec.Struct, gc=False):
    """An event that carries a piece: reading it typed takes two thirds of the time."""

    type: str
    delta: str
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    sequence_number: int | None = None
    logprobs: list[object] | None = None


_read_delta = msgspec.json.Decoder(_Delta).decode

_Handler: TypeAlias = Callable[[Answer, str, JsonObject], list[TokenEvent]]
_OF_THE_ANSWER: Mapping[str, _Handler] = {
    **dict.fromkeys(DELTAS, Answer.said),
    **dict.fromkeys(DONES, Answer.part_done),
    "response.content_part.done": Answer.part_done,
    "response.reasoning_part.done": Answer.part_done,
    "response.reasoning_summary_part.done": Answer.part_done,
    "response.function_call_arguments.delta": Answer.argued,
    "response.output_item.added": Answer.item_added,
    "response.output_item.done": Answer.item_done,
    "response.output_text.annotation.added": Answer.annotated,
}
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDINGS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_ERRORS = ("error", "response.error")
_STATUSES = frozenset(_ENDINGS.values())
_SILENT = frozenset(
    {
        *("keepalive", "ping", "heartbeat"),
        *("response.content_part.added", "response.reasoning_part.added", "response.reasoning_summary_part.added"),
        "response.function_call_arguments.done",
    }
)
_CUTS: Mapping[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


def _response_of(event: JsonObject) -> JsonObject:
    """The response that an event is about; Perplexity's Agent API puts its fields into the event itself."""
    return object_at(event, "response") or event


def _reported(frame: Frame) -> LLMError:
    """The error of an event that is named so, whatever stands in it."""
    try:
        payload = decode(frame.data)
    except (ValueError, RecursionError):
        payload = None
    return provider_error(payload if fault_of(payload) else {"message": frame.data.decode("utf-8", "replace").strip()})
