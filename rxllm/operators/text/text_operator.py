"""How work on text runs over a stream: splitters make values of it, filters make other text of it.

Both are fed the text as one run, however it was cut, and both come out the same for any cut.
A run of text is the text up to the next reasoning or tool call, or the end: there, what was
held back is given out, so that nothing overtakes anything. Usage and vendor events do not end
a run: they pass while text is held back. A `StreamReset` drops what was held back and begins anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ...errors import LLMError
from ...events import CONTENT_EVENTS, ReasoningDelta, Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from .._operator import Operator, PlainStep, run_steps
from .filtered_response import TextFilter, filter_response

B = TypeVar("B")
Out = TypeVar("Out", covariant=True)


class Splitter(Protocol[Out]):
    """Makes values of text."""

    def feed(self, text: str, /) -> Sequence[Out]:
        """The values that are certain now that `text` has come."""
        ...

    def close(self) -> Sequence[Out]:
        """The values of what was held back, now that the run has ended; ready for the next run then."""
        ...


def split_text(start: Callable[[], Splitter[B]]) -> Operator[TokenEvent | str, B]:
    """The operator that makes values of the text of token events, or of plain pieces of text."""

    def step() -> SplitterStep[B]:
        return SplitterStep(start)

    return run_steps(step)


def filter_text(start: Callable[[], TextFilter]) -> Operator[TokenEvent, TokenEvent]:
    """The operator that changes the text of token events, the response in `StreamEnd` included.

    The partial response of an upstream's `LLMError` is changed too, on a copy of the error.
    """

    def step() -> FilterStep:
        return FilterStep(start)

    return run_steps(step)


class SplitterStep(PlainStep[B]):
    """Feeds a splitter with the runs of text."""

    def __init__(self, start: Callable[[], Splitter[B]]) -> None:
        self._start = start
        self._splitter = start()

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
        """What the splitter makes of it."""
        if type(item) is TextDelta:
            return self._splitter.feed(item.text)
        if isinstance(item, str):
            return self._splitter.feed(item)
        if type(item) is StreamReset:
            self._splitter = self._start()
        elif _ends_run(item):
            return self._splitter.close()
        return ()

    def close(self) -> Sequence[B]:
        """What the splitter still held back."""
        return self._splitter.close()


class FilterStep(PlainStep[TokenEvent]):
    """Sends the runs of text through a filter, and the responses that hold them."""

    def __init__(self, start: Callable[[], TextFilter]) -> None:
        self._start = start
        self._filter = start()

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        """The event with its text changed, and before it what its coming releases."""
        if type(event) is TextDelta:
            return self._filter.feed(event.text)
        if type(event) is StreamReset:
            self._filter = self._start()
        elif type(event) is StreamEnd:
            return (*self._filter.close(), StreamEnd(filter_response(event.response, self._start())))
        elif _ends_run(event):
            return (*self._filter.close(), event)
        return (event,)

    def close(self) -> Sequence[TokenEvent]:
        """What the filter still held back."""
        return self._filter.close()

    def fail(self, error: Exception, /) -> Exception:
        """The error, or a copy of it where its partial response had to be changed."""
        if not isinstance(error, LLMError) or error.partial is None:
            return error
        changed = filter_response(error.partial, self._start())
        return error if changed == error.partial else _with_partial(error, changed)


def _ends_run(event: TokenEvent) -> bool:
    if type(event) is ReasoningDelta:
        return event.text != ""
    return isinstance(event, CONTENT_EVENTS) or type(event) is StreamEnd


def _with_partial(error: LLMError, partial: Response) -> LLMError:
    changed = copy.copy(error)
    changed.partial = partial
    changed.__cause__, changed.__context__ = error.__cause__, error.__context__
    return changed.with_traceback(error.__traceback__)
