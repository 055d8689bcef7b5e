"""Everything that can end a stream, or refuse to start one.

    LLMError
    ├── ConfigurationError              this side: an option, a key or a package is missing or wrong
    ├── APIConnectionError              no connection, or none that could be used
    │   └── APITimeoutError             a limit of `Timeout` passed; `phase` says which
    ├── APIStatusError                  the server answered with an HTTP error
    │   ├── BadRequestError             400, 413, 422
    │   │   └── ContextWindowExceededError
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       402, 403
    │   ├── NotFoundError               404
    │   ├── RateLimitError              429
    │   └── ServerError                 5xx
    │       └── OverloadedError         503, 529, or the vendor's word for it
    ├── OutputParsingError              the answer is not the JSON, or not of the type, that was asked for
    └── StreamError                     the answer began and did not end well
        ├── StreamInterruptedError      it ended before its terminal event
        ├── ProtocolError               bytes that are not the protocol
        │   └── ToolArgumentsError      a tool call whose arguments are no JSON object
        └── ProviderStreamError         the vendor's own error inside the stream

`transient` says whether the same request may succeed later. `partial` is the answer so far.
No error holds a key or a header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from .events import Response

TimeoutPhase: TypeAlias = Literal["connect", "first_token", "idle", "total"]


class LLMError(Exception):
    """The root of all errors here. The message says what happened and what to do."""

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
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds the server asks to wait before the next try."""
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
    """Something on this side is missing or wrong; raised at once, before any request."""


class APIConnectionError(LLMError):
    """No connection to the server could be made or used."""

    transient = True


class APITimeoutError(APIConnectionError):
    """A limit of `Timeout` passed; `phase` is "connect", "first_token", "idle" or "total"."""

    def __init__(self, message: str, *, phase: TimeoutPhase, partial: Response | None = None) -> None:
        super().__init__(message, partial=partial)
        self.phase: TimeoutPhase = phase


class APIStatusError(LLMError):
    """The server answered with an HTTP error status."""


class BadRequestError(APIStatusError):
    """The request itself is at fault (400, 413, 422)."""


class ContextWindowExceededError(BadRequestError):
    """Prompt and answer together are more than the model can hold."""


class AuthenticationError(APIStatusError):
    """The key is missing or not valid (401)."""


class PermissionDeniedError(APIStatusError):
    """The key may not do this, or nothing is left to pay with (402, 403)."""


class NotFoundError(APIStatusError):
    """No such model or address (404)."""


class RateLimitError(APIStatusError):
    """Too much asked in too short a time (429); not transient where a quota is used up."""

    transient = True


class ServerError(APIStatusError):
    """The server failed (5xx)."""

    transient = True


class OverloadedError(ServerError):
    """The server has too much to do (503, 529)."""


class OutputParsingError(LLMError):
    """The answer is not the JSON, or not of the type, that was asked for; `text` is what it says."""

    def __init__(self, message: str, *, text: str, partial: Response | None = None) -> None:
        super().__init__(message, partial=partial)
        self.text = text


class StreamError(LLMError):
    """The answer began, and did not end well."""


class StreamInterruptedError(StreamError):
    """The stream ended before its terminal event."""

    transient = True


class ProtocolError(StreamError):
    """The bytes are not what the protocol allows."""


class ToolArgumentsError(ProtocolError):
    """The model called a tool with arguments that are no JSON object; the call is not in `partial`."""


class ProviderStreamError(StreamError):
    """The vendor reported an error inside the stream."""
