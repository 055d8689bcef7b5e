"""A server that plays the batch APIs of OpenAI, Anthropic and Gemini.

A job is answered at once, and has ended when it is looked at for the first time; `hold` keeps jobs running until
`release`. Everything that a vendor was reported to do to clients can be switched on. Formats are those of
https://developers.openai.com/api/docs/guides/batch,
https://platform.claude.com/docs/en/build-with-claude/batch-processing and
https://ai.google.dev/gemini-api/docs/batch-api.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self, TypeAlias

from rxllm._json import decode, encode, is_object, object_at, objects_at
from rxllm.events import Response, Usage
from rxllm.providers._answer_writer import AnswerHead
from rxllm.testing._script import WRITERS
from rxllm.testing.recorded import RecordedRequest, WireName

Outcome: TypeAlias = str | tuple[int, str]
"""An answer's text, an HTTP status and a message, or "expired"."""

_JSON = "application/json"


@dataclass
class BatchJob:
    """A job that a client created.

    Args:
        id: its id.
        wire: the protocol of its requests.
        requests: body of each request, by custom id.
        fields: what the client said of the job, such as its metadata.
        created: seconds since the epoch.
    """

    id: str
    wire: WireName
    requests: dict[str, RecordedRequest]
    fields: dict[str, object]
    created: float = field(default_factory=time.time)
    status: Literal["running", "ended", "expired", "cancelled", "failed"] = "running"
    polls: int = 0
    """How often a client has polled it."""


