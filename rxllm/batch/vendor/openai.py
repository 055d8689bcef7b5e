"""OpenAI's Batch API: a file of requests is uploaded, a batch is created from it, its results are files.

Sources: https://developers.openai.com/api/docs/guides/batch,
https://developers.openai.com/api/reference/resources/batches
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from ..._json import encode, object_at, objects_at, text_at
from ..._protocol import Frame, WireRequest
from ..._transport.vendor_errors import status_error
from ...errors import LLMError, ProviderStreamError
from .api import JobStatus, NotedJob, VendorApi, VendorJob, VendorResult, frame_of, json_object, required_text

_ENDED = ("completed", "expired", "cancelled")
_WAITS = "token_limit_exceeded"
"""Too many tokens of this account are in batches now: the same batch can be created later."""
_PASSING = ("batch_expired", "batch_cancelled", "request_timeout")


class OpenAIBatches(VendorApi):
    """Batches of Chat Completions or Responses; `request` is a request to the same endpoint."""

    max_prompts = 50_000
    max_bytes = 100_000_000  # the vendor takes 200 MB; this is held in memory

    def __init__(self, request: WireRequest) -> None:
        super().__init__(request)
        path = urlsplit(request.url).path
        self._is_chat = path.endswith("/chat/completions")
        tail = "/chat/completions" if self._is_chat else "/responses"
        self._root = request.url.partition("?")[0].removesuffix(tail)
        self._endpoint = "/v1" + tail

    def entry(self, custom_id: str, body: Mapping[str, object]) -> bytes:
        """Return a line of the file."""
        return encode({"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body})

    def upload(self, entries: Sequence[bytes]) -> bytes:
        """Upload the file; return its id."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="prompts.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + b"\n".join(entries) + f"\n\r\n--{boundary}--\r\n".encode()
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        _, answer = self._http.call("POST", f"{self._root}/files", headers, body, timeout=600.0)
        return required_text(json_object(answer), "id").encode()

    def create(self, prepared: bytes, token: str) -> str:
        """Create a batch whose metadata hold the token."""
        body = {
            "input_file_id": prepared.decode(),
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {"rxllm": token},
        }
        return required_text(self._json("POST", f"{self._root}/batches", encode(body)), "id")

    def find(self, noted: NotedJob, known: Collection[str], is_in_job: Callable[[str], bool]) -> str:
        """Look for the token in the metadata of the batches created since."""
        after = ""
        while True:
            page = self._json("GET", f"{self._root}/batches?limit=100{after}")
            batches = objects_at(page, "data")
            for batch in batches:
                if text_at(object_at(batch, "metadata"), "rxllm") == noted.token:
                    return required_text(batch, "id")
            created = batches[-1].get("created_at") if batches and page.get("has_more") else None
            if not isinstance(created, int | float) or created < noted.noted:
                return ""
            after = f"&after={required_text(batches[-1], 'id')}"

    def look(self, job: str) -> VendorJob:
        """Return the batch as it is now; an expired or cancelled one has results too."""
        batch = self._json("GET", f"{self._root}/batches/{job}")
        status = text_at(batch, "status") or ""
        if status in _ENDED:
            return VendorJob("ended", batch)
        if status != "failed":
            return VendorJob("running")
        errors = objects_at(object_at(batch, "errors"), "data")
        kind: JobStatus = "full" if any(text_at(error, "code") == _WAITS for error in errors) else "refused"
        reasons = [f"line {error.get('line')}: {error.get('message')}" for error in errors]
        return VendorJob(kind, reason="; ".join(reasons[:5]) or "the vendor gave no reason")

    def results(self, document: Mapping[str, object]) -> Iterator[VendorResult]:
        """Yield the lines of the output file and of the error file."""
        for name in ("output_file_id", "error_file_id"):
            if file := text_at(document, name):
                for custom_id, line in self._result_lines(f"{self._root}/files/{file}/content"):
                    yield custom_id, self._outcome(line)

    def cancel(self, job: str) -> None:
        """Cancel the batch; that takes up to 10 minutes."""
        self._json("POST", f"{self._root}/batches/{job}/cancel", b"{}")

    def _outcome(self, line: Mapping[str, object]) -> Sequence[Frame] | LLMError:
        """Return the answer or the error in a line of the output or error file."""
        response = object_at(line, "response")
        status = response.get("status_code")
        body = object_at(response, "body")
        if status == 200:
            return (frame_of(body if self._is_chat else {"type": "response.completed", "response": body}),)
        if isinstance(status, int):
            return status_error(status, {}, encode(body), 0.0)
        error = object_at(line, "error")
        code, message = text_at(error, "code") or "error", text_at(error, "message") or "no message"
        return ProviderStreamError(f"{code}: {message}", transient=code in _PASSING)
