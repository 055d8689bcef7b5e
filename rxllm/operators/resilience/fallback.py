"""Recovery: what to do when a stream fails. Try again here, try another one, or tell the user.

Which of these an error deserves is `error_class`. By default all of it happens before the first
content event, so nobody sees it; what may happen after that is asked for by name, and is
announced with a `StreamReset`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeGuard, cast

import reactivex
from reactivex import Observable, abc

from ..._core.attempts import Attempt, OnFailure, stream_attempts
from ..._core.retry import MAX_DELAY as MAX_DELAY
from ..._core.retry import ErrorClass as ErrorClass
from ..._core.retry import backoff as backoff
from ..._core.retry import error_class as error_class
from ..._core.retry import retry_transient as retry_transient
from ...errors import ConfigurationError
from ...events import StreamReset, TokenEvent
from .._operator import Operator

Alternative: TypeAlias = Observable[TokenEvent] | Callable[[], Observable[TokenEvent]]
"""A stream, or a function that makes one when it is needed."""


def fallback_to(
    *others: Alternative,
    restart: bool = False,
    when: Callable[[Exception], bool] | None = None,
) -> Operator[TokenEvent, TokenEvent]:
    """Where the stream fails, go on with the first of `others`; where that fails, with the second, and so on.

    Only before the first content event, unless `restart` says otherwise: then a stream that is
    cut later is followed by `StreamReset` and the next one's answer, from its beginning. The reset
    comes with the first content of that answer: if there is none, the error goes on and what was
    seen still stands. `when` decides for which errors; by default for those of the classes "retry"
    and "next" (see `error_class`). A stream that has more tries in it makes them first.

    ::

        -S-X
           S--a--b--|               the first of the others
        [     fallback_to(other)   ]
        ------Sa--b--|
    """
    if not others:
        raise ConfigurationError("fallback_to() needs at least one other stream")
    goes_on = when or is_worth_another

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def start() -> tuple[Attempt, OnFailure]:
            left = iter(others)

            def decide(error: Exception, answered: bool) -> Attempt | Exception:
                if (answered and not restart) or not goes_on(error):
                    return error
                other = next(left, None)
                if other is None:
                    return error
                return Attempt(stream_of(other), before=(reset_after(error),) if answered else ())

            return Attempt(source), decide

        return stream_attempts(start, None)

    return operator


def stream_of(alternative: Alternative) -> Observable[TokenEvent]:
    """The stream; what making it raises goes to on_error."""
    if _is_stream(alternative):
        return alternative
    make = cast("Callable[[], Observable[TokenEvent]]", alternative)

    def made(_: abc.SchedulerBase) -> Observable[TokenEvent]:
        return make()

    return reactivex.defer(made)


def reset_after(error: Exception) -> StreamReset:
    """The event that voids what was seen before `error`."""
    return StreamReset(f"{type(error).__name__}: {error}")


def is_worth_another(error: Exception) -> bool:
    """Whether another request may have what this one had not."""
    return error_class(error) != "raise"


def _is_stream(alternative: Alternative) -> TypeGuard[Observable[TokenEvent]]:
    return isinstance(alternative, Observable)
