"""Errors as clients see them: the facts that may leave the server, and the vendors' JSON forms of them.

Sources: https://platform.openai.com/docs/guides/error-codes, https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from ... import errors
from ..._core.error_format import ErrorRecord
from ...errors import APIConnectionError, APIStatusError, APITimeoutError, ConfigurationError, LLMError, StreamError
from ..http import HttpResponse, json_response

INTERNAL = "the server failed; its log has the details"
_UNREACHABLE = "the server cannot reach the provider of this model"


def error_facts(error: Exception) -> ErrorRecord:
    """Return what a client may know of `error`: its kind, its message without keys and hosts, when to try again.

    Example:
        >>> error_facts(ValueError("the password is hunter2")).message
        'the server failed; its log has the details'
    """
    if not isinstance(error, LLMError):
        return ErrorRecord("InternalError", INTERNAL)
    record = msgspec.structs.replace(ErrorRecord.of(error), request_id=None, text=None, partial=None)
    phase = error.phase if isinstance(error, APITimeoutError) else "connect"
    if isinstance(error, APIConnectionError) and phase == "connect":
        record = msgspec.structs.replace(record, message=_UNREACHABLE)  # its own message names internal hosts
    return record


def error_from_facts(facts: Mapping[str, object]) -> LLMError:
    """Return the error that `error_facts` described; a `StreamError` if rxllm has no class of that name."""
    record = ErrorRecord.read(facts)
    return record.to_error() if hasattr(errors, record.kind) else StreamError(record.message)


def status_of(error: Exception) -> int:
    """Return the HTTP status for `error`: the provider's own status, else 400, 502, or 500.

    A provider that refuses this server's own key is the server's problem: 502.
    """
    match error:
        case APIStatusError(status_code=int(status)):
            return 502 if status in (401, 403) and error.provider is not None else status
        case ConfigurationError():
            return 400
        case LLMError():
            return 502
        case _:
            return 500


class ErrorDialect(NamedTuple):
    """How the clients of one vendor's APIs read errors.

    Args:
        types: The vendor's words for errors by their HTTP status, if they are not the usual ones.
        server_type: Its word for other errors of the server.
        document: Returns the JSON document of an error with these facts and of this type.
    """

    types: Mapping[int, str]
    server_type: str
    document: Callable[[ErrorRecord, str], object]

    def type_of(self, error: Exception) -> str:
        """Return the vendor's word for this kind of error."""
        status = status_of(error)
        return self.types.get(status, "invalid_request_error" if 400 <= status < 500 else self.server_type)

    def response(self, error: Exception) -> HttpResponse:
        """Return `error` as an HTTP response."""
        facts = error_facts(error)
        response = json_response(self.document(facts, self.type_of(error)), status_of(error))
        if facts.retry_after is None:
            return response
        return response.with_headers({"retry-after": str(max(1, round(facts.retry_after)))})


_OPENAI_CODES: Mapping[str, str] = {
    "AuthenticationError": "invalid_api_key",
    "ContextWindowExceededError": "context_length_exceeded",
    "RateLimitError": "rate_limit_exceeded",
}
"""What clients of OpenAI look for, by the class of the error; other errors have the name of their class."""


def _openai_document(facts: ErrorRecord, kind: str) -> object:
    is_model = facts.kind == "NotFoundError" and facts.model is not None
    code = "model_not_found" if is_model else _OPENAI_CODES.get(facts.kind, facts.kind)
    return {"error": {"message": facts.message, "type": kind, "param": None, "code": code}}


def _anthropic_document(facts: ErrorRecord, kind: str) -> object:
    return {"type": "error", "error": {"type": kind, "message": facts.message}}


_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES: Mapping[int, str] = {
    **_TYPES,
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "overloaded_error",
    529: "overloaded_error",
}

OPENAI_ERRORS = ErrorDialect(_TYPES, "server_error", _openai_document)
"""For clients of the OpenAI APIs and of this server's own."""

ANTHROPIC_ERRORS = ErrorDialect(_ANTHROPIC_TYPES, "api_error", _anthropic_document)
