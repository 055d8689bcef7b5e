"""Gemini's batch mode: inline requests of one model, answered as an operation.

A batch takes less than 20 MB of requests inline. It expires after 48 hours, without results.

Sources: https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/api/batch-api
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ..._json import encode, object_at, objects_at, text_at
from ..._protocol import Frame, WireRequest
from ..._transport.vendor_errors import status_error
from ...errors import LLMError
from .api import NotedJob, VendorApi, VendorJob, VendorResult, frame_of, required_text

_STATUS = {3: 400, 7: 403, 8: 429, 13: 500, 14: 503, 4: 504}
"""HTTP status for the codes of google.rpc.Code that a request can end with."""


class GeminiBatches(VendorApi):
    """Batches of one model; `request` is a request to it."""

    max_prompts = 20_000
    max_bytes = 15_000_000

    def __init__(self, request: WireRequest) -> None:
        super().__init__(request)
        self._model_url = request.url.partition(":streamGenerateContent")[0]
        self._root = self._model_url.partition("/models/")[0].partition("/tunedModels/")[0]

    def entry(self, custom_id: str, body: Mapping[str, object]) -> bytes:
        """Return an inline request."""
        return encode({"request": body, "metadata": {"key": custom_id}})

    def upload(self, entries: Sequence[bytes]) -> bytes:
        """Return the requests: they are sent when the batch is created."""
        return b'{"requests":{"requests":[' + b",".join(entries) + b"]}}"

    def create(self, prepared: bytes, token: str) -> str:
        """Create a batch whose display name is the token."""
        body = b'{"batch":{"displayName":' + encode(token) + b',"inputConfig":' + prepared + b"}}"
        return required_text(self._json("POST", f"{self._model_url}:batchGenerateContent", body, timeout=600.0), "name")

    def find(self, noted: NotedJob, known: Collection[str], is_in_job: Callable[[str], bool]) -> str:
        """Look for the token among the display names of all batches."""
        page_token = ""
        while True:
            page = self._json("GET", f"{self._root}/batches?pageSize=100{page_token}")
            for operation in objects_at(page, "operations"):
                if text_at(object_at(operation, "metadata"), "displayName") == noted.token:
                    return required_text(operation, "name")
            following = text_at(page, "nextPageToken")
            if not following:
                return ""
            page_token = f"&pageToken={following}"

    def look(self, job: str) -> VendorJob:
        """Return the batch as it is now; a failed or expired one has no results."""
        operation = self._json("GET", f"{self._root}/{job}")
        state = text_at(object_at(operation, "metadata"), "state") or ""
        if state.endswith("_FAILED"):
            reason = text_at(object_at(operation, "error"), "message") or "the vendor gave no reason"
            return VendorJob("refused", reason=reason)
        if operation.get("done") or state.endswith(("_SUCCEEDED", "_CANCELLED", "_EXPIRED")):
            return VendorJob("ended", operation)
        return VendorJob("running")

    def results(self, document: Mapping[str, object]) -> Iterator[VendorResult]:
        """Yield the inline responses."""
        output = object_at(document, "response") or object_at(object_at(document, "metadata"), "output")
        for entry in objects_at(object_at(output, "inlinedResponses"), "inlinedResponses"):
            custom_id = text_at(object_at(entry, "metadata"), "key")
            if custom_id is not None:
                yield custom_id, _outcome(entry)

    def cancel(self, job: str) -> None:
        """Cancel the batch."""
        self._json("POST", f"{self._root}/{job}:cancel", b"{}")


def _outcome(entry: Mapping[str, object]) -> Sequence[Frame] | LLMError:
    error = object_at(entry, "error")
    if not error:
        return (frame_of(object_at(entry, "response")),)
    code = error.get("code")
    status = _STATUS.get(code, 500) if isinstance(code, int) else 500
    return status_error(status, {}, encode({"error": error}), 0.0)
