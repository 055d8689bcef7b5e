"""What a stream takes: time, tokens, money; and a log of it.

Tokens and money are counted by the whole answer, over as many streams as are merged into one:
an answer counts when it ends, and one that breaks off counts with what its error says of it
(`LLMError.partial`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Generic, TypeAlias, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from .._core.error_format import redacted
from ..errors import LLMError
from ..events import CONTENT_EVENTS, Response, StreamEnd, TokenEvent, Usage, UsageUpdate
from ._cost import listed_price
from ._operator import Operator, PlainStep, run_steps
from ._prompt_pool import PromptAnswer, PromptFailure
from ._stopwatch import stopwatch
from .many import Labelled, LabelledError

T = TypeVar("T")

Price: TypeAlias = Callable[[Response], Decimal | None]
"""What an answer costs, in a currency of your own; None where that is unknown."""


Counted: TypeAlias = (
    TokenEvent
    | Response
    | PromptAnswer[object, object]
    | PromptFailure[object]
    | Labelled[object, TokenEvent]
    | LabelledError[object]
)
"""What answers can be found in."""


class StreamTiming(msgspec.Struct, frozen=True):
    """A stream's times so far, in seconds from the subscription."""

    elapsed: float
    first_token: float | None
    """When the first content event came."""
    last_token: float | None
    """When the last one so far did."""
    deltas: int
    """Content events so far."""
    gap: float | None
    """Between the last two of them."""
    longest_gap: float | None
    tokens: int | None
    """Of the answer, as the vendor counts; None until it has told."""

    @property
    def tokens_per_second(self) -> float | None:
        """From the first token to the last: by the vendor's count, before that by deltas. None with fewer than two."""
        if self.first_token is None or self.last_token is None or self.last_token <= self.first_token:
            return None
        count = self.deltas if self.tokens is None else self.tokens
        return (count - 1) / (self.last_token - self.first_token)


class Cost(msgspec.Struct, frozen=True):
    """What answers have cost so far."""

    total: Decimal
    last: Decimal | None
    """The last answer's price; None where it is not known."""
    answers: int
    unpriced: int
    """How many of the answers have no known price, and are missing in the total."""
    estimated: bool
    """Tokens of some answer were estimated, since its vendor had not told them."""


