"""What to do when a stream fails: retry it, use another one, or show the error. `error_class` decides.

All of this happens before the first content event, so the subscriber does not see it. After it see `recover`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import reactivex
from reactivex import Observable

from ..._core.attempts import Attempt, OnFailure, stream_attempts
from ..._core.retry import MAX_DELAY as MAX_DELAY
from ..._core.retry import ErrorClass as ErrorClass
from ..._core.retry import backoff as backoff
from ..._core.retry import error_class as error_class
from ..._core.retry import retry_transient as retry_transient
from ...errors import ConfigurationError
from ...events import TokenEvent
from .._operator import Operator

Alternative: TypeAlias = Observable[TokenEvent] | Callable[[], Observable[TokenEvent]]
"""A stream, or a function that makes one when it is needed."""


def is_worth_another(error: Exception) -> bool:
    """Return whether another request may succeed after `error`."""
    return error_class(error) != "raise"


def fallback_to(
    *others: Alternative, when: Callable[[Exception], bool] = is_worth_another
) -> Operator[TokenEvent, TokenEvent]:
    """Continue with the first of `others` if the stream fails, with the second if that fails, and so on.

    Only a stream that fails before its first content event is replaced; for later errors see `recover`. A stream that
    still has retries makes them first.

    Args:
        others: Streams, or functions that make a stream when it is needed; at least one.
        when: Returns whether an error is followed by another stream; default: errors of the classes "retry" and
            "next" of `error_class`.

    Raises:
        ConfigurationError: There is no other stream.

    ::

        -S-X
           S--a--b--|               the first of the others
        [     fallback_to(other)   ]
        ------Sa--b--|
    """
    if not others:
        raise ConfigurationError("fallback_to() needs at least one other stream")

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream that continues with the others; each subscription begins with the first of them."""

        def start() -> tuple[Attempt, OnFailure]:
            """Return the first attempt, and the function that chooses the next stream after an error."""
            left = iter(others)

            def decide(error: Exception, answered: bool) -> Attempt | Exception:
                other = next(left, None) if not answered and when(error) else None
                return error if other is None else Attempt(stream_of(other))

            return Attempt(source), decide

        return stream_attempts(start, None)

    return operator


def stream_of(alternative: Alternative) -> Observable[TokenEvent]:
    """Return the stream; an exception of the function that makes it goes to on_error."""
    return reactivex.defer(lambda _: alternative()) if callable(alternative) else alternative
