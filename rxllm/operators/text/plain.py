"""The text of an answer, as it comes or as a whole. None of these operators holds text back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from reactivex import Observable, abc

from ...errors import ConfigurationError
from ...events import ReasoningDelta, Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from .._operator import Operator, Step, not_an_event, pick, run_steps, subscribing
from .._response_builder import ResponseBuilder
from .growing_text import GrowingText


def text() -> Operator[TokenEvent, str]:
    """Emit the pieces of the visible text; drop everything else."""
    return _texts("text", TextDelta)


def reasoning() -> Operator[TokenEvent, str]:
    """Emit the pieces of the model's reasoning; drop everything else."""
    return _texts("reasoning", ReasoningDelta)


def response() -> Operator[TokenEvent, Response]:
    """Emit the whole answer, once, when it is complete."""
    return pick("response", StreamEnd, "response")


def _texts(name: str, delta_class: type[TextDelta] | type[ReasoningDelta]) -> Operator[TokenEvent, str]:
    """Return the operator `name` that emits the text of each `delta_class`. Faster than `pick`: it sees every token."""

    def subscribe(
        observer: abc.ObserverBase[str], source: Observable[TokenEvent], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Pass on the texts; a string is an error."""
        emit = observer.on_next

        def on_next(event: Any) -> None:
            if type(event) is delta_class:
                emit(event.text)
            elif isinstance(event, str):
                observer.on_error(not_an_event(name))

        return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

    return subscribing(subscribe)


@overload
def accumulate() -> Operator[TokenEvent | str, str]: ...
@overload
def accumulate(of: type[Response], /) -> Operator[TokenEvent, Response]: ...
def accumulate(of: type[Response] | None = None, /) -> Operator[TokenEvent | str, str] | Operator[TokenEvent, Response]:
    """Emit the whole text so far after each piece; with `accumulate(Response)`, the whole answer so far.

    After a `StreamReset` the text starts again. The total cost is linear in the answer, if only the latest
    snapshot is kept; keeping all snapshots takes quadratic memory.

    Args:
        of: `Response`, or nothing for the text.

    Raises:
        ConfigurationError: `of` is something else.

    >>> import reactivex
    >>> reactivex.of("Hel", "lo").pipe(accumulate()).subscribe(print).dispose()
    Hel
    Hello
    """
    if of not in (None, Response):
        raise ConfigurationError(f"accumulate() takes Response or nothing; got {of!r}")
    return run_steps(_AccumulateText) if of is None else run_steps(_AccumulateResponse)


class _AccumulateText(Step[TokenEvent | str, str]):
    def __init__(self) -> None:
        self._text = GrowingText()
        self._stale = False
        """The last text that was emitted is void, and none has come since."""

    def feed(self, item: TokenEvent | str, /) -> Sequence[str]:
        """Return the text so far after each piece. After a reset, which emits nothing, it starts again."""
        if type(item) is TextDelta:
            self._stale = False
            return (self._text.add(item.text),)
        if isinstance(item, str):
            return (self._text.add(item),)
        if type(item) is StreamReset:
            self._stale = self._stale or bool(self._text.latest)
            self._text = GrowingText()
        return ()

    def close(self) -> Sequence[str]:
        return ("",) if self._stale else ()  # so that a label does not keep the void text


class _AccumulateResponse(Step[TokenEvent, Response]):
    def __init__(self) -> None:
        self._builder = ResponseBuilder()

    def feed(self, item: TokenEvent, /) -> Sequence[Response]:
        if isinstance(item, str):
            raise not_an_event("accumulate")
        changed = self._builder.add(item) and type(item) is not StreamReset
        return (self._builder.response(),) if changed else ()