def timing() -> Operator[TokenEvent, StreamTiming]:
    """Measure: a value for each content event, and one at the end. Time is the subscriber's scheduler's, else real.

    ::

        ---a--b-c-|
        [timing()]
        ---1--2-3-(3)|
    """

    def operator(source: Observable[TokenEvent]) -> Observable[StreamTiming]:
        def subscribe(
            observer: abc.ObserverBase[StreamTiming], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            now = stopwatch(scheduler)
            return run_steps(lambda: _Timing(now))(source).subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def usage() -> Operator[Counted, Usage]:
    """Add up the tokens of all answers that pass; emit the total after each.

    Takes token events, responses, and what `map_prompts`, `merge_labelled` and `ensemble` emit.
    A count that an answer does not tell adds nothing; one that no answer told is None.

    ::

        --E--E-|         answers of 10 and 5 tokens
        [usage()]
        --10-15|
    """

    def start() -> Callable[[Response], Usage]:
        total = Usage()

        def add(response: Response) -> Usage:
            nonlocal total
            total = _sum(total, response.usage)
            return total

        return add

    return _counting(start)


def cost(prices: Price | None = None) -> Operator[Counted, Cost]:
    """Add up what all answers that pass cost; emit the total after each. Takes what `usage` takes.

    `prices` gives the price of an answer; by default they are those of the package genai-prices
    (the extra `cost`), in US dollars. An answer without a known price is counted as such. What
    `prices` raises goes to on_error, and so does the `ConfigurationError` for the missing package.

    ::

        --E---E--|
        [ cost() ]
        --$1--$3-|
    """
    price_of = prices or listed_price

    def start() -> Callable[[Response], Cost]:
        so_far = Cost(Decimal(0), None, 0, 0, False)

        def add(response: Response) -> Cost:
            nonlocal so_far
            price = price_of(response)
            so_far = Cost(
                total=so_far.total + (price or 0),
                last=price,
                answers=so_far.answers + 1,
                unpriced=so_far.unpriced + (price is None),
                estimated=so_far.estimated or response.usage.estimated,
            )
            return so_far

        return add

    return _counting(start)


def tap(log: logging.Logger | Callable[[T], object], *, level: int = logging.INFO) -> Operator[T, T]:
    """Watch a stream. A function is shown each item, before it goes on; what it raises goes to on_error.

    A logger gets a line at the first content and one at the end (finish reason, tokens, times), on
    failure, or on disposal; no line per token, and no word of the content.

    ::

        --a-b-|
        [tap(print)]
        --a-b-|
    """
    if not isinstance(log, logging.Logger):
        return run_steps(lambda: _Shown(log))
    logger = log

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            told = _Logged[T](logger, level, stopwatch(scheduler))
            subscription = run_steps(lambda: told)(source).subscribe(observer, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(told.disposed))

        return Observable(subscribe)

    return operator


class _Timing(PlainStep[StreamTiming]):
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._first: float | None = None
        self._last: float | None = None
        self._gap: float | None = None
        self._longest: float | None = None
        self._deltas = 0
        self._tokens: int | None = None

    def feed(self, item: TokenEvent, /) -> Sequence[StreamTiming]:
        if isinstance(item, CONTENT_EVENTS):
            return (self._content(self._now()),)
        if isinstance(item, UsageUpdate):
            self._tokens = item.usage.output_tokens
        elif isinstance(item, StreamEnd):
            self._tokens = item.response.usage.output_tokens
            return (self._so_far(self._now()),)
        return ()

    def _content(self, now: float) -> StreamTiming:
        if self._last is None:
            self._first = now
        else:
            self._gap = now - self._last
            self._longest = self._gap if self._longest is None else max(self._longest, self._gap)
        self._last = now
        self._deltas += 1
        return self._so_far(now)

    def _so_far(self, now: float) -> StreamTiming:
        return StreamTiming(now, self._first, self._last, self._deltas, self._gap, self._longest, self._tokens)


class _Shown(PlainStep[T], Generic[T]):
    def __init__(self, show: Callable[[T], object]) -> None:
        self._show = show

    def feed(self, item: T, /) -> Sequence[T]:
        self._show(item)
        return (item,)


class _Logged(PlainStep[T], Generic[T]):
    """Says what a stream does, in three kinds of lines."""

    def __init__(self, log: logging.Logger, level: int, now: Callable[[], float]) -> None:
        self._log = log
        self._level = level
        self._now = now
        self._spoke = False
        self._ended = False
        self._response: Response | None = None

    def feed(self, item: T, /) -> Sequence[T]:
        if not self._spoke and isinstance(item, CONTENT_EVENTS):
            self._spoke = True
            self._say("first content after %.3f s")
        elif isinstance(item, StreamEnd):
            self._response = item.response
        return (item,)

    def close(self) -> Sequence[T]:
        self._ended = True
        response = self._response
        if response is None:
            self._say("completed after %.3f s")
        else:
            used = response.usage
            self._say(
                "answered after %.3f s: %s, %s tokens in, %s out, by %s of %s",
                response.finish_reason,
                *("unknown" if count is None else count for count in (used.input_tokens, used.output_tokens)),
                response.model,
                response.provider,
            )
        return ()

    def fail(self, error: Exception, /) -> Exception:
        self._ended = True
        self._say("failed after %.3f s: %s: %s", type(error).__name__, redacted(str(error)))
        return error

    def disposed(self) -> None:
        if not self._ended:
            self._ended = True
            self._say("disposed after %.3f s")

    def _say(self, text: str, *values: object) -> None:
        self._log.log(self._level, text, self._now(), *values)


def _counting(start: Callable[[], Callable[[Response], T]]) -> Operator[Counted, T]:
    """The operator that emits what a fresh counter, made by `start`, says of each answer that passes."""

    def operator(source: Observable[Counted]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            count = start()

            def tell(response: Response | None) -> bool:
                """Emit the count with `response`; False where the user's function failed."""
                if response is None:
                    return True
                try:
                    counted = count(response)
                except Exception as error:
                    observer.on_error(error)
                    return False
                observer.on_next(counted)
                return True

            def on_next(item: Counted) -> None:
                tell(_answer_in(item))

            def on_error(error: Exception) -> None:
                if tell(_partial(error)):
                    observer.on_error(error)

            return source.subscribe(on_next, on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def _answer_in(item: Counted) -> Response | None:
    """The answer that `item` ends, or what there was of it."""
    match item:
        case Response():
            return item
        case StreamEnd(response) | PromptAnswer(response=response):
            return response
        case PromptFailure(error=error) | LabelledError(error=error):
            return _partial(error)
        case Labelled(event=event):
            return event.response if isinstance(event, StreamEnd) else None
        case _:
            return None


def _partial(error: Exception) -> Response | None:
    return error.partial if isinstance(error, LLMError) else None


def _sum(total: Usage, usage: Usage) -> Usage:
    return Usage(
        input_tokens=_plus(total.input_tokens, usage.input_tokens),
        output_tokens=_plus(total.output_tokens, usage.output_tokens),
        total_tokens=_plus(total.total_tokens, usage.total_tokens),
        cached_input_tokens=_plus(total.cached_input_tokens, usage.cached_input_tokens),
        reasoning_tokens=_plus(total.reasoning_tokens, usage.reasoning_tokens),
        estimated=total.estimated or usage.estimated,
    )


def _plus(total: int | None, count: int | None) -> int | None:
    if total is None or count is None:
        return count if total is None else total
    return total + count
