"""Which errors deserve another try, and `retry_transient`, which makes it.

Apart from the other operators because every model retries: a program that uses no operator does
not pay for loading them. `rxllm.operators` has it under its name.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeAlias

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
from ..events import TokenEvent
from .attempts import Attempt, OnFailure, stream_attempts

MAX_DELAY = 60.0
"""Seconds; no try waits longer, and a server that asks for more gets no second one."""

ErrorClass: TypeAlias = Literal["retry", "next", "raise"]


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


def retry_transient(
    max_retries: int = 2,
    *,
    base_delay: float = 0.5,
    max_delay: float = MAX_DELAY,
    scheduler: abc.SchedulerBase | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Callable[[Observable[TokenEvent]], Observable[TokenEvent]]:
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
        [   retry_transient()   ]
        ---------Sa--b--|
    """
    delay_of = backoff(base_delay, max_delay, jitter)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def start() -> tuple[Attempt, OnFailure]:
            tries = 0

            def decide(error: Exception, answered: bool) -> Attempt | Exception:
                nonlocal tries
                if answered or tries >= max_retries or error_class(error) != "retry":
                    return error
                delay = delay_of(error, tries)
                if delay is None:
                    return error
                tries += 1
                return Attempt(source, delay)

            return Attempt(source), decide

        return stream_attempts(start, scheduler) if max_retries > 0 else source

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
