"""Anthropic's Message Batches: one JSON document of requests, one JSONL document of results.

A batch has no metadata, so a batch whose id was lost is recognised by the custom ids in its results.

Sources: https://platform.claude.com/docs/en/build-with-claude/batch-processing,
https://platform.claude.com/docs/en/api/messages/batches
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

from ..._json import encode, object_at, objects_at, text_at
from ..._protocol import Frame, WireRequest
from ..._transport.vendor_errors import fault_of, stream_error
from ...errors import LLMError, ProviderStreamError
from .api import NotedJob, VendorApi, VendorJob, VendorResult, frame_of, required_text

_CLOCK_SECONDS = 300.0
"""How much the vendor's clock may differ from ours."""


class AnthropicBatches(VendorApi):
    """Batches of Messages; `request` is a request to the same account."""

    max_prompts = 100_000
    max_bytes = 100_000_000  # the vendor takes 256 MB; this is held in memory

    def __init__(self, request: WireRequest) -> None:
        super().__init__(request)
        self._url = request.url.partition("?")[0] + "/batches"

    def entry(self, custom_id: str, body: Mapping[str, object]) -> bytes:
        """Return an element of `requests`."""
        return encode({"custom_id": custom_id, "params": body})

    def upload(self, entries: Sequence[bytes]) -> bytes:
        """Return the document: it is sent when the batch is created."""
        return b'{"requests":[' + b",".join(entries) + b"]}"

    def create(self, prepared: bytes, token: str) -> str:
        """Send the document."""
        return required_text(self._json("POST", self._url, prepared, timeout=600.0), "id")

    def find(self, noted: NotedJob, known: Collection[str], is_in_job: Callable[[str], bool]) -> str | None:
        """Look for a batch with as many requests, created since, whose first result is that of a prompt in the job.

        One that has not ended has no results, so it cannot be decided yet whether it is the job.
        """
        undecided = False
        for batch in objects_at(self._json("GET", f"{self._url}?limit=100"), "data"):
            created = text_at(batch, "created_at")
            if created is not None and datetime.fromisoformat(created).timestamp() < noted.noted - _CLOCK_SECONDS:
                break
            counts = object_at(batch, "request_counts").values()
            numbers = [number for number in counts if isinstance(number, int)]
            if sum(numbers) != noted.count or batch.get("id") in known:
                continue
            if text_at(batch, "processing_status") != "ended":
                undecided = True
            elif any(is_in_job(custom_id) for custom_id, _ in itertools.islice(self.results(batch), 1)):
                return required_text(batch, "id")
        return None if undecided else ""

    def look(self, job: str) -> VendorJob:
        """Return the batch as it is now."""
        batch = self._json("GET", f"{self._url}/{job}")
        return VendorJob("ended" if text_at(batch, "processing_status") == "ended" else "running", batch)

    def results(self, document: Mapping[str, object]) -> Iterator[VendorResult]:
        """Yield the lines of the results."""
        for custom_id, line in self._result_lines(f"{self._url}/{required_text(document, 'id')}/results"):
            yield custom_id, _outcome(object_at(line, "result"))

    def cancel(self, job: str) -> None:
        """Cancel the batch; requests that are processed by then keep their results."""
        self._json("POST", f"{self._url}/{job}/cancel", b"")


def _outcome(result: Mapping[str, object]) -> Sequence[Frame] | LLMError:
    """Return the answer or the error in a line. An expired request may be sent again."""
    kind = text_at(result, "type") or "unknown"
    if kind == "succeeded":
        start = {"type": "message_start", "message": object_at(result, "message")}
        return (frame_of(start), frame_of({"type": "message_stop"}))
    fault = fault_of(object_at(result, "error"))
    if fault is not None:
        return stream_error(fault)
    return ProviderStreamError(f"the request was {kind}", transient=kind in ("expired", "canceled"))
