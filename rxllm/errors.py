"""The errors that can end a stream, or prevent it from starting.

    LLMError
    ├── ConfigurationError              an option, a key or a package is missing or wrong
    │   └── MissingPackageError         also an ImportError
    ├── APIConnectionError              no connection, or it failed before an answer began
    │   └── APITimeoutError             a limit of `Timeout` has passed; `phase` names it
    ├── APIStatusError                  the server answered with an HTTP error
    │   ├── BadRequestError             400, 413, 422
    │   │   └── ContextWindowExceededError
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       402, 403
    │   ├── NotFoundError               404
    │   ├── RateLimitError              429
    │   └── ServerError                 5xx
    │       └── OverloadedError         503, 529, or the vendor's word for it
    ├── OutputParsingError              the answer is not the JSON, or not of the type, that you asked for
    └── StreamError                     the answer began and failed
        ├── StreamInterruptedError      the stream ended before its terminal event
        ├── ProtocolError               the bytes violate the protocol
        │   └── ToolArgumentsError      the arguments of a tool call are not a JSON object
        └── ProviderStreamError         the vendor's own error inside the stream

`transient` says whether the same request may succeed later. `partial` is the answer so far.
No error contains a key or a header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._text_without_controls import inert_text

if TYPE_CHECKING:  # messages raise these errors
    from .events import Response

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ContextWindowExceededError",
    "LLMError",
    "MissingPackageError",
    "NotFoundError",
    "OutputParsingError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "ProviderStreamError",
    "RateLimitError",
    "ServerError",
    "StreamError",
    "StreamInterruptedError",
    "TimeoutPhase",
    "ToolArgumentsError",
]

TimeoutPhase: TypeAlias = Literal["connect", "silence", "first_token", "idle", "total"]


class LLMError(Exception):
    """The base class of rxllm's errors. The message says what happened and what to do.

    Args:
        message: The text of the error.
        provider: The provider, as `create_streaming_model` names it.
        model: The model that was asked.
        status_code: The HTTP status, if the server answered with an error status.
        request_id: The vendor's id of the request, for its support.
        retry_after: Seconds that the server asks to wait before the next attempt.
        transient: Whether the same request may succeed later; default: what is usual for the class.
        partial: The answer up to the error.
    """

    transient: bool = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
        partial: Response | None = None,
    ) -> None:
        super().__init__(inert_text(message))  # a server's message may hold what terminals and logs would obey
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        if transient is not None:
            self.transient = transient
        self.partial = partial

    def __reduce__(self) -> tuple[Callable[..., LLMError], tuple[object, ...]]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LLMError], args: tuple[object, ...], state: dict[str, object]) -> LLMError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(LLMError, ValueError):
    """An option, a key or a package is missing or wrong. Raised immediately, before any request."""


class MissingPackageError(ConfigurationError, ImportError):
    """A package that an extra brings is not installed; the message says how to install it."""


class APIConnectionError(LLMError):
    """There is no connection to the server, or it failed before an answer began."""

    transient = True


class APITimeoutError(APIConnectionError):
    """A limit of `Timeout` has passed.

    `transient` is False if the server showed signs of life (keep-alives, usage) while it sent no content: a request
    that was only slow is not repeated automatically.

    Args:
        message: The text of the error.
        phase: The field of `Timeout` whose limit has passed.
        transient: Whether the same request may succeed later; default True.
        partial: The answer up to the error.
    """

    def __init__(
        self, message: str, *, phase: TimeoutPhase, transient: bool | None = None, partial: Response | None = None
    ) -> None:
        super().__init__(message, transient=transient, partial=partial)
        self.phase: TimeoutPhase = phase


class APIStatusError(LLMError):
    """The server answered with an HTTP error status."""


class BadRequestError(APIStatusError):
    """The request is wrong (400, 413, 422)."""


class ContextWindowExceededError(BadRequestError):
    """Prompt and answer together exceed the model's context window."""


class AuthenticationError(APIStatusError):
    """The key is missing or invalid (401)."""


class PermissionDeniedError(APIStatusError):
    """The key has no permission, or the account has no credit (402, 403)."""


class NotFoundError(APIStatusError):
    """The model or the address does not exist (404)."""


class RateLimitError(APIStatusError):
    """Too many requests or tokens in a short time (429). Not transient if a quota is used up."""

    transient = True


class ServerError(APIStatusError):
    """The server failed (5xx)."""

    transient = True


class OverloadedError(ServerError):
    """The server is overloaded (503, 529)."""


class OutputParsingError(LLMError):
    """The answer is not the JSON, or not of the type, that you asked for.

    Args:
        message: The text of the error.
        text: The text of the answer.
        partial: The answer.
    """

    def __init__(self, message: str, *, text: str, partial: Response | None = None) -> None:
        super().__init__(message, partial=partial)
        self.text = text


class StreamError(LLMError):
    """The answer began and failed."""


class StreamInterruptedError(StreamError):
    """The stream ended before its terminal event."""

    transient = True


class ProtocolError(StreamError):
    """The bytes violate the protocol."""


class ToolArgumentsError(ProtocolError):
    """The model called a tool with arguments that are not a JSON object. The call is not in `partial`."""


class ProviderStreamError(StreamError):
    """The vendor reported an error inside the stream."""
