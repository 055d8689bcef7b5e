"""What a run needs of a vendor's batch API, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias, cast

import msgspec

from ..._json import encode, object_in
from ..._protocol import Frame, Wire, WireRequest
from ..._transport.plain_http import PlainHttp
from ...errors import LLMError, ProtocolError
from ...model import StreamingModel
from ...options import CallOptions
from ...prompt import Prompt

JobStatus: TypeAlias = Literal["running", "ended", "refused", "full"]
"""running; ended (all, some or none of the prompts answered); refused as a whole; refused because the queue is full."""

VendorResult: TypeAlias = tuple[str, Sequence[Frame] | LLMError]
"""The custom id of a prompt, and the frames of its answer or its error."""


class NotedJob(msgspec.Struct, eq=False):
    """A job in the checkpoint; `job` is None until it is known to exist. Times are in seconds since the epoch."""

    token: str
    job: str | None
    prepared: bytes
    count: int
    noted: float
    sought: float | None = None
    """Since when this run looks for a job that may not exist; None: it does not look. 0 is so long ago that the job is
    created again if the next look does not find it."""


class VendorJob(msgspec.Struct, frozen=True):
    """A job at the vendor: its status, the vendor's description of it, and why it was refused."""

    status: JobStatus
    document: Mapping[str, object] = {}
    reason: str = ""


class VendorApi(ABC):
    """A vendor's batch API, for the account that a `request` is for. All methods block; all raise `LLMError`s."""

    max_prompts: int
    """Most prompts in a job."""
    max_bytes: int
    """Most bytes in a job."""

    def __init__(self, request: WireRequest) -> None:
        of_one_request = ("accept", "content-type", "content-length")
        self._headers = {name: value for name, value in request.headers.items() if name.lower() not in of_one_request}
        self._http = PlainHttp()

    @abstractmethod
    def entry(self, custom_id: str, body: Mapping[str, object]) -> bytes:
        """Return the JSON of one prompt in a job; `body` is that of a request without streaming."""

    @abstractmethod
    def upload(self, entries: Sequence[bytes]) -> bytes:
        """Prepare a job, at no cost; return what `create` needs."""

    @abstractmethod
    def create(self, prepared: bytes, token: str) -> str:
        """Create the job, which costs money; return its id."""

    @abstractmethod
    def find(self, noted: NotedJob, known: Collection[str], is_in_job: Callable[[str], bool]) -> str | None:
        """Return the id of the job that was created as `noted`, "" if there is none, None if it cannot be decided yet.

        Args:
            noted: The job; it was not created before it was noted.
            known: Ids of other jobs of this checkpoint.
            is_in_job: Returns whether a custom id is that of a prompt in the job.
        """

    @abstractmethod
    def look(self, job: str) -> VendorJob:
        """Return the job as it is now."""

    @abstractmethod
    def results(self, document: Mapping[str, object]) -> Iterator[VendorResult]:
        """Yield the results of a job that has ended, in any order. Lines that cannot be read are left out."""

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Cancel the job; prompts that are answered by then keep their results."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(self, method: str, url: str, body: bytes | None = None, *, timeout: float = 60.0) -> dict[str, object]:
        """Make a call; return the JSON object that it is answered with."""
        headers = {**self._headers, "Content-Type": "application/json"}
        _, answer = self._http.call(method, url, headers, body, timeout=timeout)
        return json_object(answer or b"{}")

    def _result_lines(self, url: str) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the objects in a file of results, with their custom ids; lines that cannot be read are left out."""
        for line in self._http.lines(url, self._headers):
            with suppress(ProtocolError):
                found = json_object(line)
                yield required_text(found, "custom_id"), found


def frame_of(payload: object) -> Frame:
    """Return a JSON payload as a frame for a decoder."""
    return Frame(encode(payload))


def json_object(data: bytes) -> dict[str, object]:
    """Return the JSON object in an answer; raises `ProtocolError` if there is none."""
    value = object_in(data)
    if value is None:
        raise ProtocolError("the batch API answered with something that is not a JSON object")
    return value


def required_text(source: Mapping[str, object], key: str) -> str:
    """Return the text at `key`; raises `ProtocolError` if there is none."""
    found = source.get(key)
    if not isinstance(found, str):
        raise ProtocolError(f"the batch API answered without {key!r}")
    return found


def wire_request(model: StreamingModel, prompt: Prompt, options: CallOptions) -> tuple[Wire, WireRequest]:
    """Return the wire of a model of `create_streaming_model` and the request for one streamed answer."""
    _, _, wire, request = cast(Any, model).encoded(prompt, options)
    return wire, request
