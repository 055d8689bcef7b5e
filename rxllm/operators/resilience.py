"""Recovery: what to do when a stream fails. Try again here, try another one, or tell the user.

Which of these an error deserves is `error_class`. By default all of it happens before the first
content event, so nobody sees it; what may happen after that is asked for by name, and is
announced with a `StreamReset`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeGuard, cast

import reactivex
from reactivex import Observable, abc

from ..errors import (
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    LLMError,
    OutputParsingError,
    RateLimitError,
)
from ..events import StreamReset, TokenEvent
from ._operator import Operator
from ._succession import Decide, Try, in_succession

MAX_DELAY = 60.0
"""Seconds; no try waits longer, and a server that asks for more gets no second one."""

ErrorClass: TypeAlias = Literal["retry", "next", "raise"]

Alternative: TypeAlias = Observable[TokenEvent] | Callable[[], Observable[TokenEvent]]
"""A stream, or a function that makes one when it is needed."""


def error_class(error: Exception) -> ErrorClass:
    """What an error asks for: "retry" the same stream, try the "next" one, or "raise" it to the user.

    - "retry": what may pass by itself: rate limits, overload, 5xx, timeouts, cut connections.
      Where tries here are used up, the next stream may still do.
    - "next": what is wrong with this provider, not with the request: its key, its permission, an
      unknown model, TLS, a protocol that nobody understands, an error of its own.
    - "raise": what would be wrong anywhere: the request itself, the context window, the
      configuration, money (402, or a quota used up: somebody should know), an answer that does
      not parse, the user's own `Timeout(total=...)`; and whatever is no `LLMError`.

    >>> error_class(RateLimitError("slow down")), error_class(BadRequestError("no such role"))
    ('retry', 'raise')
    """
    if not isinstance(error, LLMError) or isinstance(error, ConfigurationError | BadRequestError | OutputParsingError):
        return "raise"
    if isinstance(error, APITimeoutError) and error.phase == "total":
        return "raise"
    if error.transient:
        return "retry"
    unpaid = isinstance(error, RateLimitError) or (isinstance(error, APIStatusError) and error.status_code == 402)
    return "raise" if unpaid else "next"


def retry(
    max_retries: int = 2,
    *,
    base_delay: float = 0.5,
    max_delay: float = MAX_DELAY,
    scheduler: abc.SchedulerBase | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Operator[TokenEvent, TokenEvent]:
    """Subscribe again, at most `max_retries` times, while nothing of the answer has been seen.

    Only errors of the class "retry" before the first content event are tried again; the last one
    goes on. The wait before try n (from 0) is between 0 and ``base_delay * 2**n`` seconds (full
    jitter), at least the server's Retry-After; a server that asks for more than `max_delay` seconds
    gets no second try: its error goes on. Events before the first content event are held back
    until it comes, so that a second try shows no second `StreamStart`. Waits run on `scheduler`,
    else on the one given to subscribe, else on a timer thread; disposing ends them. Models retry
    twice by themselves (`max_retries`).

    ::

        -S-X                        the first try, transient
           ..S--a--b--|             the second, after a wait
        [       retry()         ]
        ---------Sa--b--|
    """
    delay_of = backoff(base_delay, max_delay, jitter)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def start() -> tuple[Try, Decide]:
            tries = 0

            def decide(error: Exception, answered: bool) -> Try | Exception:
                nonlocal tries
                if answered or tries >= max_retries or error_class(error) != "retry":
                    return error
                delay = delay_of(error, tries)
                if delay is None:
                    return error
                tries += 1
                return Try(source, delay)

            return Try(source), decide

        return in_succession(start, scheduler) if max_retries > 0 else source

    return operator


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
        def start() -> tuple[Try, Decide]:
            left = iter(others)

            def decide(error: Exception, answered: bool) -> Try | Exception:
                if (answered and not restart) or not goes_on(error):
                    return error
                other = next(left, None)
                if other is None:
                    return error
                return Try(stream_of(other), before=(reset_after(error),) if answered else ())

            return Try(source), decide

        return in_succession(start, None)

    return operator


def backoff(
    base_delay: float, max_delay: float, jitter: Callable[[float, float], float]
) -> Callable[[Exception, int], float | None]:
    """The wait before a try, by the error and the number of tries before it; None where a server asks for too much."""

    def delay_of(error: Exception, tries: int) -> float | None:
        asked = (error.retry_after or 0.0) if isinstance(error, LLMError) else 0.0
        if asked > max_delay:
            return None
        return max(asked, jitter(0.0, min(max_delay, base_delay * 2.0 ** min(tries, 64))))

    return delay_of


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
