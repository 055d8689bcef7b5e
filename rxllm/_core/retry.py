"""Which errors deserve another attempt, and `retry_transient`, which makes it.

Separate from the other operators, because every model retries: a program that uses no operator does
not load them. `rxllm.operators` exports it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Literal, TypeAlias

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
from ..events import TokenEvent
from .attempts import Attempt, OnFailure, stream_attempts
from .awaitable import AwaitableObservable
from .scheduling import TimerScheduler
from .stream_errors import emit_error

MAX_DELAY = 60.0
"""Seconds. No delay is longer; if a server asks for more, there is no further attempt."""

total_deadline: ContextVar[float] = ContextVar("total_deadline", default=math.inf)
"""When `Timeout.total` of the current request passes, in seconds of `time.monotonic`: for all its attempts together."""

ErrorClass: TypeAlias = Literal["retry", "next", "raise"]


def error_class(error: Exception) -> ErrorClass:
    """Return what an error calls for: "retry" the same stream, try the "next" one, or "raise" it to the user.

    - "retry": errors that may pass by themselves: rate limits, overload, 5xx, timeouts, interrupted connections.
      When the attempts are used up, the next stream may still succeed.
    - "next": errors of this provider, not of the request: its key, its permission, an unknown model, TLS, a protocol
      violation, an answer that is too slow although the server shows signs of life.
    - "raise": errors that would occur anywhere: the request itself, the context window, the configuration, money
      (402, or a quota that is used up), an answer that does not parse, the user's own `Timeout(total=...)`, and
      everything that is not an `LLMError`.

    Args:
        error: The error that ended a stream.

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
    """Subscribe again after a transient error, before the first content event.

    Only errors of the class "retry" (`error_class`) cause another attempt; the last error is emitted. The delay before
    attempt n (from 0) is random between 0 and ``base_delay * 2**n`` seconds (full jitter), and at least the server's
    Retry-After. Events before the first content event are held back until it comes, so a later attempt shows no
    second `StreamStart`. Disposing ends a delay. Not needed with rxllm models: they already retry twice.

    Args:
        max_retries: Further attempts after the first; 0: none.
        base_delay: Seconds; the upper bound of the first delay.
        max_delay: Seconds; the upper bound of each delay. If a server asks for more, its error is emitted.
        scheduler: Runs the delays; default: the scheduler given to subscribe(), else a thread for all delays.
        jitter: Returns a number between its two arguments.

    ::

        -S-X                        the first attempt, transient
           ..S--a--b--|             the second, after a delay
        [   retry_transient()   ]
        ---------Sa--b--|
    """
    delay_of = backoff(base_delay, max_delay, jitter)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return `source` with retries; `source` itself if `max_retries` is 0."""

        def start() -> tuple[Attempt, OnFailure]:
            """Return the first attempt of a subscription, and what decides about the next one."""
            attempts = 0
            deadline = total_deadline.get()

            def decide(error: Exception, answered: bool) -> Attempt | Exception:
                nonlocal attempts
                if answered or attempts >= max_retries or error_class(error) != "retry":
                    return error
                delay = delay_of(error, attempts)
                if delay is None or time.monotonic() + delay >= deadline:
                    return error
                attempts += 1
                return Attempt(source, delay)

            return Attempt(source), decide

        return stream_attempts(start, scheduler) if max_retries > 0 else source

    return operator


def backoff(
    base_delay: float, max_delay: float, jitter: Callable[[float, float], float]
) -> Callable[[Exception, int], float | None]:
    """Return the function that computes a delay from an error and the number of earlier retries.

    It returns None if the server asks for more than `max_delay` seconds.
    """

    def delay_of(error: Exception, attempts: int) -> float | None:
        asked = (error.retry_after or 0.0) if isinstance(error, LLMError) else 0.0
        if asked > max_delay:
            return None
        return max(asked, jitter(0.0, min(max_delay, base_delay * 2.0 ** min(attempts, 64))))

    return delay_of


def with_total_limit(stream: Observable[TokenEvent], total: float | None) -> Observable[TokenEvent]:
    """Return `stream` with one limit of `total` seconds for all its attempts; None sets no limit."""
    if total is None:
        return stream

    def subscribe(observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        context = copy_context()
        context.run(total_deadline.set, min(total_deadline.get(), time.monotonic() + total))
        return context.run(lambda: stream.subscribe(observer, scheduler=scheduler))

    return AwaitableObservable(subscribe)


def waiting_within(stream: Observable[TokenEvent], total: float) -> Observable[TokenEvent]:
    """Return `stream`, which waits for its start, with one limit of `total` seconds for the wait and all attempts."""

    def expire(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        message = f"no answer began within {total:g} s (timeout 'total'): it waited for a free slot, or for the model"

        late = APITimeoutError(message, phase="total")
        return TimerScheduler.singleton().schedule_relative(total, lambda _, __: emit_error(observer, late))

    return with_total_limit(reactivex.amb(stream, Observable(expire)), total)
