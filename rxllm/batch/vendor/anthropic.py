"""Anthropic's Message Batches: one JSON document of requests, one JSONL document of results.

A batch has no metadata, so a batch whose id was lost is recognised by the custom ids in its results.

Sources: https://platform.claude.com/docs/en/build-with-claude/batch-processing,
https://platform.claude.com/docs/en/api/messages/batches
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from ..._json import encode, object_at, objects_at, text_at
from ..._protocol import WireRequest
from ..._transport.vendor_errors import fault_of, stream_error
from ...errors import LLMError, ProviderStreamError
from .api import VendorApi, VendorJob, VendorResult, frame_of, required_text, without_streaming

_CLOCK_SECONDS = 300.0
"""How much the vendor's clock may differ from ours."""


class AnthropicBatches(VendorApi):
    """Batches of Messages; `request` is a request to the same account."""

    max_prompts = 100_000
    max_bytes = 100_000_000  # the vendor takes 256 MB; this is held in memory

    def __init__(self, request: WireRequest) -> None:
        super().__init__(request)
        self._url = request.url.partition("?")[0] + "/batches"

    def entry(self, custom_id: str, request: WireRequest) -> bytes:
        """Return an element of `requests`."""
        return encode({"custom_id": custom_id, "params": without_streaming(request)})

    def upload(self, entries: Sequence[bytes]) -> bytes:
        """Return the document: it is sent when the batch is created."""
        return b'{"requests":[' + b",".join(entries) + b"]}"

    def create(self, prepared: bytes, token: str) -> str:
        """Send the document; the custom ids in it begin with the token."""
        del token
        return required_text(self._json("POST", self._url, prepared, timeout=600.0), "id")

    def find(self, token: str, count: int, since: float, known: Collection[str]) -> str | Literal["maybe"] | None:
        """Look among the batches created since, with as many requests, for one whose results begin with the token."""
        page = self._json("GET", f"{self._url}?limit=100")
        undecided = False
        for batch in objects_at(page, "data"):
            created = text_at(batch, "created_at")
            if created is not None and datetime.fromisoformat(created).timestamp() < since - _CLOCK_SECONDS:
                break
            counts = object_at(batch, "request_counts").values()
            numbers = [number for number in counts if isinstance(number, int)]
            if sum(numbers) != count or batch.get("id") in known:
                continue
            if text_at(batch, "processing_status") != "ended":
                undecided = True
                continue
            first = next(self.results(VendorJob("ended", (required_text(batch, "id"),))), None)
            if first is not None and first.custom_id.startswith(token):
                return required_text(batch, "id")
        return "maybe" if undecided else None

    def look(self, job: str) -> VendorJob:
        """Return the batch as it is now."""
        batch = self._json("GET", f"{self._url}/{job}")
        is_ended = text_at(batch, "processing_status") == "ended"
        return VendorJob("ended", (job,)) if is_ended else VendorJob("running")

    def results(self, job: VendorJob) -> Iterator[VendorResult]:
        """Yield the lines of the results."""
        for custom_id, found in self._result_lines(*(f"{self._url}/{name}/results" for name in job.results)):
            yield _result(custom_id, object_at(found, "result"))

    def cancel(self, job: str) -> None:
        """Cancel the batch; requests that are processed by then keep their results."""
        self._json("POST", f"{self._url}/{job}/cancel", b"")


def _result(custom_id: str, result: Mapping[str, object]) -> VendorResult:
    """Return the result in a line. An expired request may be sent again."""
    kind = text_at(result, "type") or "unknown"
    if kind == "succeeded":
        start = {"type": "message_start", "message": object_at(result, "message")}
        return VendorResult(custom_id, (frame_of(start), frame_of({"type": "message_stop"})))
    error: LLMError
    fault = fault_of(object_at(result, "error"))
    if fault is not None:
        error = stream_error(fault)
    else:
        error = ProviderStreamError(f"the request was {kind}", transient=kind in ("expired", "canceled"))
    return VendorResult(custom_id, error=error)
