"""Errors as clients see them: the facts that may leave the server, and the vendors' JSON forms of them.

Sources: https://platform.openai.com/docs/guides/error-codes, https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

from ... import errors
from ..._core.error_format import ErrorRecord
from ..._json import encode
from ...errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    LLMError,
    NotFoundError,
    StreamError,
)

INTERNAL = "the server failed; its log has the details"
_UNREACHABLE = "the server cannot reach the provider of this model"

_OPENAI_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class ErrorBody(NamedTuple):
    """An HTTP error: status, headers and JSON body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Problem(NamedTuple):
    """What a client learns of an error, before it has a vendor's form."""

    status: int
    message: str
    code: str | None = None
    retry_after: float | None = None


def error_facts(error: Exception) -> dict[str, object]:
    """Return what a client may know of `error`: its kind, its message without keys and hosts, when to try again.

    Example:
        >>> error_facts(ValueError("the password is hunter2"))
        {'kind': 'InternalError', 'message': 'the server failed; its log has the details'}
    """
    if not isinstance(error, LLMError):
        return {"kind": "InternalError", "message": INTERNAL}
    record = msgspec.structs.replace(ErrorRecord.of(error), request_id=None, text=None, partial=None)
    phase = error.phase if isinstance(error, APITimeoutError) else "connect"
    if isinstance(error, APIConnectionError) and phase == "connect":
        record = msgspec.structs.replace(record, message=_UNREACHABLE)  # its own message names internal hosts
    return cast("dict[str, object]", msgspec.to_builtins(record))


def error_from_facts(facts: Mapping[str, object]) -> LLMError:
    """Return the error that `error_facts` described; a `StreamError` if rxllm has no class of that name."""
    record = ErrorRecord.read(facts)
    return record.to_error() if hasattr(errors, record.kind) else StreamError(record.message)


def problem_of(error: Exception) -> Problem:
    """Return the HTTP status and the message for `error`: the provider's own status, else 400, 502, or 500.

    A provider that refuses this server's own key is the server's problem: 502.
    """
    facts = error_facts(error)
    match error:
        case APIStatusError(status_code=int(status)):
            status = 502 if status in (401, 403) and error.provider is not None else status
        case ConfigurationError():
            status = 400
        case LLMError():
            status = 502
        case _:
            status = 500
    code = "model_not_found" if isinstance(error, NotFoundError) and error.model is not None else str(facts["kind"])
    return Problem(status, str(facts["message"]), code, getattr(error, "retry_after", None))


def openai_error_type(status: int) -> str:
    """Return OpenAI's word for errors with this HTTP status."""
    return _OPENAI_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")


def anthropic_error_type(status: int) -> str:
    """Return Anthropic's word for errors with this HTTP status."""
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def openai_error_body(error: Exception | Problem) -> ErrorBody:
    """Return the HTTP error for clients of the OpenAI APIs and of this server's own."""
    problem = error if isinstance(error, Problem) else problem_of(error)
    kind = openai_error_type(problem.status)
    said = {"message": problem.message, "type": kind, "param": None, "code": problem.code}
    return _body(problem, {"error": said})


def anthropic_error_body(error: Exception | Problem) -> ErrorBody:
    """Return the HTTP error for clients of the Anthropic API."""
    problem = error if isinstance(error, Problem) else problem_of(error)
    said = {"type": anthropic_error_type(problem.status), "message": problem.message}
    return _body(problem, {"type": "error", "error": said})


def _body(problem: Problem, document: object) -> ErrorBody:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if problem.retry_after is not None:
        headers["retry-after"] = str(max(1, round(problem.retry_after)))
    return ErrorBody(problem.status, headers, encode(document))
