"""Convert a vendor's error, in any of its shapes, to an `LLMError`.

Both HTTP error bodies and in-band errors go through here, so that one overload is the same
error wherever it is reported. Pure: no I/O, no clock but the one passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .. import errors
from .._json import decode, encode, is_array, is_object, object_at, objects_at, text_at
from .rate_limit_headers import DURATION, duration_of, number_of, retry_after, until_reset

_MAX_MESSAGE = 2000

_WORDS_OF: Mapping[type[errors.APIStatusError], str] = {
    errors.RateLimitError: (
        "rate_limit_error rate_limit_exceeded too_many_requests resource_exhausted "
        "insufficient_quota exceeded_current_quota_error usage_limit_reached ratelimitreached "
        "tokens requests 429 throttlingexception"
    ),
    errors.OverloadedError: (
        "overloaded_error overloaded unavailable service_unavailable unavailable_error "
        "serviceunavailableexception engine_overloaded_error server_is_overloaded slow_down "
        "capacity_exceeded 503 529"
    ),
    errors.AuthenticationError: "authentication_error invalid_api_key api_key_invalid unauthenticated 401",
    errors.PermissionDeniedError: "permission_error permission_denied billing_error 402 403",
    errors.NotFoundError: "not_found_error model_not_found not_found 404",
    errors.ContextWindowExceededError: (
        "context_length_exceeded exceed_context_size_error model_max_prompt_tokens_exceeded "
        "tokens_limit_reached string_above_max_length"
    ),
    errors.BadRequestError: "request_too_large",
}
_BY_WORD = {word: kind for kind, words in _WORDS_OF.items() for word in words.split()}
_BY_STATUS: Mapping[int, type[errors.APIStatusError]] = {
    **dict.fromkeys((400, 413, 422), errors.BadRequestError),
    401: errors.AuthenticationError,
    **dict.fromkeys((402, 403), errors.PermissionDeniedError),
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    **dict.fromkeys(
        (498, 503, 529), errors.OverloadedError
    ),  # 498 is Groq's: https://console.groq.com/docs/flex-processing
}
_TRANSIENT_WORDS = frozenset(
    {
        *("server_error", "api_error", "internal_server_error", "internal_error", "internal", "internalservererror"),
        *("timeout_error", "timeout", "deadline_exceeded", "408", "500", "502", "504"),
    }
)
_CUT = re.compile(r"unexpected EOF|connection (was )?(reset|closed|refused)|ECONNRESET|i/o timeout", re.IGNORECASE)
"""The server lost its own upstream: the same request may succeed later."""
_BY_PHRASE: Mapping[re.Pattern[str], type[errors.APIStatusError]] = {
    re.compile(pattern, re.IGNORECASE): kind
    for pattern, kind in (
        # llama.cpp: the pool that its slots share is full, which ends all answers, however short their prompts are.
        (r"^context size has been exceeded", errors.OverloadedError),
        # OpenAI calls it an invalid request: https://github.com/Wei-Shaw/sub2api/issues/5111
        (
            r"\b(model|server|service|engine)s?( is| are)?( currently| temporarily)? (overloaded|(at|over) capacity)",
            errors.OverloadedError,
        ),
        (r"(image|audio) input is not supported", errors.BadRequestError),
        (
            # As far as known, of: OpenAI, vLLM, SGLang, llama.cpp, LM Studio, Mistral, DeepSeek, OpenRouter | Anthropic
            r"context (length|window|size|limit)|maximum context|prompt is too long|input is too long"
            # Gemini, Vertex | xAI | vLLM | Copilot | Moonshot | Groq, Cerebras
            r"|exceeds? the maximum number of tokens|input token count is \d+ but|maximum prompt length is"
            r"|maximum model length|prompt token count|exceeded model token limit|reduce the length of the messages"
            # Hugging Face, Together | Z.ai | Alibaba | Bedrock, Cohere | LiteLLM
            r"|`inputs` (tokens \+|must have less)|prompt exceeds max length|range of input length should be"
            r"|too many (input )?tokens|ContextWindowExceededError"
            # Poolside, GLM | Letta's list | crewAI's list | OpenAI: "Your input exceeds ..." | Cohere, Ollama
            r"|exceeds? the maximum allowed input length|input tokens exceed the configured limit|exceeds? token limit"
            r"|input (length|tokens?) .{0,40}exceeds?|token limit exceeded|(prompt|input|request) is too large for"
            r"|greater than the context|prompt too long",
            errors.ContextWindowExceededError,
        ),
        (r"(incorrect|invalid) api key|api key not valid", errors.AuthenticationError),
        (r"credit balance is too low", errors.PermissionDeniedError),
    )
}
"""Phrases in the message that identify the kind of an error if its words and codes do not."""
_SPENT_WORDS = frozenset(
    {
        *("insufficient_quota", "exceeded_current_quota_error", "billing_hard_limit_reached", "insufficient_balance"),
        *("1113", "1008", "credits_exhausted", "payment_required"),
    }
)
"""Words and codes that say that a quota is spent: OpenAI, Moonshot, Z.ai (1113), MiniMax (1008)."""
_SPENT = re.compile(
    r"insufficient (account )?(balance|quota|funds|credits?)|exceeded your current quota|please (recharge|top up)"
    r"|out of credits|no resource package|(monthly|spending|billing) (hard )?limit (has been )?reached",
    re.IGNORECASE,
)
"""The same in sentences; together with a wait they mean a rate limit: Gemini words its limits per minute like that."""
_WAIT = re.compile(
    r"(?:try again|retry|retrying|reset(?:s|ting)?|wait)(?: your request)?(?: again)?(?: in| after|:)? (?:about )?"
    + DURATION,
    re.IGNORECASE,
)
"""A wait in a sentence: "try again in 6.379s", "wait 38 seconds before retrying", "retry after 1m30s"."""
_MAX_WAIT = 7 * 86_400.0
"""Seconds; a wait in a body that is longer is taken to be this."""
_SLIP = re.compile(r"^(error parsing tool call|failed to parse input at pos)", re.IGNORECASE)
"""What the model did wrong, not the request, say Ollama (https://github.com/ollama/ollama/issues/12884) and llama.cpp
(https://github.com/antoinezambelli/forge/pull/127)."""
_HOPELESS = re.compile(r"^request too large", re.IGNORECASE)
"""One request alone is more than a rate limit allows: no wait will help it."""
_UNSEEN = re.compile(rb"<(style|script)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
"""Parts of an HTML page without readable text: tags, styles and scripts."""
_MAX_PAGE = 8192

_MESSAGES = ("message", "detail", "msg", "status_msg", "error_msg", "errorMessage", "error_message", "Message")
_ERRORS = ("error", "errors", "Error", "err", "error_message", "errorMessage")
"""The keys under which vendors put the object, text or list that is an error."""
_CODES = ("code", "type", "status", "status_code", "statusCode", "StatusCode", "reason", "error_type")


class Fault(NamedTuple):
    """What a vendor reported about an error: its message, the words and codes that identify its kind, and more."""

    message: str
    words: tuple[str, ...]
    retry_after: float | None = None
    """Seconds."""
    request_id: str | None = None
    text: str = ""
    """What the model had written, if the vendor refused that."""


def fault_of(payload: object) -> Fault | None:
    """Return the error in a JSON payload, or None if it contains none.

    Knows {"error": {...}}, {"error": "text"}, {"errors": [...]}, {"detail": ...}, {"message": ...},
    {"type": "error", ...}, and a list of any of these.
    """
    try:
        return _fault_in(payload)
    except RecursionError:
        return Fault("the provider reported an error that is nested too deep to be read", ())


def _fault_in(payload: object) -> Fault | None:
    """Return the error in a payload of any known shape: text, a list, an object in an object."""
    if is_array(payload):
        return next((fault for fault in map(_fault_in, payload) if fault), None)
    if not is_object(payload):
        return Fault(payload, ()) if isinstance(payload, str) and payload else None
    error: object = next((payload[key] for key in _ERRORS if payload.get(key)), None)
    status = object_at(payload, "base_resp")
    if error is None and status.get("status_code"):  # MiniMax; 0 is success
        error = status
    sign_in = text_at(payload, "signin_url")
    if isinstance(error, str):
        message = f"{error}: sign in at {sign_in}" if sign_in else error
        return Fault(message, _words(payload), _wait_in([payload], error))
    if is_array(error):
        return _fault_in(error)
    body = error if is_object(error) else payload
    said: object = next((body[name] for name in _MESSAGES if body.get(name)), None)
    if said is None and body is payload:
        return None
    message = said if isinstance(said, str) else encode(said or body).decode()
    # Google puts its reasons here, and OpenRouter the original error behind its message, "Provider returned error".
    details = [*objects_at(body, "details"), object_at(body, "metadata")]
    cause = text_at(details[-1], "raw")
    words = (*_words(body), *(word for detail in details for word in _words(detail)))
    return Fault(
        f"{message}: {cause}" if cause else message,
        words,
        _wait_in([*details, body, payload], message),
        text_at(payload, "request_id"),
        text_at(body, "failed_generation") or "",
    )


def status_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> errors.LLMError:
    """Return the error for an HTTP response whose status is not 200.

    `headers` have lower-case names; `body` is as much as was read; `now` is the time in seconds
    since the epoch, for a Retry-After that is a date.
    """
    fault = _fault_of_body(body)
    message = f"HTTP {status}: {fault.message[:_MAX_MESSAGE]}" if fault.message else f"HTTP {status}"
    slip = _model_slip(fault)
    if slip is not None and 400 <= status < 500:
        slip.status_code = status
        return slip
    kind = _kind(fault, status)
    request_id = headers.get("x-request-id") or headers.get("request-id") or headers.get("x-goog-request-id")
    return kind(
        f"{message}{_ADVICE.get(kind, '')}",
        status_code=status,
        request_id=request_id or fault.request_id,
        retry_after=_wait(fault, status, headers, now),
        transient=_transient(kind, fault, status),
    )


def stream_error(fault: Fault) -> errors.LLMError:
    """Return the error for what a vendor reported inside a stream that began with HTTP 200."""
    slip = _model_slip(fault)
    if slip is not None:
        return slip
    named = _by_words(fault)
    message = fault.message[:_MAX_MESSAGE] or "the provider reported an error without a message"
    kind: type[errors.LLMError]
    if named is None or named is errors.BadRequestError:
        kind = errors.ProviderStreamError
        transient = bool(_TRANSIENT_WORDS.intersection(fault.words) or _CUT.search(fault.message))
    else:
        kind, transient = named, _transient(named, fault, 0)
    return kind(message, transient=transient, retry_after=fault.retry_after, request_id=fault.request_id)


_ADVICE: Mapping[type[errors.APIStatusError], str] = {
    errors.AuthenticationError: " (check the API key)",
    errors.NotFoundError: " (check the model name and base_url)",
}


def _model_slip(fault: Fault) -> errors.LLMError | None:
    """Return the error for what the model did wrong, so that it can be asked again; None for other faults."""
    message = fault.message[:_MAX_MESSAGE]
    if "json_validate_failed" in fault.words:  # https://console.groq.com/docs/tool-use#error-handling
        return errors.OutputParsingError(message, text=fault.text)
    if "tool_use_failed" in fault.words or _SLIP.search(message):
        return errors.ToolArgumentsError(message)
    return None


def _fault_of_body(body: bytes) -> Fault:
    """Return what an error's body says: as JSON, as the first event or line of a stream, or as a page or text."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        body = body.decode("utf-16", "replace").encode()
    body = body.removeprefix(b"\xef\xbb\xbf")
    page = body[:_MAX_PAGE]
    for text in (body, *(line.removeprefix(b"data:") for line in page.splitlines() if b"{" in line)):
        try:
            fault = fault_of(decode(text))
        except (ValueError, RecursionError):
            fault = None
        if fault is not None:
            return fault
    return Fault(" ".join(_UNSEEN.sub(b" ", page).decode("utf-8", "replace").split())[:300], ())


def _words(body: Mapping[str, object]) -> tuple[str, ...]:
    values = map(body.get, _CODES)
    return tuple(str(value).lower() for value in values if isinstance(value, str | int))


def _wait_in(details: Sequence[Mapping[str, object]], message: str) -> float | None:
    """Return the wait in seconds that a body names, in a field or in its sentence.

    Google's google.rpc.RetryInfo has a duration such as "34.4s", OpenRouter and ChatGPT seconds.
    """
    for detail in details:
        for name in ("retryDelay", "retry_after_seconds", "resets_in_seconds", "retry_after"):
            seconds = number_of(str(detail.get(name)).removesuffix("s"))
            if seconds is not None:
                return min(seconds, _MAX_WAIT)
    waits = (duration_of(match.groups()) for match in _WAIT.finditer(message))
    return next((min(seconds, _MAX_WAIT) for seconds in waits if seconds is not None), None)


def _wait(fault: Fault, status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait: an explicit Retry-After if there is one, else the time until the limit resets."""
    for explicit in (retry_after(headers, now), fault.retry_after):
        if explicit is not None:
            return explicit
    return until_reset(headers, now) if status == 429 else None


def _by_words(fault: Fault) -> type[errors.APIStatusError] | None:
    by_word = next((_BY_WORD[word] for word in fault.words if word in _BY_WORD), None)
    if by_word is errors.RateLimitError:
        return by_word  # a limit on tokens a minute is worded much like one on tokens a request
    return next((kind for phrase, kind in _BY_PHRASE.items() if phrase.search(fault.message)), by_word)


def _kind(fault: Fault, status: int) -> type[errors.APIStatusError]:
    """Return the class of the error: by its status, refined by what the vendor says."""
    base = _BY_STATUS.get(status) or (errors.ServerError if status >= 500 else errors.APIStatusError)
    named = _by_words(fault)
    if named is None or base in (errors.AuthenticationError, errors.RateLimitError):
        return base
    # A vendor's error code refines a status but does not overrule it: a 4xx remains the caller's error.
    may_refine = base is errors.APIStatusError or status in (400, 403, 413, 422, 500)
    return named if may_refine or issubclass(named, base) else base


def _transient(kind: type[errors.APIStatusError], fault: Fault, status: int) -> bool:
    if _SPENT_WORDS.intersection(fault.words) or _HOPELESS.search(fault.message):
        return False
    if fault.retry_after is None and _SPENT.search(fault.message):
        return False
    return kind.transient or status in (408, 409, 425)
