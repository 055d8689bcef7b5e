"""Limits that many streams share: streams at a time, requests and tokens per minute.

Each is an object that you construct once and use as an operator in every pipe that shares the limit. Streams wait in
the order of their subscriptions. No stream fails because it waits, and disposing one gives up its place.
"""

from __future__ import annotations

from collections.abc import Mapping

from reactivex import abc

from ..._arguments import check_arguments
from ..._core.scheduling import scheduler_seconds
from ..._protocol import response_headers_listener
from ..._transport.rate_limit_headers import MAX_RETRY_AFTER, Kind, allowances_of, retry_after
from ...errors import LLMError
from ...events import StreamEnd, TokenEvent, Usage, UsageUpdate
from .._operator import check_number
from .rate_window import SlidingWindow, VendorAllowance
from .wait_queue import LimitedStream, SharedLimit

_FIRST_GUESS = 1000
"""Tokens that a stream is expected to need before any answer is known."""
_LEARNING = 0.2
"""Weight of one stream's tokens in the average."""


class _CountedStream(LimitedStream["MaxConcurrent"]):
    """A stream that needs a free place."""

    def wait(self) -> float | None:
        return 0.0 if len(self.limit.running) < self.limit.n else None


class MaxConcurrent(SharedLimit):
    """Run at most `n` of the streams that it is applied to at a time; the others wait, first come, first served.

    Construct it once and apply the same object to every stream that shares the limit: each object counts on its own.
    Thread-safe.

    Args:
        n: Streams that may run at the same time, 1 or more.

    Raises:
        ConfigurationError: `n` is below 1.

    ::

        limit = MaxConcurrent(1)
        a--b|
        (waits) c--d|
        [ limit on both ]
        a--b|
        ----c--d|
    """

    stream_class = _CountedStream

    @check_arguments
    def __init__(self, n: int) -> None:
        check_number("MaxConcurrent(n)", n, 1)
        super().__init__(None)
        self.n = n


class _RatedStream(LimitedStream["RateLimit"]):
    """A stream whose tokens are counted."""

    _number = 0
    _spent: float | None = None
    """Tokens; None if they are unknown."""

    def wait(self) -> float | None:
        return self.limit.wait(scheduler_seconds(self.timers))

    def entered(self) -> None:
        self._number = self.limit.take(scheduler_seconds(self.timers))

    def left(self) -> None:
        self.limit.spent(self._number, scheduler_seconds(self.timers), self._spent)

    def note(self, event: TokenEvent, /) -> None:
        if type(event) is StreamEnd:
            self._count(event.response.usage)
        elif type(event) is UsageUpdate:
            self._count(event.usage)

    def on_error(self, error: Exception) -> None:
        """Make all streams wait if the error says so, and book its tokens; a refused request has cost none."""
        if isinstance(error, LLMError):
            self.limit.close_for(error.retry_after, scheduler_seconds(self.timers))
            if error.partial is not None:
                self._count(error.partial.usage)
        if self._spent is None:
            self._spent = 0.0  # the request was refused, or did not arrive
        super().on_error(error)

    def subscribe(self) -> None:
        """Subscribe with a listener for the headers of this stream's responses."""
        outer = response_headers_listener.get()

        def on_headers(headers: Mapping[str, str]) -> None:
            self.limit.apply_headers(headers, scheduler_seconds(self.timers), self.timers.to_seconds(self.timers.now))
            if outer is not None:
                outer(headers)

        response_headers_listener.set(on_headers)  # in this stream's own copy of the context
        super().subscribe()

    def _count(self, usage: Usage) -> None:
        total = usage.total_tokens
        if total is None and usage.output_tokens is not None:
            total = usage.output_tokens + (usage.input_tokens or 0)
        if total is not None:
            self._spent = float(total)


