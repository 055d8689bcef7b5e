"""The text of an answer, as text.

`text` and `reasoning` keep one kind of piece, `accumulate` shows the answer as it grows,
`response` is the whole answer, once. None of them holds anything back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from reactivex import Observable, abc

from ...events import ReasoningDelta, Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from .._operator import Operator, PlainStep, run_steps
from .._response_builder import ResponseBuilder
from .growing_text import GrowingText


def text() -> Operator[TokenEvent, str]:
    """Keep the pieces of the visible text; drop everything else."""

    def operator(source: Observable[TokenEvent]) -> Observable[str]:
        def subscribe(
            observer: abc.ObserverBase[str], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            emit = observer.on_next

            def on_next(event: TokenEvent) -> None:
                if type(event) is TextDelta:
                    emit(event.text)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def reasoning() -> Operator[TokenEvent, str]:
    """Keep the pieces of what the model thinks; drop everything else."""

    def operator(source: Observable[TokenEvent]) -> Observable[str]:
        def subscribe(
            observer: abc.ObserverBase[str], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            emit = observer.on_next

            def on_next(event: TokenEvent) -> None:
                if type(event) is ReasoningDelta:
                    emit(event.text)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def response() -> Operator[TokenEvent, Response]:
    """Emit the whole answer, once, when it is complete."""

    def operator(source: Observable[TokenEvent]) -> Observable[Response]:
        def subscribe(
            observer: abc.ObserverBase[Response], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(event: TokenEvent) -> None:
                if type(event) is StreamEnd:
                    observer.on_next(event.response)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


@overload
def accumulate() -> Operator[TokenEvent | str, str]: ...
@overload
def accumulate(of: type[Response], /) -> Operator[TokenEvent, Response]: ...
def accumulate(of: type[Response] | None = None, /) -> Operator[TokenEvent | str, str] | Operator[TokenEvent, Response]:
    """Show the whole text so far after each piece; with `accumulate(Response)`, the whole answer so far.

    After a `StreamReset` the text starts anew. The total cost is linear in the answer, as long as
    no more than the latest snapshot is kept; keeping them all is quadratic in memory, as it must be.

    >>> import reactivex
    >>> reactivex.of("Hel", "lo").pipe(accumulate()).subscribe(print).dispose()
    Hel
    Hello
    """
    return run_steps(_AccumulateText) if of is None else run_steps(_AccumulateResponse)


class _AccumulateText(PlainStep[str]):
    def __init__(self) -> None:
        self._text = GrowingText()
        self._stale = False

    def feed(self, item: TokenEvent | str, /) -> Sequence[str]:
        if type(item) is TextDelta:
            self._stale = False
            return (self._text.add(item.text),)
        if isinstance(item, str):
            return (self._text.add(item),)
        if type(item) is StreamReset:
            self._stale = bool(self._text.latest)
            self._text = GrowingText()
        return ()

    def close(self) -> Sequence[str]:
        return ("",) if self._stale else ()  # the void text must not stay the last one shown


class _AccumulateResponse(PlainStep[Response]):
    def __init__(self) -> None:
        self._answer = ResponseBuilder()

    def feed(self, item: TokenEvent, /) -> Sequence[Response]:
        changed = self._answer.add(item) and type(item) is not StreamReset
        return (self._answer.response(),) if changed else ()