class VendorBatchServer:
    """A batch API on the loopback interface, from its construction to `close`, or as a context manager.

    Args:
        answer: returns what becomes of a request: text, an HTTP status with a message, or "expired".
    """

    def __init__(self, answer: Callable[[RecordedRequest], Outcome] | None = None) -> None:
        self.answer = answer or _echo
        self.jobs: list[BatchJob] = []
        """All jobs, oldest first."""
        self.is_held = False
        """Whether jobs stay running when a client polls them."""
        self.lost_answers = 0
        """How many responses to job creation are lost: the connection closes instead."""
        self.hidden_polls = 0
        """How many polls of each job are answered with 404 first."""
        self.jobs_to_refuse = 0
        """How many jobs are refused with token_limit_exceeded after they were created (OpenAI)."""
        self.refusal = ""
        """If set, jobs fail with this message."""
        self.failing_calls = 0
        """How many calls are answered with 503."""
        self._files: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        handler = type("_BoundHandler", (_Handler,), {"vendor": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="vendor-batches", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def base_url(self, provider: str = "openai") -> str:
        """Return the `base_url` with which a provider reaches the server."""
        return self.url if provider in ("anthropic", "gemini") else f"{self.url}/v1"

    def hold(self) -> None:
        """Keep all jobs running until `release`."""
        self.is_held = True

    def release(self) -> None:
        """Allow the jobs to end."""
        self.is_held = False

    def wait_for_jobs(self, count: int, timeout: float = 30.0) -> None:
        """Block until clients have created `count` jobs; raises `TimeoutError` after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.jobs) >= count, timeout):
                raise TimeoutError(f"{len(self.jobs)} jobs were created within {timeout} s, not {count}")

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes] | None:
        """Return the status and body of the answer to a call; None if the connection must close without one."""
        with self._changed:
            if self.failing_calls:
                self.failing_calls -= 1
                return 503, encode({"error": {"message": "overloaded", "type": "overloaded_error"}})
            bare, _, _ = path.partition("?")
            parts = bare.strip("/").split("/")
            if ":batchGenerateContent" in bare or parts[:2] == ["v1beta", "batches"]:
                return self._gemini(method, bare, body)
            if parts[:3] == ["v1", "messages", "batches"]:
                return self._anthropic(method, parts[3:], body)
            return self._openai(method, parts[1:], headers, body)

    def _create(
        self, prefix: str, wire: WireName, requests: dict[str, RecordedRequest], fields: dict[str, object]
    ) -> BatchJob | None:
        job = BatchJob(f"{prefix}{next(self._numbers)}", wire, requests, fields)
        self.jobs.append(job)
        self._changed.notify_all()
        if self.lost_answers:
            self.lost_answers -= 1
            return None
        return job

    def _poll_job(self, job_id: str) -> BatchJob | None:
        job = next((job for job in self.jobs if job.id == job_id), None)
        if job is None:
            return None
        job.polls += 1
        if job.polls <= self.hidden_polls:
            return None
        if job.status == "running" and not self.is_held:
            job.status = "ended"
            if self.jobs_to_refuse and job.wire.startswith("openai"):
                self.jobs_to_refuse -= 1
                job.status = "failed"
            elif self.refusal:
                job.status = "failed"
        return job

    def _openai(
        self, method: str, parts: list[str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes] | None:
        match method, parts:
            case "POST", ["files"]:
                name = f"file-{next(self._numbers)}"
                self._files[name] = _file_in(headers.get("content-type", ""), body)
                return 200, encode({"id": name, "object": "file", "purpose": "batch", "status": "processed"})
            case "GET", ["files", name, "content"]:
                return 200, self._files[name]
            case "POST", ["batches"]:
                fields = _object(body)
                lines = [_object(line) for line in self._files[str(fields["input_file_id"])].splitlines()]
                path = str(fields["endpoint"])
                requests = {str(line["custom_id"]): _recorded(path, object_at(line, "body")) for line in lines}
                wire: WireName = "openai-responses" if path.endswith("responses") else "openai-chat"
                job = self._create("batch_", wire, requests, fields)
                return None if job is None else (200, encode(self._openai_batch(job)))
            case "GET", ["batches"]:
                listed = [self._openai_batch(job) for job in reversed(self.jobs)]
                return 200, encode({"object": "list", "data": listed, "has_more": False})
            case "GET", ["batches", name]:
                job = self._poll_job(name)
                return _not_found() if job is None else (200, encode(self._openai_batch(job)))
            case "POST", ["batches", name, "cancel"]:
                return self._cancel(name)
            case _:
                return _not_found()

    def _openai_batch(self, job: BatchJob) -> dict[str, object]:
        status = {"running": "in_progress", "ended": "completed"}.get(job.status, job.status)
        batch: dict[str, object] = {"id": job.id, "object": "batch", "status": status, "created_at": int(job.created)}
        batch["metadata"] = job.fields.get("metadata")
        if job.status == "failed":
            code, message = ("invalid_json_line", self.refusal) if self.refusal else ("token_limit_exceeded", "later")
            batch["errors"] = {"object": "list", "data": [{"code": code, "message": message, "line": 1}]}
        elif job.status != "running":
            good, bad = list[bytes](), list[bytes]()
            for custom_id, outcome in self._outcomes(job):
                if isinstance(outcome, Response):
                    response = {"status_code": 200, "body": _document(job, custom_id, outcome)}
                    good.append(encode({"custom_id": custom_id, "response": response, "error": None}))
                elif isinstance(outcome, tuple):
                    response = {"status_code": outcome[0], "body": {"error": {"message": outcome[1]}}}
                    bad.append(encode({"custom_id": custom_id, "response": response, "error": None}))
                else:
                    error = {"code": f"batch_{outcome}", "message": "it was not run"}
                    bad.append(encode({"custom_id": custom_id, "response": None, "error": error}))
            for name, lines in (("output_file_id", good), ("error_file_id", bad)):
                batch[name] = f"{job.id}-{name}" if lines else None
                self._files[f"{job.id}-{name}"] = b"\n".join(reversed(lines)) + b"\n"
        return batch

    def _anthropic(self, method: str, parts: list[str], body: bytes) -> tuple[int, bytes] | None:
        match method, parts:
            case "POST", []:
                entries = objects_at(_object(body), "requests")
                requests = {str(e["custom_id"]): _recorded("/v1/messages", object_at(e, "params")) for e in entries}
                job = self._create("msgbatch_", "anthropic", requests, {})
                return None if job is None else (200, encode(_anthropic_batch(job)))
            case "GET", []:
                for job in self.jobs:
                    self._poll_job(job.id)
                listed = [_anthropic_batch(job) for job in reversed(self.jobs)]
                return 200, encode({"data": listed, "has_more": False})
            case "GET", [name]:
                job = self._poll_job(name)
                return _not_found() if job is None else (200, encode(_anthropic_batch(job)))
            case "GET", [name, "results"]:
                job = next(job for job in self.jobs if job.id == name)
                lines = [
                    encode({"custom_id": c, "result": _anthropic_result(job, c, o)}) for c, o in self._outcomes(job)
                ]
                return 200, b"\n".join(reversed(lines)) + b"\n"
            case "POST", [name, "cancel"]:
                return self._cancel(name)
            case _:
                return _not_found()

    def _gemini(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        name = path.partition("/v1beta/")[2]
        if ":batchGenerateContent" in path:
            batch = object_at(_object(body), "batch")
            entries = objects_at(object_at(object_at(batch, "inputConfig"), "requests"), "requests")
            target = path.replace(":batchGenerateContent", ":streamGenerateContent")
            requests = {
                str(object_at(e, "metadata")["key"]): _recorded(target, object_at(e, "request")) for e in entries
            }
            job = self._create("batches/", "gemini", requests, {"displayName": batch.get("displayName")})
            return None if job is None else (200, encode(self._gemini_operation(job)))
        if name == "batches":
            return 200, encode({"operations": [self._gemini_operation(job) for job in self.jobs]})
        if name.endswith(":cancel"):
            return self._cancel(name.removesuffix(":cancel"))
        job = self._poll_job(name)
        return _not_found() if job is None else (200, encode(self._gemini_operation(job)))

    def _gemini_operation(self, job: BatchJob) -> dict[str, object]:
        names = {"ended": "SUCCEEDED", "running": "RUNNING"}
        state = f"BATCH_STATE_{names.get(job.status, job.status.upper())}"
        operation: dict[str, object] = {"name": job.id, "metadata": {**job.fields, "state": state}}
        if job.status == "failed":
            operation |= {"done": True, "error": {"code": 3, "message": self.refusal}}
        elif job.status == "ended":
            responses: list[dict[str, object]] = []
            for custom_id, outcome in self._outcomes(job):
                entry: dict[str, object] = {"metadata": {"key": custom_id}}
                if isinstance(outcome, Response):
                    entry["response"] = _document(job, custom_id, outcome)
                else:
                    message = outcome[1] if isinstance(outcome, tuple) else outcome
                    entry["error"] = {"code": 3, "message": message}
                responses.append(entry)
            operation |= {"done": True, "response": {"inlinedResponses": {"inlinedResponses": responses}}}
        return operation

    def _cancel(self, name: str) -> tuple[int, bytes]:
        job = next((job for job in self.jobs if job.id == name), None)
        if job is None:
            return _not_found()
        if job.status == "running":
            job.status = "cancelled"
        return 200, encode({"id": job.id})

    def _outcomes(self, job: BatchJob) -> list[tuple[str, Response | tuple[int, str] | str]]:
        """Return what became of each request; of a job that was cut short, every second one was answered."""
        outcomes: list[tuple[str, Response | tuple[int, str] | str]] = []
        for number, (custom_id, request) in enumerate(job.requests.items()):
            found = self.answer(request)
            if job.status in ("expired", "cancelled") and number % 2:
                outcomes.append((custom_id, job.status))
            elif not isinstance(found, str) or found == "expired":
                outcomes.append((custom_id, found))
            else:
                words = len(found.split())
                outcomes.append(
                    (custom_id, Response(found, usage=Usage(words, words, 2 * words), finish_reason="stop"))
                )
        return outcomes


class _Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that leave in the middle of a call."""


class _Handler(BaseHTTPRequestHandler):
    """Reads a request and writes the answer."""

    vendor: VendorBatchServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length") or 0)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""

    def _answer(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        found = self.vendor.handle(self.command, self.path, headers, body)
        if found is None:
            self.close_connection = True
            return
        self.send_response(found[0])
        self.send_header("content-type", _JSON)
        self.send_header("content-length", str(len(found[1])))
        self.end_headers()
        self.wfile.write(found[1])


def _echo(request: RecordedRequest) -> Outcome:
    return request.prompt


def _recorded(path: str, body: dict[str, object]) -> RecordedRequest:
    return RecordedRequest("POST", path, {}, encode(body), 1)


def _document(job: BatchJob, custom_id: str, response: Response) -> dict[str, object]:
    writer = WRITERS[job.wire](AnswerHead(f"answer-{custom_id}", job.requests[custom_id].model))
    return writer.document(response)


def _anthropic_batch(job: BatchJob) -> dict[str, object]:
    names = {"running": "in_progress"}
    created = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(job.created))
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": names.get(job.status, "ended"),
        "created_at": created,
        "request_counts": {"processing": len(job.requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    }


def _anthropic_result(job: BatchJob, custom_id: str, outcome: Response | tuple[int, str] | str) -> dict[str, object]:
    if isinstance(outcome, Response):
        return {"type": "succeeded", "message": _document(job, custom_id, outcome)}
    if isinstance(outcome, tuple):
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": outcome[1]}}
        return {"type": "errored", "error": error}
    return {"type": {"cancelled": "canceled"}.get(outcome, outcome)}


def _file_in(content_type: str, body: bytes) -> bytes:
    """Return the file in a multipart form."""
    boundary = content_type.partition("boundary=")[2].encode()
    part = next(part for part in body.split(b"--" + boundary) if b"filename=" in part)
    return part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n")


def _object(data: bytes) -> dict[str, object]:
    value = decode(data)
    return value if is_object(value) else {}


def _not_found() -> tuple[int, bytes]:
    return 404, encode({"error": {"message": "not found", "type": "not_found_error"}})