class RateLimit(SharedLimit):
    """Start no more streams than a vendor allows; the others wait, first come, first served.

    Construct it once for each vendor and key and apply the same object to every stream that asks there: each object
    counts on its own. Thread-safe. Disposing a waiting stream gives its place to the next one.

    In no 60 seconds do more than `requests_per_minute` streams start, nor do they take more than `tokens_per_minute`.
    A stream's tokens are known when it ends; until then it counts as `expected_tokens`.

    The vendor's own limits apply too, if the streams come from models of this package: x-ratelimit and
    anthropic-ratelimit headers say how much is left, and a Retry-After makes all streams of this limit wait, for at
    most one hour. Without arguments these are the only limits. Retries of the model itself do not wait here: to
    limit them too, give the model `max_retries=0` and put `retry_transient()` after this operator.

    Args:
        requests_per_minute: Streams per 60 seconds, above 0; None sets no limit.
        tokens_per_minute: Input and output tokens per 60 seconds, above 0; None sets no limit.
        expected_tokens: Tokens that a running stream counts as; default: the average of the streams before it,
            1,000 for the first.
        scheduler: Runs the waits; default: the scheduler given to subscribe(), else a thread for all delays.

    Raises:
        ConfigurationError: A limit is not above 0.

    Example:
        >>> limit = RateLimit(requests_per_minute=60)
        >>> # model.stream("Hi").pipe(limit), in every place that uses this key
    """

    stream_class = _RatedStream

    @check_arguments
    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        expected_tokens: int | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler)
        self._windows: dict[Kind, SlidingWindow] = {}
        limits: dict[Kind, float | None] = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        for kind, limit in limits.items():
            check_number(f"RateLimit({kind}_per_minute=...)", limit)
            if limit is not None:
                self._windows[kind] = SlidingWindow(limit)
        self._allowed: dict[str, VendorAllowance] = {}
        """What the vendor's headers allow, by the vendor's name of the limit."""
        self._closed_until = 0.0
        self._learns = expected_tokens is None
        self._knows = False
        """A stream has ended whose tokens are known."""
        self._expected = float(_FIRST_GUESS if expected_tokens is None else expected_tokens)

    def apply_headers(self, headers: Mapping[str, str], now: float, epoch_now: float | None = None) -> None:
        """Apply the limits in the headers of an answer.

        Args:
            headers: The headers, with names in lower case.
            now: The time in the scheduler's seconds.
            epoch_now: The time in seconds since the epoch; default: `now`.
        """
        epoch_now = now if epoch_now is None else epoch_now
        with self.lock:
            for what, allowance in allowances_of(headers, epoch_now).items():
                self._allowed[what] = VendorAllowance(allowance, now)
        self.close_for(retry_after(headers, epoch_now), now)

    def close_for(self, seconds: float | None, now: float) -> None:
        """Start no stream for `seconds`, at most one hour.

        Args:
            seconds: The pause; None or 0 for none.
            now: The time in the scheduler's seconds.
        """
        if seconds:
            with self.lock:
                self._closed_until = max(self._closed_until, now + min(seconds, MAX_RETRY_AFTER))

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next stream may start; None until `admit` is called.

        The caller must hold the lock.

        Args:
            now: The time in the scheduler's seconds.
        """
        waits = [0.0, self._closed_until - now]
        waits += [window.wait(now, self._needs(kind)) for kind, window in self._windows.items()]
        waits += [allowed.wait(now, self._needs(allowed.kind)) for allowed in self._allowed.values()]
        return max(waits)

    def take(self, now: float) -> int:
        """Book a stream that starts; return the number of its entry for `spent`. The caller must hold the lock.

        Without `tokens_per_minute` it returns 0, which `spent` ignores.

        Args:
            now: The time in the scheduler's seconds.
        """
        numbers = {kind: window.take(now, self._needs(kind)) for kind, window in self._windows.items()}
        for allowed in self._allowed.values():
            allowed.take(self._needs(allowed.kind))
        return numbers.get("tokens", 0)

    def spent(self, number: int, now: float, tokens: float | None) -> None:
        """Book a stream that has ended. The caller must hold the lock.

        Args:
            number: The number of its entry, from `take`.
            now: The time in the scheduler's seconds.
            tokens: Its tokens; None if they are unknown: the expected number stays booked.
        """
        if tokens is None:
            return
        if "tokens" in self._windows:
            self._windows["tokens"].correct(number, now, tokens)
        if self._learns and tokens:
            self._expected += (tokens - self._expected) * (_LEARNING if self._knows else 1.0)
            self._knows = True

    def _needs(self, kind: Kind) -> float:
        """Return how much of a limit a stream takes that starts now."""
        return 1.0 if kind == "requests" else max(1.0, self._expected)
