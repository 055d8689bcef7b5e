"""Measurements of streams: time, tokens, money, and a look at each item.

Tokens and money are counted per answer, over as many streams as are merged into one. An answer counts when it ends;
one that fails counts with the usage in its error (`LLMError.partial`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias, TypeVar, cast

import msgspec
from reactivex import Observable, abc
from reactivex import operators as rx_ops

from .._core.token_usage import add_usage
from ..errors import LLMError
from ..events import Response, StreamEnd, TextDelta, TokenEvent, Usage, UsageUpdate, is_content
from ._cost import listed_price
from ._operator import Operator, Step, not_an_event, run_steps, stopwatch, subscribing
from ._prompt_pool import PromptAnswer, PromptFailure
from .many import Labelled, LabelledError

T = TypeVar("T")

Price: TypeAlias = Callable[[Response], Decimal | None]
"""Returns the price of an answer in your currency; None if it is unknown."""


Counted: TypeAlias = (
    TokenEvent
    | Response
    | PromptAnswer[object, object]
    | PromptFailure[object]
    | Labelled[object, TokenEvent]
    | LabelledError[object]
)
"""The items in which `usage` and `cost` find answers."""


class StreamTiming(msgspec.Struct, frozen=True):
    """The times of a stream so far, in seconds from the subscription.

    Args:
        elapsed: Now.
        first_token: The first content event; None before it.
        last_token: The last content event so far.
        deltas: Number of content events so far. Empty deltas are none.
        gap: Seconds between the last two content events.
        longest_gap: Seconds of the longest gap so far.
        tokens: Output tokens as the vendor counts them; None until it has reported them.
    """

    elapsed: float
    first_token: float | None
    last_token: float | None
    deltas: int
    gap: float | None
    longest_gap: float | None
    tokens: int | None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens per second from the first to the last content event; None with fewer than two.

        Until the vendor has reported its count, each content event counts as one token.
        """
        if self.first_token is None or self.last_token is None or self.last_token <= self.first_token:
            return None
        count = self.deltas if self.tokens is None else self.tokens
        return (count - 1) / (self.last_token - self.first_token)


class Cost(msgspec.Struct, frozen=True):
    """What answers have cost so far.

    Args:
        total: The sum of all known prices.
        last: The price of the last answer; None if it is unknown.
        answers: Number of answers.
        unpriced: Number of answers without a known price. They are not in `total`.
        estimated: True if the tokens of an answer were estimated, because its vendor had not reported them.
    """

    total: Decimal
    last: Decimal | None
    answers: int
    unpriced: int
    estimated: bool


def timing() -> Operator[TokenEvent, StreamTiming]:
    """Measure times: emit a value for each content event, and one at the end.

    The clock is that of the scheduler given to subscribe(), else the system's monotonic clock.

    ::

        ---a--b-c-|
        [timing()]
        ---1--2-3-(3)|
    """

    def subscribe(
        observer: abc.ObserverBase[StreamTiming], source: Observable[TokenEvent], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        now = stopwatch(scheduler)
        return run_steps(lambda: _Timing(now))(source).subscribe(observer, scheduler=scheduler)

    return subscribing(subscribe)


def usage() -> Operator[Counted, Usage]:
    """Add up the tokens of all answers that pass; emit the total after each.

    Takes token events, responses, and the results of `map_prompts`, `merge_labelled` and `ensemble`. A count that no
    answer reported is None. If only some answers reported a count, the sum is too low and `Usage.estimated` is True.

    ::

        --E--E-|         answers of 10 and 5 tokens
        [usage()]
        --10-15|
    """
    return _counting("usage", Usage(), lambda total, response: add_usage(total, response.usage))


def cost(prices: Price | None = None) -> Operator[Counted, Cost]:
    """Add up the prices of all answers that pass; emit the sum after each. Takes the items that `usage` takes.

    Args:
        prices: Returns the price of an answer; None if it is unknown. Its exceptions go to on_error. Default: the
            prices of the package genai-prices (extra `cost`), in US dollars. Without the package, the first answer
            ends the stream with a `ConfigurationError`.

    ::

        --E---E--|
        [ cost() ]
        --$1--$3-|
    """
    price_of = prices or listed_price

    def add(so_far: Cost, response: Response) -> Cost:
        """Return the costs so far with the price of one more answer."""
        price = price_of(response)
        return Cost(
            total=so_far.total + (price or 0),
            last=price,
            answers=so_far.answers + 1,
            unpriced=so_far.unpriced + (price is None),
            estimated=so_far.estimated or response.usage.estimated,
        )

    return _counting("cost", Cost(Decimal(0), None, 0, 0, False), add)


def tap(action: Callable[[T], object]) -> Operator[T, T]:
    """Watch a stream without changing it.

    Args:
        action: A function that is called with each item before it is passed on; its exceptions go to on_error.

    ::

        --a-b-|
        [tap(print)]
        --a-b-|
    """
    return rx_ops.do_action(cast("Callable[[T], None]", action))


class _Timing(Step[TokenEvent, StreamTiming]):
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._first: float | None = None
        self._last: float | None = None
        self._gap: float | None = None
        self._longest: float | None = None
        self._deltas = 0
        self._tokens: int | None = None

    def feed(self, item: TokenEvent, /) -> Sequence[StreamTiming]:
        """Return the times at content and at the end of the answer; note the vendor's count of tokens."""
        if item.text if type(item) is TextDelta else is_content(item):
            return (self._add_content(self._now()),)
        if isinstance(item, UsageUpdate):
            self._tokens = item.usage.output_tokens
        elif isinstance(item, StreamEnd):
            self._tokens = item.response.usage.output_tokens
            return (self._so_far(self._now()),)
        elif isinstance(item, str):
            raise not_an_event("timing")
        return ()

    def _add_content(self, now: float) -> StreamTiming:
        """Note a content event; return the times so far."""
        if self._last is None:
            self._first = now
        else:
            self._gap = gap = now - self._last
            if self._longest is None or gap > self._longest:
                self._longest = gap
        self._last = now
        self._deltas += 1
        return self._so_far(now)

    def _so_far(self, now: float) -> StreamTiming:
        return StreamTiming(now, self._first, self._last, self._deltas, self._gap, self._longest, self._tokens)


def _counting(name: str, nothing: T, add: Callable[[T, Response], T]) -> Operator[Counted, T]:
    """Return the operator `name` that adds each answer to the count so far, at first `nothing`, and emits the sum."""

    def subscribe(
        observer: abc.ObserverBase[Response], source: Observable[Counted], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Emit each answer, and what had arrived of one that fails."""

        def on_next(item: Counted | str) -> None:
            if type(item) is TextDelta:  # most items are
                return
            if isinstance(item, str):
                observer.on_error(not_an_event(name))
            elif (response := _answer_in(item)) is not None:
                observer.on_next(response)

        def on_error(error: Exception) -> None:
            if (response := _partial(error)) is not None:
                observer.on_next(response)
            observer.on_error(error)

        return source.subscribe(on_next, on_error, observer.on_completed, scheduler=scheduler)

    answers: Operator[Counted, Response] = subscribing(subscribe)
    return lambda source: answers(source).pipe(rx_ops.scan(add, nothing))


def _answer_in(item: Counted) -> Response | None:
    """Return the answer that ends with `item`, or the part of it that had arrived."""
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
