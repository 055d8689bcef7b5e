"""The OpenAI Responses wire, as OpenAI, Azure, xAI, gateways and local servers append it.

The client is stateless: it sends the whole conversation each time and asks for nothing to be
stored (see `openai_responses.request`). What comes back is read the same from every vendor: with or
without event names, indexes and sequence numbers, reasoning under any of its names.

Terminal: response.completed, response.incomplete, response.failed, or error. There is no [DONE].

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from ..._json import int_at, object_at, objects_at, text_at
from ..._protocol import Frame, JsonObject
from ..._schema import decoder
from ...errors import LLMError, ProtocolError
from ...events import FinishReason, TokenEvent, Usage, UsageUpdate, VendorEvent
from .._answer_builder import AnswerDecoder
from .._endpoint import Endpoint
from .._frame_reader import provider_error, unknown_fields
from .output import DELTAS, DONES, NO_PART, OutputReader


class OpenAIResponsesDecoder(AnswerDecoder):
    """The events of one streamed response to token events."""

    wire = "openai-responses"
    terminal = "response.completed"

    def __init__(self, provider: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(provider, endpoint)
        self._output = OutputReader(self._answer)
        self._next: int | None = None
        self._missing = 0
        self._failure: LLMError | None = None
        """The response failed without a word: Azure says why in the event that follows."""

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the token events of one event."""
        try:
            delta = _read_delta(frame.data)
        except (ValueError, RecursionError):
            return self._read(frame)
        output = self._output
        part = output.part
        if (
            delta.type != part.delta
            or delta.output_index != part.output_index
            or delta.content_index != part.content_index
            or delta.summary_index != part.summary_index
            or (delta.output_index is None and delta.item_id != part.item_id)
            or delta.sequence_number != self._next
            or delta.logprobs
            or not delta.delta
            or frame.is_document
        ):
            return self._read(frame)
        if self._next is not None:
            self._next += 1
        part.length += len(delta.delta)
        return (output.append(delta.delta),)

    def _payload(self, kind: str, payload: dict[str, object]) -> Iterable[TokenEvent]:
        """Return the token events of an event of any type."""
        self._check_sequence(int_at(payload, "sequence_number"))
        handler = _OUTPUT_HANDLERS.get(kind)
        return handler(self._output, kind, payload) if handler else self._other_event(kind, payload)

    def _check_sequence(self, number: int | None) -> None:
        """Keep count of events that are missing; some servers repeat numbers, or send them out of order."""
        if number is None:
            return
        expected = number if self._next is None else self._next
        if number >= expected:
            self._missing += number - expected
            self._next = number + 1
        elif self._missing:
            self._missing -= 1

    def _other_event(self, kind: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Return the token events of an event that is not about an output item."""
        if kind in _STARTS:
            self._set_identity(_response_of(event))
        elif kind in _ENDINGS:
            yield from self._end(kind, event)
        elif kind in _ERRORS or (event.get("error") and not kind.startswith("response.")):
            raise provider_error(event)
        elif event and kind not in _IGNORED:
            yield VendorEvent(kind or "unknown", dict(event))

    def _last_events(self) -> Sequence[TokenEvent]:
        """Raise the error of a failed response, or of one that has no end."""
        if self._failure is not None:
            raise self._failure
        return super()._last_events()

    def _set_identity(self, response: JsonObject) -> None:
        """Keep the answer's first id (gateways change it) and its newest model."""
        self._answer.id = self._answer.id or text_at(response, "id")
        self._answer.model = text_at(response, "model") or self._answer.model

    def _end(self, kind: str, event: JsonObject) -> Iterator[TokenEvent]:
        """Return the terminal events of a response; raise if it failed or parts of it were lost."""
        response, answer = _response_of(event), self._answer
        reported = text_at(response, "status")
        status = reported if reported in _STATUSES else _ENDINGS[kind]
        self._set_identity(response)
        counts = object_at(response, "usage")
        answer.usage = self._words.usage_of(counts)
        answer.raw_finish_reason = status
        reason = response.get("error")
        if status == "failed" and not reason:
            self._failure = provider_error({"message": "the response failed, and the server does not say why"})
            return
        if status in ("failed", "cancelled") and reason:
            raise provider_error({"error": reason})
        yield from self._output.finish(objects_at(response, "output"), cut=status != "completed")
        if self._missing and self._output.length_differs:
            raise ProtocolError(f"{self._missing} events of the stream were lost, and part of the answer with them")
        if answer.usage != Usage():
            yield UsageUpdate(answer.usage)
        outcome = unknown_fields({**object_at(event, "response"), **event}, _KNOWN)
        for name, data in (("usage", self._words.unmodelled_counts(counts)), (kind, outcome)):
            if data:
                yield VendorEvent(name, data)
        yield self._finish(self._reason(status, response), status)
        self._output.part = NO_PART

    def _reason(self, status: str, response: JsonObject) -> FinishReason:
        """Return our finish reason for the status and the vendor's reason of an incomplete answer."""
        if status != "completed":
            return self._words.reason_of(text_at(object_at(response, "incomplete_details"), "reason") or "")
        return "refusal" if self._output.refused else "stop"


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


_read_delta = decoder(_Delta).decode

_Handler: TypeAlias = Callable[[OutputReader, str, JsonObject], Iterable[TokenEvent]]
_OUTPUT_HANDLERS: Mapping[str, _Handler] = {
    **dict.fromkeys(DELTAS, OutputReader.text_delta),
    **dict.fromkeys(DONES, OutputReader.part_done),
    "response.content_part.done": OutputReader.part_done,
    "response.reasoning_part.done": OutputReader.part_done,
    "response.reasoning_summary_part.done": OutputReader.part_done,
    "response.function_call_arguments.delta": OutputReader.arguments_delta,
    "response.function_call_arguments.done": OutputReader.arguments_done,
    "response.output_item.added": OutputReader.item,
    "response.output_item.done": OutputReader.item,
    "response.output_text.annotation.added": OutputReader.annotation_added,
}
_STARTS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDINGS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_ERRORS = ("error", "response.error")
_STATUSES = frozenset(_ENDINGS.values())
_IGNORED = frozenset(
    {
        *("keepalive", "ping", "heartbeat"),
        *("response.content_part.added", "response.reasoning_part.added", "response.reasoning_summary_part.added"),
    }
)


def _response_of(event: JsonObject) -> JsonObject:
    """Return the response in an event; Perplexity's Agent API puts its fields into the event itself."""
    return object_at(event, "response") or event


_KNOWN = frozenset(
    {
        *("type", "response", "sequence_number"),
        *("id", "object", "model", "status", "output", "output_text", "usage", "error", "created_at", "completed_at"),
        *("instructions", "input", "tools", "tool_choice", "parallel_tool_calls", "max_tool_calls", "text"),
        *("temperature", "top_p", "top_logprobs", "frequency_penalty", "presence_penalty", "max_output_tokens"),
        *("reasoning", "store", "background", "metadata", "previous_response_id", "user", "safety_identifier"),
        *("truncation", "prompt_cache_key", "prompt_cache_retention"),
    }
)
"""The fields of a response that hold the answer, or what was asked."""
