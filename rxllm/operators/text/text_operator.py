"""Operators on the text of a stream: splitters turn it into values, filters into other text.

Both receive the text as one run, and give the same result however the run was cut into deltas. A run of text ends at
reasoning, at a tool call and at the end of the answer: there, what was held back is emitted, so that nothing
overtakes anything. Usage and vendor events do not end a run; they pass while text is held back. A `StreamReset` drops
what was held back and starts a new run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from ...errors import LLMError
from ...events import CONTENT_EVENTS, ReasoningDelta, Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from ...messages import Part, ReasoningPart, TextPart, ToolCall
from .._operator import Operator, Step, TextReader, not_an_event, run_steps

B = TypeVar("B")


TextFilter: TypeAlias = TextReader[TextDelta | ReasoningDelta]
"""Turns a run of text into other text, or into reasoning. After `close` it is ready for the next run.

Adjacent pieces of a kind are one delta.
"""


def text_delta(text: str) -> Sequence[TextDelta]:
    """Return the delta of `text`; none if it is empty."""
    return (TextDelta(text),) if text else ()


def split_text(start: Callable[[], TextReader[B]]) -> Operator[TokenEvent | str, B]:
    """Return the operator that turns the text of token events, or strings, into values.

    `start` makes a splitter. After its `close` it gets the next run of text.
    """
    return run_steps(lambda: SplitterStep(start))


def filter_text(name: str, start: Callable[[], TextFilter]) -> Operator[TokenEvent, TokenEvent]:
    """Return the operator `name` that changes the text of token events and of the response in `StreamEnd`.

    It changes the partial response of an upstream's `LLMError` too, in a copy of the error.
    """
    return run_steps(lambda: FilterStep(name, start))


class SplitterStep(Step[TokenEvent | str, B]):
    """Feeds a splitter with the runs of text."""

    def __init__(self, start: Callable[[], TextReader[B]]) -> None:
        self._start = start
        self._splitter = start()

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
        """Return the values that follow from `item`."""
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
        """Return the values of what was held back."""
        return self._splitter.close()


class FilterStep(Step[TokenEvent, TokenEvent]):
    """Sends the runs of text, and the responses that hold them, through a filter."""

    def __init__(self, name: str, start: Callable[[], TextFilter]) -> None:
        self._name = name
        self._start = start
        self._filter = start()

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        """Return the event with its text changed, after the text that it releases."""
        if type(event) is TextDelta:
            return self._filter.feed(event.text)
        if type(event) is StreamReset:
            self._filter = self._start()
        elif type(event) is StreamEnd:
            return (*self._filter.close(), StreamEnd(filter_response(event.response, self._start())))
        elif _ends_run(event):
            return (*self._filter.close(), event)
        elif isinstance(event, str):
            raise not_an_event(self._name)
        return (event,)

    def close(self) -> Sequence[TokenEvent]:
        """Return what was held back."""
        return self._filter.close()

    def fail(self, error: Exception, /) -> Exception:
        """Return the error, or a copy of it if its partial response had to be changed."""
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


def filter_response(response: Response, text_filter: TextFilter) -> Response:
    """Return `response` with its text, and its parts, sent through `text_filter`, which must be new."""
    parts: list[Part] = []
    for part in response.parts or (TextPart(response.text),):
        if isinstance(part, TextPart):
            parts.extend(_parts_from(part, text_filter.feed(part.text)))
            continue
        if isinstance(part, ReasoningPart | ToolCall):
            _end_run(parts, text_filter.close())
        parts.append(part)
    _end_run(parts, text_filter.close())
    return replace(
        response,
        text="".join(part.text for part in parts if isinstance(part, TextPart)),
        reasoning="".join(part.text for part in parts if isinstance(part, ReasoningPart)) or response.reasoning,
        parts=tuple(parts) if response.parts else (),
    )


def _parts_from(source: TextPart, deltas: Sequence[TextDelta | ReasoningDelta]) -> list[TextPart | ReasoningPart]:
    """Return the parts for `deltas`; the first text among them keeps the vendor's data of `source`."""
    parts = _parts(deltas)
    if source.vendor is None:
        return parts
    place = next((n for n, part in enumerate(parts) if isinstance(part, TextPart)), len(parts))
    parts[place : place + 1] = [TextPart("".join(part.text for part in parts[place : place + 1]), source.vendor)]
    return parts


def _end_run(parts: list[Part], deltas: Sequence[TextDelta | ReasoningDelta]) -> None:
    """Append the text that was held back; it extends the last part if that is of its kind."""
    held = _parts(deltas)
    if held and parts:
        match parts[-1], held[0]:
            case (TextPart() as last, TextPart(text)) | (ReasoningPart() as last, ReasoningPart(text)):
                parts[-1] = replace(last, text=last.text + text)
                del held[0]
            case _:
                pass
    parts.extend(held)


def _parts(deltas: Sequence[TextDelta | ReasoningDelta]) -> list[TextPart | ReasoningPart]:
    return [
        (TextPart if kind is TextDelta else ReasoningPart)("".join(delta.text for delta in group))
        for kind, group in groupby(deltas, key=type)
    ]
